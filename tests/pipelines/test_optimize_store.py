"""An index is sorted by the workers of a Beam job, beside imports."""

import errno
import itertools

import pytest

from dicomferry.pipelines import optimize_store
from dicomferry.store import compaction, sorted_runs
from dicomferry.store.deletion import delete_store
from dicomferry.store.erasure import erase_rows
from dicomferry.store.index import Index
from dicomferry.store.instance_filter import InstanceFilter
from dicomferry.store.sorted_runs import run_of, split_into_runs
from dicomferry.transforms import sort_index
from tests.pipelines.jobs import STORE, new_store
from tests.store.test_compaction import add, commits, rows, small

__all__ = ["small"]


def test_workers_sort_an_index_beside_an_import(root, monkeypatch):
    monkeypatch.setattr(compaction, "_RANGE_ROWS", 100)
    monkeypatch.setattr(sorted_runs, "FAN_IN", 4)
    data = new_store(root).data
    add(data, commits(10))
    before = rows(data)
    late = commits(1, 1000)
    write_range = sort_index.write_range

    def while_written(*args):
        while late:
            add(data, [late.pop()])
        return write_range(*args)

    monkeypatch.setattr(sort_index, "write_range", while_written)
    assert optimize_store.main([f"--store={STORE.id}", f"--root={root.root}"]) == 0
    files = Index(data).file_stats()
    assert [file.rows for file in files if not run_of(file.path)] == [40], "it is left"
    assert len(split_into_runs([file for file in files if run_of(file.path)])) <= 2
    assert rows(data).num_rows == before.num_rows + 40
    monkeypatch.undo()
    assert set(before["SOPInstanceUID"].to_pylist()) < set(rows(data)["SOPInstanceUID"].to_pylist())


def test_files_that_a_deletion_purges_meanwhile_do_not_stop_workers(root, monkeypatch):
    monkeypatch.setattr(compaction, "_RANGE_ROWS", 50)
    data = new_store(root).data
    add(data, commits(3))
    lost = min(rows(data)["SOPInstanceUID"].to_pylist())
    erased = InstanceFilter(frozenset(), frozenset(), frozenset({f"1.2.1/1.2.1.1/{lost}"}))

    def purge():
        erase_rows(data, erased)
        Index(data).purge_history()

    at_range(monkeypatch, 1, purge)
    assert optimize(root) == 0
    assert Index(data).uncommitted() == []
    assert Index(data).count() == 3 * 40 - 1
    [left] = [file for file in Index(data).files if not run_of(file)]
    assert left.startswith("rest-"), "it is for the next call"


def test_a_store_that_is_deleted_meanwhile_is_told_of_and_empty(root, monkeypatch, caplog):
    data = new_store(root).data
    add(data, commits(2))
    at_range(monkeypatch, 0, lambda: delete_store(root, STORE))
    assert optimize(root) == 2
    assert caplog.messages[-1].endswith("is gone: the store was deleted")
    assert list(data.list()) == []


def test_a_full_disk_is_told_of(root, monkeypatch, caplog):
    add(new_store(root).data, commits(2))

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    at_range(monkeypatch, 0, full)
    assert optimize(root) == 3
    assert caplog.messages[-1].startswith("storage failed: [Errno 28] No space left on device")


def at_range(monkeypatch, number, act):
    """Do something once, before a worker writes the range of a number, from 0."""
    write_range, calls = sort_index.write_range, itertools.count()

    def late(*arguments):
        if next(calls) == number:
            act()
        return write_range(*arguments)

    monkeypatch.setattr(sort_index, "write_range", late)


def optimize(root):
    return optimize_store.main([f"--store={STORE.id}", f"--root={root.root}"])


def test_a_wrong_request_is_refused_in_a_line(root, capsys):
    for flags in ([f"--root={root.root}", "--store=none"], ["--store=a/b", "--root=/nowhere"]):
        with pytest.raises(SystemExit) as left:
            optimize_store.main(flags)
        assert left.value.code == 2
        assert capsys.readouterr().err.startswith("error: ")
    new_store(root)
    with pytest.raises(SystemExit):
        flags = [f"--root={root.root}", f"--store={STORE.id}", "--runner=DataflowRunner"]
        optimize_store.main(flags)
    assert "is a local path, which the workers of DataflowRunner cannot reach" in (
        capsys.readouterr().err
    )
