"""A server runs a bounded number of jobs at once; others queue, and survive the server."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from google.rpc.code_pb2 import ABORTED, CANCELLED, NOT_FOUND

from dicomferry.jobs import launch, waiting_room
from dicomferry.jobs.turns import DEFAULT_LIMITS
from dicomferry.jobs.waiting_room import WaitingRoom
from dicomferry.operations import silence
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.state import state_of
from dicomferry.resource_names import DatasetName
from dicomferry.server import Settings
from dicomferry.storage.registry import open_storage
from tests.api.serving import DATASET, TRIAL, client_of, served_by_process, wait_until
from tests.factories import dicom_bytes
from tests.pipelines.jobs import STORE, import_of, lose_store, rows, write_files

REPOSITORY = Path(__file__).parents[2]
SERVER = """
import os, signal, sys
from dicomferry.jobs import launch
from dicomferry.resource_names import parse_store
from dicomferry.storage.registry import open_storage
from tests.pipelines.jobs import import_of
for source in sys.argv[3:]:
    request = import_of(open_storage(sys.argv[1]), source, parse_store(sys.argv[2]))
    folder = launch.start(request, launch.JobRunner(max_jobs=1))
    print(folder.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary(monkeypatch, tmp_path):
    """Slots of these tests alone."""
    monkeypatch.setattr(waiting_room.tempfile, "gettempdir", lambda: str(tmp_path))


def sources(tmp_path, count, each, name="slow"):
    """Patterns of folders with files of their own."""
    return [
        write_files(
            tmp_path / f"in{n}",
            {f"{name}-{i}": dicom_bytes(sop=f"1.2.{n}.{i}") for i in range(each)},
        )
        for n in range(count)
    ]


def start(store, sources, max_jobs=1):
    runner = launch.JobRunner(max_jobs=max_jobs)
    return [launch.start(import_of(store, source), runner) for source in sources]


def success(operation):
    return operation.metadata.counter.success if operation.metadata.counter else 0


def is_queued(folder):
    return folder.read().queued


def has_begun(folder):
    return wait_until(lambda: success(folder.read()) > 0)


def ended(folder):
    wait_until(lambda: folder.read().done)
    return folder.read()


def test_jobs_beyond_the_limit_are_queued_and_all_are_done(store, tmp_path, slowed):
    folders = start(store, sources(tmp_path, 3, 40))
    for folder in folders[1:]:
        wait_until(lambda folder=folder: is_queued(folder))
    most, done = 0, False
    while not done:
        reads = [folder.read() for folder in folders]
        done = all(operation.done for operation in reads)
        most = max(most, len([each for each in reads if not each.done and success(each)]))
        time.sleep(0.05)
    assert most == 1
    assert [success(folder.read()) for folder in folders] == [40] * 3
    assert not any(folder.read().queued for folder in folders)
    assert len(rows(store)) == 120


def test_as_many_run_at_once_as_may(store, tmp_path, slowed):
    first, second, third = start(store, sources(tmp_path, 3, 200), max_jobs=2)
    wait_until(lambda: is_queued(third))
    has_begun(first)
    has_begun(second)
    assert not first.read().done
    assert is_queued(third)
    for folder in (third, second, first):
        folder.request_cancel()
        ended(folder)


def test_a_job_that_waits_shows_as_queued_and_keeps_its_process(
    store, tmp_path, slowed, monkeypatch
):
    monkeypatch.setattr(silence, "MAX_SILENCE", timedelta(seconds=8))
    first, second = start(store, sources(tmp_path, 2, 200))
    wait_until(lambda: is_queued(second))
    assert not is_queued(first)
    assert state_of(second.read()) == "queued"
    owner = second.read().owner
    beat = second.read().heartbeat
    wait_until(lambda: second.read().heartbeat > beat)
    assert not second.read().done, "it does not count as abandoned"
    first.request_cancel()
    has_begun(second)
    assert second.read().owner == owner
    assert state_of(second.read()) == "running"
    second.request_cancel()
    ended(second)


def test_who_waits_is_small(store, tmp_path, slowed):
    first, second = start(store, sources(tmp_path, 2, 200))
    wait_until(lambda: is_queued(second))
    status = Path(f"/proc/{second.read().owner.pid}/status")
    if status.exists():
        [resident] = [x for x in status.read_text().splitlines() if x.startswith("VmRSS")]
        assert int(resident.split()[1]) < 80_000, "kB; a pipeline takes three times as much"
    for folder in (second, first):
        folder.request_cancel()
        ended(folder)


def test_a_job_that_waits_can_be_cancelled_and_has_done_nothing(store, tmp_path, slowed):
    first, second, third = start(store, sources(tmp_path, 3, 60))
    wait_until(lambda: is_queued(second))
    has_begun(first)
    second.request_cancel()
    operation = ended(second)
    assert not first.read().done
    assert operation.error.code == CANCELLED
    assert operation.error.message == "cancelled before it began"
    assert operation.metadata.cancel_requested
    wait_until(operation.owner.is_gone)
    assert success(ended(third)) == 60, "those behind it move up"
    assert {row["Operation"] for row in rows(store).values()} == {first.id, third.id}


def test_a_job_that_is_killed_leaves_its_slot_to_the_next(store, tmp_path, slowed):
    first, second = start(store, sources(tmp_path, 2, 60))
    has_begun(first)
    os.kill(first.read().owner.pid, signal.SIGKILL)
    operation = ended(second)
    assert success(operation) == 60, operation
    assert first.read().error.code == ABORTED


def test_jobs_that_wait_go_on_when_the_server_is_killed(store, tmp_path):
    command = [sys.executable, "-c", SERVER, store.root, STORE.id]
    command += sources(tmp_path, 3, 5, "quick")
    server = subprocess.run(command, check=False, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert server.returncode == -signal.SIGKILL
    folders = [OperationFolder(store, DatasetName(), each) for each in server.stdout.split()]
    assert len(folders) == 3
    assert [success(ended(folder)) for folder in folders] == [5] * 3


def test_a_job_whose_server_died_before_it_was_recorded_ends(store, tmp_path, slowed):
    """The only slot is taken, so it would wait; but nobody knows it."""
    [first] = start(store, sources(tmp_path, 1, 200))
    has_begun(first)
    room = WaitingRoom(waiting_room.slots_folder(store), 1)
    waits = room.enter(str(STORE), "somebody", DEFAULT_LIMITS)
    flags = [f"--root={store.root}", f"--store={STORE.id}", "--operation=20260101000000-00000000"]
    command = [
        sys.executable,
        "-m",
        "dicomferry.jobs.queue",
        room.folder,
        "1",
        str(waits.ticket),
        waits.name,
        "none",
        *flags,
    ]
    lost = subprocess.run(
        command,
        check=False,
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        timeout=60,
        pass_fds=[waits.ticket],
    )
    os.close(waits.ticket)
    assert lost.returncode != 0
    first.request_cancel()
    ended(first)


def test_a_store_that_is_deleted_while_its_job_waits_ends_the_job(store, tmp_path, slowed):
    first, second = start(store, sources(tmp_path, 2, 60))
    wait_until(lambda: is_queued(second))
    first.request_cancel()
    lose_store(store, STORE)
    assert ended(second).error.code == NOT_FOUND


def test_roots_have_slots_of_their_own(root, tmp_path):
    folder = waiting_room.slots_folder(root)
    assert folder == waiting_room.slots_folder(open_storage(root.root))
    assert folder != waiting_room.slots_folder(open_storage(str(tmp_path / "other")))


def test_a_folder_of_slots_that_another_user_made_is_refused(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"dicomferry-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="TMPDIR"):
        waiting_room.slots_folder(root)


def test_a_server_runs_so_many_jobs_as_its_flag_says(root, tmp_path):
    client_of(root).ok("POST", f"{DATASET}/dicomStores", dicomStoreId="trial")
    flags = ("--max-jobs=1", f"--allow-path={tmp_path}")
    started = []
    with served_by_process(root, *flags) as (_, ports):
        for source in sources(tmp_path, 2, 3, "quick"):
            body = {"gcsSource": {"uri": source}}
            answer = requests.post(f"{ports.rest}/v1/{TRIAL}:import", json=body, timeout=60)
            started.append(answer.json()["name"].rpartition("/")[2])
        parent = DatasetName("p", "l", "d")
        first, second = (OperationFolder(root, parent, each) for each in started)
        wait_until(lambda: is_queued(second))
    assert [success(ended(folder)) for folder in (first, second)] == [3, 3]


def test_a_server_that_may_run_no_job_is_refused(root):
    with pytest.raises(ValueError, match="--max-jobs must be 1 or more"):
        Settings(root, max_jobs=0).check()
