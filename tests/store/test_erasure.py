"""What an erasure deletes of files that no version of the index has."""

import pyarrow as pa
import pytest
import zstandard

from dicomferry.store import erasure
from dicomferry.store.compaction import rewrite
from dicomferry.store.erasure import erase_broken_writes
from dicomferry.store.index import Index
from dicomferry.store.index_commit import commit_files
from dicomferry.store.index_files import index_folder
from dicomferry.store.index_schema import SCHEMA
from dicomferry.store.instance_filter import InstanceFilter
from dicomferry.transforms.prepare_instances import prepare
from tests.factories import make_instance
from tests.pipelines.jobs import new_store

ENDED = "20260101000000-00000000"


@pytest.fixture
def data(root):
    """The data folder of an empty store."""
    return new_store(root).data


def instance(number):
    return make_instance(
        sop_instance_uid=f"1.2.{number}",
        source_uri=f"/in/{number}.dcm",
        metadata=zstandard.compress(b"{}"),
    )


def study_of(copy):
    return InstanceFilter(frozenset({copy.study_instance_uid}), frozenset(), frozenset())


def has_ended(operation):
    assert operation == ENDED
    return False


def test_a_file_that_is_committed_while_others_are_read_stays(data, monkeypatch):
    [prepared] = prepare(data, [instance(1)], ENDED).files
    read = erasure._rows

    def committing(*arguments):
        if prepared.file.path not in Index(data).files:
            commit_files(data, [prepared])  # its import ends right after
        return read(*arguments)

    monkeypatch.setattr(erasure, "_rows", committing)
    erase_broken_writes(data, study_of(instance(1)), has_ended)
    assert Index(data).lookup(["1.2.1"]).num_rows == 1


@pytest.mark.parametrize("run", ["import-", "sorted-run-"])
def test_rows_that_another_program_is_rewriting_stay(data, run):
    [prepared] = prepare(data, [instance(1)], ENDED).files
    folder = index_folder(data)
    source = f"{run}0.parquet"
    folder.write(source, folder.read(prepared.file.path))

    def nothing(rows):
        return pa.array([False] * len(rows))

    [rewritten] = rewrite(data, source, SCHEMA, nothing)
    erase_broken_writes(data, study_of(instance(1)), has_ended)
    assert Index(data).uncommitted() == sorted({rewritten.path, source} - {"import-0.parquet"})
