"""What an erasure deletes of the files of an index, and who reads them at the same time."""

import os
import subprocess

import pyarrow as pa
import pytest
import zstandard

from dicomferry.store import compaction, erasure
from dicomferry.store.commit_conflicts import CommitConflictError
from dicomferry.store.compaction import sort_index
from dicomferry.store.erasure import erase_broken_writes, erase_rows
from dicomferry.store.index import Index
from dicomferry.store.index_commit import commit_files
from dicomferry.store.index_files import index_folder
from dicomferry.store.index_schema import SCHEMA
from dicomferry.store.instance_filter import InstanceFilter
from dicomferry.store.rewriting import replace_files, rewrite
from dicomferry.transforms.commit_instances import commit
from dicomferry.transforms.prepare_instances import prepare
from tests.factories import make_instance
from tests.pipelines.jobs import new_store

ENDED = "20260101000000-00000000"


@pytest.fixture
def data(root):
    """The data folder of an empty store."""
    return new_store(root).data


def instance(number, study="1.2.1"):
    return make_instance(
        study_instance_uid=study,
        sop_instance_uid=f"1.2.{number}",
        source_uri=f"/in/{number}.dcm",
        metadata=zstandard.compress(b"{}"),
    )


def study_of(copy):
    return InstanceFilter(frozenset({copy.study_instance_uid}), frozenset(), frozenset())


def uids(data):
    return sorted(Index(data).dataset().to_table(["SOPInstanceUID"]).column(0).to_pylist())


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


@pytest.mark.parametrize("is_sorted", [False, True])
def test_rows_that_another_program_rewrites_stay_until_they_are_taken_out(data, is_sorted):
    for number in (1, 2):
        commit(data, [instance(number)], ENDED)
    if is_sorted:
        sort_index(data)
        Index(data).purge_history()
    source = Index(data).files[0]

    def nothing(rows):
        return pa.array([False] * len(rows))

    [rewritten] = rewrite(data, source, SCHEMA, nothing)
    assert rewritten.path.startswith("sorted-" if is_sorted else "rest-")
    erase_broken_writes(data, study_of(instance(1)), has_ended)
    assert Index(data).uncommitted() == [rewritten.path]
    erase_rows(data, study_of(instance(1)))
    assert not Index(data).replace([source], [rewritten.path])
    commit(data, [instance(3)], ENDED)  # which tells nothing of the others
    erase_broken_writes(data, study_of(instance(1)), has_ended)
    assert Index(data).uncommitted() == []
    assert not replace_files(data, [source], [rewritten.path]), "its writer finds it gone"


LOOKERS = {
    "an import": (Index, "lookup", lambda data: commit(data, [instance(15, "1.9")], "op")),
    "optimize": (compaction, "plan_merges", sort_index),
    "optimize, in a merge": (compaction, "row_group_batches", sort_index),
    "a deletion": (erasure, "_rows", lambda data: erase_rows(data, study_of(instance(3, "1.9")))),
}


@pytest.mark.parametrize("looker", LOOKERS.values(), ids=LOOKERS)
def test_files_that_are_purged_meanwhile_stop_nobody(data, monkeypatch, looker):
    for number in (1, 2):
        commit(data, [instance(number), instance(number + 10, "1.5")], "op")
    place, name, look = looker
    function, waiting = getattr(place, name), [True]

    def late(*arguments):
        if waiting:
            waiting.pop()
            erase_rows(data, study_of(instance(1)))
            Index(data).purge_history()
        return function(*arguments)

    monkeypatch.setattr(place, name, late)
    look(data)
    assert not waiting
    assert set(uids(data)) - {"1.2.15"} == {"1.2.11", "1.2.12"}


def test_a_file_that_is_lost_is_told_of(data):
    commit(data, [instance(1)], "op")
    index_folder(data).delete(Index(data).files)
    with pytest.raises(FileNotFoundError):
        prepare(data, [instance(1)], "op")


@pytest.mark.parametrize("after", [None, sort_index], ids=["alone", "sorted at once"])
@pytest.mark.parametrize("others", [0, 1])
def test_a_deletion_whose_answer_was_lost_tells_what_it_has_deleted(
    data, monkeypatch, others, after
):
    commit(data, [instance(n, "1.2.1" if n == 1 else "1.5") for n in range(1, 2 + others)], "op")
    commit(data, [instance(7, "1.5")], "op")
    replace, lost = Index.replace, [True]

    def losing(*arguments):
        is_new = replace(*arguments)
        if lost:
            lost.pop()
            if after:
                after(data)
            raise CommitConflictError("no answer") from OSError("reset")
        return is_new

    monkeypatch.setattr(Index, "replace", losing)
    rows, cutoff = erase_rows(data, study_of(instance(1)))
    assert rows["SOPInstanceUID"].to_pylist() == ["1.2.1"]
    assert Index(data).cutoff >= cutoff
    assert len(uids(data)) == 1 + others


def test_what_was_not_complete_when_its_writer_was_killed_goes(data):
    folder = index_folder(data)
    with subprocess.Popen(["true"]) as killed:
        pass
    with folder.writing():
        [name] = (name for name in os.listdir(folder.root) if name != "_delta_log")
        left = name.replace(f"-{os.getpid()}-", f"-{killed.pid}-")
        assert left != name
        folder.write(left, b"PAR1, and rows")
        assert left in os.listdir(folder.root)
        erase_broken_writes(data, study_of(instance(1)), has_ended)
        assert sorted(os.listdir(folder.root)) == sorted(["_delta_log", name])
