"""What an operation says while its job runs, and after its process is gone."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.rpc.code_pb2 import INTERNAL

from dicomferry.operations import ownership
from dicomferry.operations.folder import OperationFolder, OperationNotFoundError, start_operation
from dicomferry.operations.outcomes import OutcomeCounts, ProgressCounts
from dicomferry.operations.owner import Owner
from dicomferry.pipelines.job import Job, JobError
from dicomferry.resource_names import DatasetName
from dicomferry.store.maintenance import BusyError, vacuum
from tests.pipelines.jobs import STORE, new_store, operation_folders

REPOSITORY = Path(__file__).parents[2]
START = """
import sys
from dicomferry.resource_names import parse_store
from dicomferry.operations.folder import start_operation
from dicomferry.storage.registry import open_storage
print(start_operation(open_storage(sys.argv[1]), parse_store(sys.argv[2]), "ImportDicomData").id)
"""


@pytest.fixture
def abandoned(root):
    """The operation of a process that died."""
    command = [sys.executable, "-c", START, root.root, STORE.id]
    done = subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True, text=True)
    return OperationFolder(root, DatasetName(), done.stdout.strip())


def rewrite(folder, **fields):
    record = json.loads(folder.storage.read("operation.json"))
    folder.storage.write("operation.json", json.dumps(record | fields).encode())


def ago(seconds):
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


# Whether the owner lives.


def test_an_operation_whose_process_is_gone_shows_as_aborted_at_once(abandoned):
    assert not json.loads(abandoned.storage.read("operation.json"))["done"]
    operation = abandoned.read()
    assert operation.done
    assert operation.error.code == 10
    assert "run it again" in operation.error.message


def test_a_process_that_has_the_number_of_the_dead_one_is_not_the_owner(abandoned):
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "start_time": "1"}
    rewrite(abandoned, owner=owner)
    assert abandoned.read().error.code == 10


@pytest.mark.parametrize(("silent_seconds", "is_aborted"), [(30, False), (90, True)])
def test_an_owner_on_another_host_lives_as_long_as_its_heartbeat(
    abandoned, silent_seconds, is_aborted
):
    owner = {"host": "elsewhere", "pid": 1, "start_time": "1"}
    rewrite(abandoned, owner=owner, heartbeat=ago(silent_seconds))
    operation = abandoned.read()
    assert operation.done == is_aborted
    assert (operation.error.code if operation.error else None) == (10 if is_aborted else None)


def test_this_process_owns_what_it_started_and_is_alive(root):
    folder = start_operation(root, STORE, "ImportDicomData")
    assert not Owner.this_process().is_gone()
    assert not folder.read().done


def test_vacuum_waits_for_a_running_operation_but_not_for_an_abandoned_one(root, abandoned):
    store = new_store(root)
    assert vacuum(root, store) == []
    start_operation(root, STORE, "ImportDicomData")
    with pytest.raises(BusyError, match="is running: vacuum when it has ended"):
        vacuum(root, store)


def test_a_look_at_an_operation_that_is_not_there_leaves_nothing(root):
    folder = OperationFolder(root, DatasetName(), "20260101000000-00000000")
    with pytest.raises(OperationNotFoundError, match="does not exist"):
        folder.read()
    assert operation_folders(root) == []
    assert not Path(folder.storage.root).exists()


def test_a_folder_that_a_killed_process_left_empty_is_no_operation(root, abandoned):
    Path(abandoned.storage.root).with_name("29990101000000-00000000").mkdir()
    assert [folder.id for folder in operation_folders(root)] == [abandoned.id]


# What a running job says.


@pytest.fixture
def brisk(monkeypatch):
    """Jobs that look and beat often."""
    monkeypatch.setattr(ownership, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(ownership, "_HEARTBEAT_SECONDS", 0.05)


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_running_job_shows_the_sum_of_its_workers(root, brisk):
    shown = []
    with Job(root, STORE, "ImportDicomData", lambda *args: shown.append(args)) as job:
        job.expect(10)
        job.folder.report_progress("a", ProgressCounts(read=3, failed=1, bytes=100))
        job.folder.report_progress("a", ProgressCounts(read=4, failed=1, bytes=150))
        job.folder.report_progress("b", ProgressCounts(read=2, bytes=50))
        wait_until(lambda: shown and shown[-1] == (ProgressCounts(read=6, failed=1, bytes=200), 10))
        wait_until(lambda: job.folder.read().total == 10)
        operation = job.folder.read()
        assert operation.metadata.counter == (4, 5, 1)
        job.expect(0)
        job.finish("files")
    assert job.folder.read().to_json()["response"]


def test_a_part_that_has_ended_counts_by_its_outcomes(root, brisk):
    shown = []
    with Job(root, STORE, "ImportDicomData", lambda *args: shown.append(args)) as job:
        job.expect(10)
        job.folder.report_progress("00000-a", ProgressCounts(read=3, bytes=100))
        job.folder.write_counts("00000", OutcomeCounts(imported=3, skipped=2, failed=1, bytes=200))
        job.end_part("00000")
        job.folder.report_progress("00000-late", ProgressCounts(read=1))
        job.folder.report_progress("00001-b", ProgressCounts(read=2, failed=1, bytes=50))
        wait_until(lambda: shown and shown[-1][0] == ProgressCounts(read=8, failed=2, bytes=250))
        counter = job.folder.read().metadata.counter
        assert counter == (2, 6, 2)
        assert job.folder.storage.head("progress/00000-a.json") is None
        job.folder.write_counts("00001", OutcomeCounts(imported=4))
        job.finish("files")


def test_a_job_goes_on_and_is_watched_when_a_heartbeat_fails(root, brisk, monkeypatch):
    with Job(root, STORE, "ImportDicomData", None) as job:
        with monkeypatch.context() as patch:
            failed = threading.Event()

            def failing(*_):
                failed.set()
                raise OSError(5, "Input/output error")

            patch.setattr(job.folder, "write", failing)
            assert failed.wait(10)
        before = job.folder.read().heartbeat
        wait_until(lambda: job.folder.read().heartbeat != before)
        job.finish("files")


def test_a_job_that_has_finished_is_not_cancelled_any_more(root):
    with Job(root, STORE, "ImportDicomData", None) as job:
        job.finish("files")
        job.folder.storage.write("cancel", b"")
        job._cancel(ProgressCounts())  # as the watch does that looked just now; ends no process
    assert job.folder.read().to_json()["response"]


def test_a_running_job_renews_its_heartbeat(root, brisk):
    with Job(root, STORE, "ImportDicomData", None) as job:
        first = job.folder.read().heartbeat
        wait_until(lambda: job.folder.read().heartbeat != first)
        job.finish("files")


def test_a_job_whose_outcomes_do_not_add_up_is_no_success(root, brisk):
    with (
        pytest.raises(JobError, match="3 outcomes were written for 4 files"),
        Job(root, STORE, "ImportDicomData", None) as job,
    ):
        job.expect(4)
        job.folder.write_counts("00000", OutcomeCounts(imported=2, failed=1))
        job.finish("files")
    assert job.folder.read().error.code == INTERNAL


def test_a_finished_job_is_not_written_again(root, brisk):
    with Job(root, STORE, "ImportDicomData", None) as job:
        job.finish("files")
        ended = job.folder.storage.read("operation.json")
        time.sleep(0.2)
    assert job.folder.storage.read("operation.json") == ended
    assert not [t for t in threading.enumerate() if t is job._watch]


def test_asking_to_cancel_is_seen_by_readers(root):
    folder = start_operation(root, STORE, "ImportDicomData")
    assert not folder.read().metadata.cancel_requested
    folder.request_cancel()
    assert folder.read().metadata.cancel_requested


def test_operations_are_listed_the_newest_first(root):
    folders = [start_operation(root, STORE, "ImportDicomData") for _ in range(3)]
    assert [f.id for f in operation_folders(root)] == sorted((f.id for f in folders), reverse=True)


def test_a_part_that_ends_while_it_is_read_does_not_take_its_progress_along(root, monkeypatch):
    new_store(root)
    progress = OperationFolder.progress
    with Job(root, STORE, "ImportDicomData", None) as job:
        job.expect(4)
        job.folder.report_progress("00000-worker", ProgressCounts(read=3))

        def progress_of_a_part_that_just_ended(folder, ended=""):
            if not ended:
                job.folder.write_counts("00000", OutcomeCounts(imported=3))
                job.end_part("00000")
            return progress(folder, ended)

        monkeypatch.setattr(OperationFolder, "progress", progress_of_a_part_that_just_ended)
        assert job.folder.read().metadata.counter.success == 3
        monkeypatch.undo()
        job.folder.write_counts("00001", OutcomeCounts(imported=1))
        job.finish("files")
