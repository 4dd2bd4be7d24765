"""Commits to a table in a folder: whole, in order, refused as deltalake refuses them."""

import os

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError

from dicomferry.storage.delta_commits import committing, creating
from dicomferry.storage.partial_files import _HOST
from dicomferry.storage.registry import open_storage

SCHEMA = pa.schema([("a", pa.string())])
ONE_WRITER = CommitProperties(app_transactions=[Transaction("import", 1)])


@pytest.fixture
def folder(tmp_path):
    """An empty table that gets a checkpoint every five commits."""
    folder = open_storage(str(tmp_path / "table"))
    create(folder)
    return folder


def create(folder):
    with creating(folder) as uri:
        DeltaTable.create(uri, SCHEMA, configuration={"delta.checkpointInterval": "5"})


def append(folder, table, value, properties=None):
    rows = pa.table({"a": [value]}, schema=SCHEMA)
    with committing(folder, table) as changed:
        write_deltalake(changed, rows, mode="append", commit_properties=properties)


def values(folder):
    return sorted(DeltaTable(folder.root).to_pyarrow_table()["a"].to_pylist())


def names(folder):
    return {entry.path for entry in folder.list() if not entry.path.startswith("_twin.")}


def test_commits_and_checkpoints_are_those_of_deltalake(folder):
    table = DeltaTable(folder.root)
    for number in range(12):
        append(folder, table, str(number))
        assert table.version() == number + 1
    assert values(folder) == sorted(map(str, range(12)))
    log = {name for name in names(folder) if name.startswith("_delta_log/")}
    assert {name for name in log if "checkpoint" in name} == {
        "_delta_log/_last_checkpoint",
        "_delta_log/00000000000000000004.checkpoint.parquet",
        "_delta_log/00000000000000000009.checkpoint.parquet",
    }
    assert not [name for name in os.listdir(folder.root) if name.startswith("_twin")]
    # Without the first entries, it is read from the checkpoint.
    folder.delete(f"_delta_log/{number:020}.json" for number in range(9))
    append(folder, DeltaTable(folder.root), "more")
    assert len(values(folder)) == 13


def test_of_two_writers_the_second_is_refused_and_leaves_nothing(folder):
    first, second = DeltaTable(folder.root), DeltaTable(folder.root)
    append(folder, first, "first", ONE_WRITER)
    before = names(folder)
    with pytest.raises(CommitFailedError):
        append(folder, second, "second", ONE_WRITER)
    assert names(folder) == before
    append(folder, DeltaTable(folder.root), "again", ONE_WRITER)
    assert values(folder) == ["again", "first"]


def test_writers_that_do_not_conflict_both_commit(folder):
    first, second = DeltaTable(folder.root), DeltaTable(folder.root)
    append(folder, first, "first", ONE_WRITER)
    append(folder, second, "second")
    assert values(folder) == ["first", "second"]
    assert second.version() == 2


def test_a_writer_that_is_overtaken_while_it_writes_is_refused(folder):
    table = DeltaTable(folder.root)
    with pytest.raises(CommitFailedError), committing(folder, table) as changed:
        rows = pa.table({"a": ["late"]}, schema=SCHEMA)
        write_deltalake(changed, rows, mode="append")
        append(folder, DeltaTable(folder.root), "first")
        before = names(folder)
    assert names(folder) == before
    assert values(folder) == ["first"]


def test_a_table_is_created_once(folder):
    with pytest.raises(CommitFailedError):
        create(folder)


def test_what_a_killed_writer_left_is_removed(folder):
    twin = f"{folder.root}/_twin.{_HOST}-{2**22 + 1}-00000000.partial"
    os.makedirs(f"{twin}/_delta_log")
    append(folder, DeltaTable(folder.root), "next")
    assert not os.path.exists(twin)
