"""A lookup reads of an index what can have a UID: little of few files, whoever wrote them."""

import gc
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem

import dicomferry.store.index
from benchmarks.counted_reads import CountedReads
from dicomferry.store import index_writing
from dicomferry.store.index import Index
from dicomferry.store.index_files import IndexFile, read_columns
from dicomferry.store.index_lookup import find_rows
from dicomferry.store.index_schema import LOOKUP_COLUMNS, SCHEMA, Column
from dicomferry.transforms.commit_instances import commit
from tests.factories import make_instance
from tests.pipelines.jobs import new_store


def rows(uids):
    """Rows of an index, whose other columns are null."""
    uids = pa.array(uids, pa.string())
    values = {field.name: pa.nulls(len(uids), field.type) for field in SCHEMA}
    return pa.table({**values, Column.SOP_INSTANCE_UID: uids}, schema=SCHEMA)


def uid(number):
    return f"2.25.{number:08}"


def write(path, uids, **options):
    """A file of an index as `write_files` makes it, or another program."""
    if options:
        pq.write_table(rows(uids), path, **options)
    else:
        with path.open("wb") as file:
            first = iter([rows(uids)])
            sizes = iter(lambda: index_writing._GROUP_ROWS, None)
            groups = index_writing.grouped(first, sizes)
            index_writing._write_file(file, groups, SCHEMA)
    return IndexFile(path.name, len(uids), min(uids), max(uids), path.stat().st_size)


def found(folder, files, uids):
    counted = CountedReads(str(folder))
    table = find_rows(files, counted.filesystem(), sorted(uids), concurrency=1)
    assert table.column_names == LOOKUP_COLUMNS
    return sorted(table[Column.SOP_INSTANCE_UID].to_pylist()), counted


def footer_bytes(path):
    return int.from_bytes(Path(path).read_bytes()[-8:-4], "little") + 8


def test_only_files_that_can_have_a_uid_are_opened(tmp_path):
    inside = write(tmp_path / "sorted-inside.parquet", [uid(1), uid(5), uid(9)])
    absent = [IndexFile(f"{n}.parquet", 1, f"3.{n}", f"3.{n}", 7) for n in range(1000)]
    assert found(tmp_path, [*absent, inside], [uid(5), uid(6)])[0] == [uid(5)]


def test_a_file_whose_statistics_another_program_left_out_is_looked_into(root):
    data = new_store(root).data
    uids = [uid(number) for number in range(5)]
    metadata = zstandard.compress(b"{}")
    commit(data, [make_instance(sop_instance_uid=u, metadata=metadata) for u in uids], "op")
    [before] = Index(data).file_stats()
    for path in Path(data.root, "index/_delta_log").glob("*.json"):
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        for entry in entries:
            entry.get("add", {}).pop("stats", None)
        path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert Index(data).file_stats() == [before._replace(first="", last="~")]
    assert len(Index(data).lookup(uids)) == 5


@pytest.mark.parametrize("group_rows", [64, 1024])
def test_of_a_file_its_footer_is_read_and_a_row_group_s_uids(tmp_path, monkeypatch, group_rows):
    monkeypatch.setattr(index_writing, "_GROUP_ROWS", group_rows)
    path = tmp_path / "import-many.parquet"
    file = write(path, [uid(2 * number) for number in range(40_000)])
    # A UID that is not there: between two that are.
    uids, counted = found(tmp_path, [file], [uid(30_001)])
    guessed = 8192 + 0.75 * file.rows
    assert not uids
    assert counted.size < max(guessed, footer_bytes(path)) + group_rows * 20 + 1024
    assert counted.requests <= 4


def test_only_the_row_groups_that_have_a_uid_are_read_whole(tmp_path):
    file = write(tmp_path / "import-many.parquet", [uid(2 * number) for number in range(40_000)])
    few, counted = found(tmp_path, [file], [uid(1000), uid(30_001), uid(60_003)])
    assert few == [uid(1000)]
    every, all_counted = found(tmp_path, [file], [uid(2 * n) for n in range(40_000)])
    assert len(every) == 40_000
    assert counted.size < all_counted.size


@pytest.mark.parametrize(
    "options",
    [
        {"row_group_size": 10, "write_statistics": False},
        {"row_group_size": 10, "use_dictionary": True},
        {"row_group_size": 1000, "compression": "snappy", "version": "1.0"},
    ],
    ids=["no bounds", "small row groups", "one row group"],
)
def test_files_of_other_programs_are_found_in_any_order(tmp_path, options):
    uids = [uid(number * 7919 % 1000) for number in range(500)]
    file = write(tmp_path / "other.parquet", uids, **options)
    unknown = file._replace(first="", last="~")
    wanted = [uid(number) for number in range(0, 1000, 3)]
    for each in (file, unknown):
        assert found(tmp_path, [each], wanted)[0] == sorted(set(wanted) & set(uids))


def test_a_column_that_a_file_lacks_is_null_and_one_of_another_type_is_read(tmp_path):
    path = tmp_path / "old.parquet"
    pq.write_table(pa.table({Column.SOP_INSTANCE_UID: pa.array([uid(1)], pa.large_string())}), path)
    file = IndexFile(path.name, 1, uid(1), uid(1), path.stat().st_size)
    filesystem = CountedReads(str(tmp_path)).filesystem()
    table = find_rows([file], filesystem, [uid(1)], concurrency=1)
    [row] = table.to_pylist()
    assert row.pop(Column.SOP_INSTANCE_UID) == uid(1)
    assert set(row.values()) == {None}


def test_a_file_that_is_gone_is_told_as_gone(tmp_path):
    file = IndexFile(str(tmp_path / "gone.parquet"), 1, uid(1), uid(9), 700)
    with pytest.raises(FileNotFoundError):
        find_rows([file], LocalFileSystem(), [uid(5)], concurrency=1)


def test_all_uids_are_read_file_by_file(root, monkeypatch):
    data = new_store(root).data
    for number in range(3):
        metadata = zstandard.compress(b"{}")
        commit(data, [make_instance(sop_instance_uid=uid(number), metadata=metadata)], "op")
    read = []
    monkeypatch.setattr(
        dicomferry.store.index,
        "read_columns",
        lambda *a, **k: read.append(a) or read_columns(*a, **k),
    )
    batches = Index(data).uids()
    first = next(batches)
    assert len(read) == 1
    rows = pa.Table.from_batches([first, *batches])
    assert sorted(rows[Column.SOP_INSTANCE_UID].to_pylist()) == [uid(n) for n in range(3)]


@pytest.mark.parametrize("name", ["import-1.parquet", "other-1.parquet"])
@settings(deadline=None, max_examples=40)
@given(
    present=st.sets(st.integers(0, 300), min_size=1),
    wanted=st.sets(st.integers(-5, 305), min_size=1),
    group_rows=st.integers(1, 40),
)
def test_what_is_found_is_what_is_there(tmp_path_factory, name, present, wanted, group_rows):
    folder = tmp_path_factory.mktemp("index")
    numbers = [uid(1000 + number) for number in sorted(present)]
    file = write(folder / name, numbers, row_group_size=group_rows)
    uids = [uid(1000 + number) for number in wanted]
    assert found(folder, [file], uids)[0] == sorted(set(numbers) & set(uids))


def test_a_footer_is_given_up_without_the_garbage_collector(tmp_path):
    file = write(tmp_path / "import-1.parquet", [uid(number) for number in range(100)])
    gc.collect()
    gc.disable()
    try:
        before = footers_in_memory()
        assert found(tmp_path, [file], [uid(50), uid(1000)])[0] == [uid(50)]
        assert footers_in_memory() == before
    finally:
        gc.enable()


def footers_in_memory():
    return sum(isinstance(each, pq.FileMetaData) for each in gc.get_objects())
