"""A running job reports its progress and heartbeat, and sees that it is to end."""

import threading
import time

import pytest

from dicomferry.operations import ownership
from dicomferry.operations.folder import OperationFolder, start_operation
from dicomferry.operations.outcomes import OutcomeCounts, ProgressCounts, Total
from dicomferry.operations.ownership import OwnedOperation
from dicomferry.operations.record import Method
from tests.pipelines.jobs import STORE, new_store


@pytest.fixture
def brisk(monkeypatch):
    """Jobs that look and beat often."""
    monkeypatch.setattr(ownership, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(ownership, "_HEARTBEAT_SECONDS", 0.05)


def own(root, show=None):
    """A new operation of this process."""
    return OwnedOperation(start_operation(root, STORE, Method.IMPORT), show)


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_running_job_shows_the_sum_of_its_workers(root, brisk):
    shown = []
    with own(root, lambda *args: shown.append(args)) as owned:
        owned.expect(10)
        owned.folder.report_progress("a", ProgressCounts(read=3, failed=1, bytes=100))
        owned.folder.report_progress("a", ProgressCounts(4, 1, 150, committed=2))
        owned.folder.report_progress("b", ProgressCounts(read=2, bytes=50))
        wait_until(
            lambda: shown and shown[-1] == (ProgressCounts(6, 1, 200, committed=2), Total(10))
        )
        wait_until(lambda: owned.folder.read().total == 10)
        operation = owned.folder.read()
        assert operation.metadata.counter == (7, 2, 1), "what was only read is no success"
        owned.expect(0)
        owned.finish("files")
    assert owned.folder.read().to_json()["response"]


def test_a_part_that_has_ended_counts_by_its_outcomes(root, brisk):
    shown = []
    with own(root, lambda *args: shown.append(args)) as owned:
        owned.expect(10)
        owned.folder.report_progress("00000-a", ProgressCounts(read=3, bytes=100))
        owned.folder.write_counts(
            "00000", OutcomeCounts(imported=3, skipped=2, failed=1, bytes=200)
        )
        owned.end_part("00000")
        owned.folder.report_progress("00000-late", ProgressCounts(read=1))
        owned.folder.report_progress("00001-b", ProgressCounts(2, 1, 50, committed=1))
        wait_until(lambda: shown and shown[-1][0] == ProgressCounts(8, 2, 250, committed=6))
        counter = owned.folder.read().metadata.counter
        assert counter == (2, 6, 2)
        assert owned.folder.storage.head("progress/00000-a.json") is None
        owned.folder.write_counts("00001", OutcomeCounts(imported=4))
        owned.finish("files")


def test_a_job_goes_on_and_is_watched_when_a_heartbeat_fails(root, brisk, monkeypatch):
    with own(root) as owned:
        with monkeypatch.context() as patch:
            failed = threading.Event()

            def failing(*_):
                failed.set()
                raise OSError(5, "Input/output error")

            patch.setattr(owned.folder, "write", failing)
            assert failed.wait(10)
        before = owned.folder.read().heartbeat
        wait_until(lambda: owned.folder.read().heartbeat != before)
        owned.finish("files")


def test_a_job_that_has_finished_is_not_cancelled_any_more(root):
    with own(root) as owned:
        owned.finish("files")
        owned.folder.storage.write("cancel", b"")
        owned._cancel(ProgressCounts())  # as the watch does that looked just now; ends no process
    assert owned.folder.read().to_json()["response"]


def test_a_running_job_renews_its_heartbeat(root, brisk):
    with own(root) as owned:
        first = owned.folder.read().heartbeat
        wait_until(lambda: owned.folder.read().heartbeat != first)
        owned.finish("files")


def test_a_finished_job_is_not_written_again(root, brisk):
    with own(root) as owned:
        owned.finish("files")
        ended = owned.folder.storage.read("operation.json")
        time.sleep(0.2)
    assert owned.folder.storage.read("operation.json") == ended
    assert not [t for t in threading.enumerate() if t is owned._watch]


def test_a_part_that_ends_while_it_is_read_does_not_take_its_progress_along(root, monkeypatch):
    new_store(root)
    progress = OperationFolder.progress
    with own(root) as owned:
        owned.expect(4)
        owned.folder.report_progress("00000-worker", ProgressCounts(read=3))

        def progress_of_a_part_that_just_ended(folder, ended=""):
            if not ended:
                owned.folder.write_counts("00000", OutcomeCounts(imported=3))
                owned.end_part("00000")
            return progress(folder, ended)

        monkeypatch.setattr(OperationFolder, "progress", progress_of_a_part_that_just_ended)
        assert owned.folder.read().metadata.counter.success == 3
        monkeypatch.undo()
        owned.folder.write_counts("00001", OutcomeCounts(imported=1))
        owned.finish("files")
