"""Sorting an index moves rows and changes none, whoever else commits, and however often."""

import hashlib
import itertools
import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

import dicomferry.store.compaction
import dicomferry.store.index_writing
import dicomferry.store.rewriting
import dicomferry.store.sorted_runs
import dicomferry.store.sources_compaction
from dicomferry.storage.registry import open_storage
from dicomferry.store.commit_conflicts import CommitConflictError
from dicomferry.store.compaction import (
    commit_merge,
    merge,
    ranges_of,
    sort_index,
    write_range,
)
from dicomferry.store.deletion import delete_store
from dicomferry.store.dicom_store import StoreNotFoundError
from dicomferry.store.erasure import erase_rows
from dicomferry.store.index import Index
from dicomferry.store.index_commit import commit_files
from dicomferry.store.index_files import IndexFile
from dicomferry.store.instance_filter import InstanceFilter
from dicomferry.store.sorted_runs import Merge, pick_runs, plan_merges, split_into_runs
from dicomferry.store.sources_compaction import sort_sources
from dicomferry.store.sources_table import remember_sources
from dicomferry.transforms.commit_instances import commit
from dicomferry.transforms.prepare_instances import prepare
from tests.factories import make_instance
from tests.pipelines.jobs import STORE, new_store

_COMMIT = 40
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Row groups and files as small as the data of tests."""
    monkeypatch.setattr(dicomferry.store.index_writing, "_GROUP_ROWS", 16)
    monkeypatch.setattr(dicomferry.store.index_writing, "_FILE_BYTES", 12_000)
    monkeypatch.setattr(dicomferry.store.compaction, "_PIECE_ROWS", 50)


@pytest.fixture
def data(root):
    """The data folder of an empty store."""
    return new_store(root).data


def uid(number):
    return f"2.25.{int.from_bytes(hashlib.sha256(str(number).encode()).digest()[:16])}"


def add(data, numbers, metadata=b"{}", uid=uid, **fields):
    """Commit instances, a commit for each range of numbers."""
    for some in numbers:
        instances = [
            make_instance(
                sop_instance_uid=uid(number),
                source_uri=f"/in/{number}.dcm",
                metadata=zstandard.compress(metadata),
                structured_size=len(metadata),
                **{"sha256": f"{number:064x}"} | fields,
            )
            for number in some
        ]
        commit(data, sorted(instances, key=lambda i: i.sop_instance_uid), "op")


def commits(count, first=0):
    starts = range(first, first + count * _COMMIT, _COMMIT)
    return [range(start, start + _COMMIT) for start in starts]


def rows(data, version=None):
    return Index(data, version).dataset().to_table().sort_by("SOPInstanceUID")


def group_bounds(data):
    """First and last SOP Instance UID of every row group."""
    found = []
    for file in Index(data).files:
        metadata = pq.read_metadata(data.uri(f"index/{file}"))
        for number in range(metadata.num_row_groups):
            allowed_folders = metadata.row_group(number).column(2).statistics
            found.append((allowed_folders.min, allowed_folders.max))
    return sorted(found)


def overlaps(allowed_folders):
    return sum(one[1] >= other[0] for one, other in itertools.pairwise(allowed_folders))


@pytest.mark.parametrize("count", [1, 5, 40])
def test_rows_are_sorted_among_files_and_none_changes(data, count):
    add(data, commits(count))
    before, version = rows(data), Index(data).version
    sort_index(data)
    assert rows(data).equals(before)
    assert rows(data, version).equals(before)
    assert Index(data).count() == count * _COMMIT
    allowed_folders = group_bounds(data)
    assert overlaps(allowed_folders) == 0
    assert len(allowed_folders) <= count * _COMMIT / 16 + len(Index(data).files)


def test_an_empty_index_stays_as_it_is(data):
    sort_index(data)
    assert Index(data).version == 0


def test_sorted_twice_is_sorted_once(data):
    add(data, commits(20))
    sort_index(data)
    version = Index(data).version
    sort_index(data)
    assert Index(data).version == version


def test_a_little_that_is_new_does_not_move_all_that_is_there(data):
    add(data, commits(20))
    sort_index(data)
    earlier = set(Index(data).files)
    add(data, [range(1000, 1010), range(1010, 1020)])
    before = rows(data)
    sort_index(data)
    assert earlier < set(Index(data).files)
    assert len(set(Index(data).files) - earlier) == 1
    assert rows(data).equals(before)
    add(data, commits(15, 2000))
    sort_index(data)
    assert overlaps(group_bounds(data)) == 0
    assert not earlier & set(Index(data).files)


def test_every_row_is_found_by_its_uid_alone_or_among_others(data):
    add(data, commits(6))
    sort_index(data)
    index = Index(data)
    for number in range(0, 6 * _COMMIT, 7):
        [row] = index.lookup([uid(number)]).to_pylist()
        assert row["SourceUri"] == f"/in/{number}.dcm"
    among = [uid(number) for number in range(-50, 300)]
    found = index.lookup(among)["SOPInstanceUID"].to_pylist()
    assert sorted(found) == sorted(uid(number) for number in range(6 * _COMMIT))
    assert index.lookup(["0", "2.25.1", "9"]).num_rows == 0


def test_few_row_groups_can_hold_a_uid(data):
    add(data, commits(20))
    uids = pa.array([uid(3), uid(999_999)])
    wide = [b for b in group_bounds(data) if any(b[0] <= u.as_py() <= b[1] for u in uids)]
    sort_index(data)
    narrow = [b for b in group_bounds(data) if any(b[0] <= u.as_py() <= b[1] for u in uids)]
    assert len(wide) >= 15
    assert len(narrow) <= 2


def test_files_that_another_program_merged_are_sorted_too(data):
    add(data, commits(10))
    before = rows(data)
    DeltaTable(data.uri("index")).optimize.compact()
    assert len(Index(data).files) == 1
    sort_index(data)
    assert overlaps(group_bounds(data)) == 0
    assert rows(data).equals(before)


def test_ascending_uids_become_few_files(data):
    add(data, commits(30), uid=lambda number: f"1.2.{10_000 + number}")
    before = rows(data)
    sort_index(data)
    assert len(Index(data).files) < 15
    assert overlaps(group_bounds(data)) == 0
    assert rows(data).equals(before)


def test_what_has_no_value_has_none_afterwards(data):
    add(data, [range(10)], transfer_syntax_uid=None, sha256="")
    before = rows(data)
    sort_index(data)
    assert rows(data).equals(before)
    assert rows(data)["TransferSyntaxUID"].null_count == 10


def test_large_metadata_makes_small_row_groups(data, monkeypatch):
    monkeypatch.setattr(dicomferry.store.index_writing, "_GROUP_BYTES", 4_000)
    monkeypatch.setattr(dicomferry.store.compaction, "BATCH_BYTES", 1_500)
    add(data, commits(3), metadata=b'{"x":"' + b"y" * 1000 + b'"}')
    before = rows(data)
    sort_index(data)
    assert rows(data).equals(before)
    assert len(group_bounds(data)) >= 3 * _COMMIT / 5


# Others at the same time.


def while_replacing(monkeypatch, act):
    """Do something between the reading of an index and the commit of what takes its place."""
    replace = Index.replace
    calls = itertools.count()

    def late(index, old, new):
        act(next(calls))
        return replace(index, old, new)

    monkeypatch.setattr(Index, "replace", late)


def test_an_import_that_commits_meanwhile_is_kept_and_left_for_the_next_time(data, monkeypatch):
    add(data, commits(3))
    while_replacing(monkeypatch, lambda call: call == 0 and add(data, commits(1, 1000)))
    sort_index(data)
    assert rows(data).num_rows == 4 * _COMMIT
    assert len({name for name in Index(data).files if name.startswith("import-")}) == 1
    assert len(Index(data).files) > 1


def test_an_import_that_looked_up_before_commits_after_and_once(data):
    add(data, commits(3))
    early = Index(data)
    prepared = prepare(
        data, [make_instance(sop_instance_uid="1.2.3", metadata=zstandard.compress(b"{}"))], "op"
    )
    sort_index(data)
    with pytest.raises(CommitConflictError):
        early.append([each.file for each in prepared.files])
    assert not commit_files(data, prepared.files).changed
    assert not commit_files(data, prepared.files).commits, "it is in the index"
    assert rows(data).num_rows == 3 * _COMMIT + 1


def test_of_two_at_the_same_time_one_gives_way(data, monkeypatch):
    add(data, commits(5))
    before = rows(data)
    replace = Index.replace
    while_replacing(monkeypatch, lambda call: call == 0 and other(data, monkeypatch, replace))
    sort_index(data)
    assert rows(data).equals(before)
    assert Index(data).count() == 5 * _COMMIT
    assert overlaps(group_bounds(data)) == 0


def other(data, monkeypatch, replace):
    with monkeypatch.context() as patch:
        patch.setattr(Index, "replace", replace)
        sort_index(data)


def test_rows_of_another_import_are_never_taken_in_twice(data, monkeypatch):
    add(data, commits(3))
    index = Index(data)

    def sorted_meanwhile(*args):
        monkeypatch.undo()
        sort_index(data)
        raise CommitConflictError

    monkeypatch.setattr(Index, "append", sorted_meanwhile)
    add(data, [range(_COMMIT * 3 + 5)])
    assert rows(data).num_rows == 3 * _COMMIT + 5
    assert index.count() == 3 * _COMMIT


class KilledError(BaseException):
    """As if the process ended here."""


@pytest.mark.parametrize("call", range(4))
def test_what_was_killed_leaves_every_row_and_is_done_again(data, monkeypatch, call):
    monkeypatch.setattr(dicomferry.store.sorted_runs, "FAN_IN", 3)
    add(data, commits(10))
    before, version = rows(data), Index(data).version

    def kill(number):
        if number == call:
            raise KilledError

    while_replacing(monkeypatch, kill)
    with pytest.raises(KilledError):
        sort_index(data)
    monkeypatch.undo()
    assert rows(data).equals(before)
    merged = {name for name in Index(data).files if name.startswith("sorted-")}
    assert len(merged) >= min(call, 1)
    left = {path.name for path in Path(data.uri("index")).glob("sorted-*")} - merged
    sort_index(data)
    assert rows(data).equals(before)
    then = time.time() - 8 * 86_400
    for path in Path(data.uri("index")).glob("*.parquet"):
        os.utime(path, (then, then))
    Index(data).vacuum()
    assert rows(data, version).equals(before)
    assert not left & {path.name for path in Path(data.uri("index")).iterdir()}
    assert rows(data).equals(before)


def nothing(data):
    pass


def merged_by_another_program(data):
    DeltaTable(data.uri("index")).optimize.compact()


@pytest.mark.parametrize("make", [nothing, merged_by_another_program])
def test_of_a_store_that_is_deleted_while_its_index_is_sorted_nothing_is_left(
    root, data, monkeypatch, make
):
    add(data, commits(2))
    make(data)
    deleted_at(monkeypatch, root, dicomferry.store.rewriting, "write_files")
    with pytest.raises(StoreNotFoundError):
        sort_index(data)
    assert list(data.list()) == []


def test_of_a_store_that_is_deleted_while_its_sources_are_sorted_nothing_is_left(
    root, data, monkeypatch
):
    for number in range(3):
        remember_sources(data, [(f"/in/{number}.dcm", 1, "v", "imported")])
    deleted_at(monkeypatch, root, dicomferry.store.sources_compaction, "write_file")
    with pytest.raises(StoreNotFoundError):
        sort_sources(data)
    assert list(data.list()) == []


def deleted_at(monkeypatch, root, place, name):
    """Delete the store when a function that writes files has read what it writes."""
    write, waiting = getattr(place, name), [True]

    def late(data, rows, *start):
        rows = rows if isinstance(rows, pa.Table) else iter(list(rows))
        if waiting:
            waiting.pop()
            delete_store(root, STORE)
        return write(data, rows, *start)

    monkeypatch.setattr(place, name, late)


@pytest.mark.parametrize(
    ("name", "call", "make"),
    [
        ("commit_merge", 0, nothing),  # all is written
        ("row_group_batches", 14, nothing),  # some is
        ("write_anew", 3, merged_by_another_program),
    ],
)
def test_what_a_deletion_takes_out_and_purges_is_in_no_file_of_a_merge(
    data, monkeypatch, name, call, make
):
    add(data, commits(10))
    make(data)
    lost = min(rows(data)["SOPInstanceUID"].to_pylist())
    erased = InstanceFilter(frozenset(), frozenset(), frozenset({f"1.2.1/1.2.1.1/{lost}"}))
    function, calls = getattr(dicomferry.store.compaction, name), itertools.count()

    def late(*arguments):
        if next(calls) == call:
            assert any(lost in uids_of(data, file) for file in Index(data).uncommitted())
            assert len(erase_rows(data, erased)[0]) == 1
            Index(data).purge_history()
        return function(*arguments)

    monkeypatch.setattr(dicomferry.store.compaction, name, late)
    sort_index(data)
    assert next(calls) > call
    files = [path.name for path in Path(data.uri("index")).glob("*.parquet")]
    assert not any(lost in uids_of(data, file) for file in files)
    assert Index(data).count() == 10 * _COMMIT - 1


def uids_of(data, file):
    return pq.read_table(data.uri(f"index/{file}"))["SOPInstanceUID"].to_pylist()


def test_a_full_disk_says_so_and_leaves_every_row(data, monkeypatch):
    add(data, commits(3))
    before = rows(data)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dicomferry.store.index_writing, "_write_file", full)
    with pytest.raises(OSError, match="No space left"):
        sort_index(data)
    assert rows(data).equals(before)


def test_an_index_in_a_bucket_is_sorted_too(gcs):
    bucket = gcs.bucket(f"sorted-{next(_numbers)}")
    data = new_store(open_storage(f"gs://{bucket.name}")).data
    add(data, commits(3))
    before = rows(data)
    sort_index(data)
    allowed_folders = [(file.first, file.last) for file in Index(data).file_stats()]
    assert overlaps(allowed_folders) == 0
    assert rows(data).equals(before)


# Workers that share a merge.


def test_ranges_that_workers_write_make_the_run_that_one_would_write(data, monkeypatch):
    monkeypatch.setattr(dicomferry.store.compaction, "_RANGE_ROWS", 100)
    add(data, commits(16))
    before, index = rows(data), Index(data)
    [whole] = plan_merges(index.file_stats())
    parts = list(ranges_of(data, whole))
    assert len(parts) >= 5
    written = [write_range(data, part, index.schema) for part in reversed(parts)]
    assert sum(file.bounds().rows for file in written[0]) < 250
    files = list(itertools.chain.from_iterable(written))
    with pytest.raises(RuntimeError, match="nothing was committed"):
        commit_merge(data, whole, files[1:])
    assert commit_merge(data, whole, files)
    assert rows(data).equals(before)
    assert overlaps(group_bounds(data)) == 0
    assert commit_merge(data, whole, files), "another attempt finds it committed"
    assert plan_merges(Index(data).file_stats()) == []


def test_large_files_of_a_job_that_do_not_overlap_are_a_run_as_they_are(data, monkeypatch):
    monkeypatch.setattr(dicomferry.store.sorted_runs, "_LARGE_ROWS", _COMMIT)
    add(data, commits(30), uid=lambda number: f"1.2.{10_000 + number}")
    version = Index(data).version
    sort_index(data)
    assert Index(data).version == version
    add(data, commits(10, 2000))
    sort_index(data)
    assert overlaps(group_bounds(data)) == 0


# The plain functions.

runs = st.lists(st.lists(st.integers(0, 999), min_size=1).map(sorted), max_size=6)


@given(runs, st.integers(1, 5))
def test_merging_is_sorting(runs, size):
    def slices(run):
        table = pa.table({"SOPInstanceUID": [f"{number:03}" for number in run]})
        return iter([table.slice(start, size) for start in range(0, len(run), size)])

    merged = [row for table in merge(list(map(slices, runs))) for row in table[0].to_pylist()]
    assert merged == sorted(f"{number:03}" for run in runs for number in run)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 20))))
def test_runs_do_not_overlap_and_are_as_few_as_can_be(allowed_folders):
    files = [
        IndexFile(str(n), 1, f"{first:03}", f"{first + length:03}")
        for n, (first, length) in enumerate(allowed_folders)
    ]
    found = split_into_runs(files)
    assert sorted(file for chain in found for file in chain) == sorted(files)
    for chain in found:
        assert all(one.last < other.first for one, other in itertools.pairwise(chain))
    depths = [sum(f.first <= file.first <= f.last for f in files) for file in files]
    assert len(found) == max(depths, default=0)


@given(
    st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=5), min_size=1, max_size=5),
    st.lists(st.integers(0, 99), max_size=4, unique=True),
)
def test_ranges_have_the_files_that_overlap_them(runs, bounds):
    """Each file of a run has one number, and runs are sorted."""

    def text(number):
        return f"{number:02}"

    chains = [
        tuple(
            IndexFile(f"{nth}-{number}", 1, text(number), text(number))
            for number in sorted(set(run))
        )
        for nth, run in enumerate(runs)
    ]
    parts = list(Merge("x", tuple(chains)).divided(sorted(map(text, bounds))))
    assert [part.low for part in parts] == ["", *sorted(map(text, bounds))]
    for part in parts:
        inside = {
            file
            for chain in chains
            for file in chain
            if part.low <= file.first and (part.high is None or file.first < part.high)
        }
        assert set(part.files) == inside
    assert sorted(file for part in parts for file in part.files) == sorted(itertools.chain(*chains))


@given(st.lists(st.integers(1, 10**6), max_size=8), st.lists(st.integers(1, 10**4), max_size=4))
def test_each_run_that_is_left_is_larger_than_four_times_the_smaller_ones(runs, new):
    files = [IndexFile(f"sorted-{n}-0.parquet", size, "", "") for n, size in enumerate(runs)]
    files += [IndexFile(f"part-{n}", size, "", "") for n, size in enumerate(new)]
    chosen = pick_runs(files)
    assert {file.path for file in files if file.path.startswith("part-")} <= {
        file.path for file in chosen
    }
    smaller = sum(file.rows for file in chosen)
    for file in sorted(set(files) - set(chosen), key=lambda file: file.rows):
        assert file.rows > 4 * smaller
        smaller += file.rows
