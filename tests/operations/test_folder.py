"""Operations as readers see them, while their owner lives and after it is gone."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicomferry.operations import silence
from dicomferry.operations.folder import (
    OperationFolder,
    OperationNotFoundError,
    new_operation_id,
    start_operation,
)
from dicomferry.operations.owner import Owner
from dicomferry.operations.record import now
from dicomferry.resource_names import DatasetName
from tests.pipelines.jobs import STORE, operation_folders

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


def written_ago(folder, seconds):
    path = folder.storage.local_path("operation.json")
    os.utime(path, (time.time() - seconds,) * 2)


def ago(seconds):
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


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
@pytest.mark.parametrize("clock_is_off_by", [-3600, 0, 3600])
def test_an_owner_on_another_host_lives_as_long_as_its_heartbeat_by_the_clock_of_the_storage(
    abandoned, silent_seconds, is_aborted, clock_is_off_by
):
    owner = {"host": "elsewhere", "pid": 1, "start_time": "1"}
    rewrite(abandoned, owner=owner, heartbeat=ago(silent_seconds - clock_is_off_by))
    written_ago(abandoned, silent_seconds)
    operation = abandoned.read()
    assert operation.done == is_aborted
    assert (operation.error.code if operation.error else None) == (10 if is_aborted else None)


@pytest.mark.parametrize(("silent_seconds", "is_aborted"), [(30, False), (90, True)])
def test_a_reader_whose_clock_is_off_asks_the_storage_for_the_time(
    abandoned, monkeypatch, silent_seconds, is_aborted
):
    class Ahead(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=1)

    monkeypatch.setattr(silence, "datetime", Ahead)
    rewrite(abandoned, owner={"host": "elsewhere", "pid": 1, "start_time": "1"})
    written_ago(abandoned, silent_seconds)
    assert abandoned.read().done == is_aborted
    assert [path.name for path in Path(abandoned.root.root).iterdir()] == ["projects"]


def test_a_living_process_of_this_host_is_not_aborted_however_long_it_is_silent(root):
    folder = start_operation(root, STORE, "ImportDicomData")
    rewrite(folder, heartbeat=ago(3600))
    written_ago(folder, 3600)
    assert not folder.read().done


def test_an_abandoned_operation_ended_with_its_last_heartbeat(abandoned):
    rewrite(abandoned, heartbeat=ago(90 * 24 * 3600))
    assert now() - abandoned.read().metadata.end_time > timedelta(days=89)


def test_this_process_owns_what_it_started_and_is_alive(root):
    folder = start_operation(root, STORE, "ImportDicomData")
    assert not Owner.this_process().is_gone()
    assert not folder.read().done


def test_a_look_at_an_operation_that_is_not_there_leaves_nothing(root):
    folder = OperationFolder(root, DatasetName(), "20260101000000-00000000")
    with pytest.raises(OperationNotFoundError, match="does not exist"):
        folder.read()
    assert operation_folders(root) == []
    assert not Path(folder.storage.root).exists()


def test_a_folder_that_a_killed_process_left_empty_is_no_operation(root, abandoned):
    Path(abandoned.storage.root).with_name("29990101000000-00000000").mkdir()
    assert [folder.id for folder in operation_folders(root)] == [abandoned.id]


def test_asking_to_cancel_is_seen_by_readers(root):
    folder = start_operation(root, STORE, "ImportDicomData")
    assert not folder.read().metadata.cancel_requested
    folder.request_cancel()
    assert folder.read().metadata.cancel_requested


def test_operations_are_listed_the_newest_first(root):
    folders = [start_operation(root, STORE, "ImportDicomData") for _ in range(3)]
    assert [f.id for f in operation_folders(root)] == sorted((f.id for f in folders), reverse=True)


def test_problems_are_all_outcomes_but_the_fine_ones_and_lines_that_are_cut(root):
    folder = start_operation(root, STORE, "ImportDicomData")
    lines = [
        b'{"source": "/a", "outcome": "imported", "bytes": 1}',
        b'{"source": "/\\"outcome\\": \\"imported\\"", "outcome": "failed", "bytes": 1}',
        b'{"source": "/b", "outcome": "conflict", "bytes": 1}',
        b'{"source": "/c", "outcome": "skipped", "bytes": 1}',
        b'{"source": "/d", "outcome": "imported", "by',
    ]
    folder.write_outcomes("00000", b"\n".join(lines))
    expected = [each for each in folder.outcomes() if each["outcome"] in ("conflict", "failed")]
    assert list(folder.problems()) == expected
    assert [each["source"] for each in expected] == ['/"outcome": "imported"', "/b", ""]


def test_ids_sort_by_when_operations_began():
    ids = []
    for _ in range(50):
        ids.append(new_operation_id())
        time.sleep(0.002)
    assert ids == sorted(ids)
    assert all(re.fullmatch("[0-9]{14}-[0-9a-f]{8}", each) for each in ids)
