"""A deletion ends with nothing left, whatever writes beside it and wherever it breaks off."""

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import dicomferry.transforms.ingest
from dicomferry.operations.folder import start_operation
from dicomferry.operations.listing import list_operations
from dicomferry.operations.record import Method
from dicomferry.resource_names import DatasetName
from dicomferry.sources.local import describe_file
from dicomferry.storage.local import LocalStorage
from dicomferry.storage.registry import open_storage
from dicomferry.store import deletion
from dicomferry.store.deletion import JobsRunningError, delete_store
from dicomferry.store.dicom_store import StoreNotFoundError, create_store, get_store, mark_deleted
from dicomferry.transforms.ingest import ImportTarget, ingest_all
from tests.factories import dicom_bytes
from tests.pipelines.jobs import STORE, lose_store, new_store, run_import


def left(root):
    """Files of all data folders."""
    folder = Path(root.root) / STORE.folder / "data"
    return [str(path) for path in folder.rglob("*") if path.is_file()]


def fill(store, blobs=30):
    for number in range(blobs):
        store.data.write(f"instances/1/2/{number}/x.dcm", b"x")


def test_it_is_an_operation_that_counts_blobs(root):
    fill(new_store(root))
    record = delete_store(root, STORE)
    assert record.outcome_counts.deleted == 30
    assert left(root) == []
    [(folder, listed)] = list_operations(root, DatasetName())
    assert listed.metadata.method is Method.DELETE_STORE
    assert listed.done
    assert not listed.error
    assert folder.read().api_fields()["response"]["@type"].endswith("google.protobuf.Empty")


@pytest.mark.parametrize("call", ["delete", "remove_all"])
@pytest.mark.parametrize("after", [0, 1])
def test_one_that_broke_off_goes_on_when_it_is_run_again(root, monkeypatch, call, after):
    fill(new_store(root))
    calls = []

    def breaking(storage, *args):
        calls.append(call)
        if len(calls) > after:
            raise OSError(5, "the disk is gone")
        return original(storage, *args)

    original = getattr(LocalStorage, call)
    monkeypatch.setattr(deletion, "_BATCH", 10)
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, call, breaking)
        with pytest.raises(OSError, match="the disk is gone"):
            delete_store(root, STORE)
    assert bool(left(root)) == ((call, after) != ("remove_all", 1))
    with pytest.raises(StoreNotFoundError):
        get_store(root, STORE)
    new = create_store(root, STORE)  # the name is free meanwhile
    fill(new, 1)
    mark_deleted(root, STORE)
    delete_store(root, STORE)
    assert left(root) == []
    with pytest.raises(StoreNotFoundError):
        delete_store(root, STORE)


def test_it_leaves_a_store_alone_that_was_created_since(root):
    fill(new_store(root))
    mark_deleted(root, STORE)
    new = create_store(root, STORE)
    assert new.data not in deletion.deleted_data(root, STORE)
    assert len(deletion.deleted_data(root, STORE)) == 1


def test_a_store_that_was_created_before_the_job_began_is_left_alone(root):
    """The server marks the store as deleted, answers, and the job follows seconds later."""
    fill(new_store(root))
    mark_deleted(root, STORE)
    operation = start_operation(root, STORE, Method.DELETE_STORE)
    data = create_store(root, STORE).data
    data.write("instances/1/2/3/x.dcm", b"x")
    delete_store(root, STORE, operation=operation.id)
    assert get_store(root, STORE).data == data
    assert all(data.root in path for path in left(root))
    assert operation.read().outcome_counts.deleted == 30


def test_an_import_beside_it_ends_and_deletes_what_it_wrote(root, tmp_path, monkeypatch):
    new_store(root)
    for number in range(20):
        (tmp_path / f"{number}.dcm").write_bytes(dicom_bytes(sop=f"1.2.{number}"))
    write_blob = dicomferry.transforms.ingest.write_blob
    written = []

    def deleting(data, path, *content):
        if len(written) == 10:
            lose_store(root)
        write_blob(data, path, *content)
        written.append(path)

    monkeypatch.setattr(dicomferry.transforms.ingest, "write_blob", deleting)
    job = run_import(root, f"{tmp_path}/*.dcm")
    assert job.operation["error"] == {"code": 5, "message": f"{STORE} was deleted meanwhile"}
    assert left(root) == []


def test_a_worker_that_wakes_up_after_the_deletion_leaves_nothing(root, tmp_path, monkeypatch):
    store = new_store(root)
    (tmp_path / "a.dcm").write_bytes(dicom_bytes())
    target = ImportTarget(store.data, dry_run=False)
    ingest = dicomferry.transforms.ingest.ingest

    def slow(*args):
        lose_store(root)
        return ingest(*args)

    monkeypatch.setattr(dicomferry.transforms.ingest, "ingest", slow)
    with pytest.raises(StoreNotFoundError):
        ingest_all([describe_file(str(tmp_path / "a.dcm"))], target)
    assert left(root) == []


def test_it_waits_for_jobs_and_deletes_what_they_left(root, monkeypatch):
    store = new_store(root)
    folder = start_operation(root, STORE, Method.IMPORT)
    time.sleep(0.002)  # records have milliseconds
    waiting = threading.Thread(target=delete_store, args=(root, STORE))
    waiting.start()
    while store.data.head("index/_delta_log/00000000000000000000.json"):
        time.sleep(0.01)
    time.sleep(0.2)
    fill(store, 1)  # and is killed
    record = folder.read()
    record.finish()
    folder.write(record)
    waiting.join()
    assert left(root) == []


def test_a_job_that_does_not_end_is_named(root, monkeypatch):
    new_store(root)
    folder = start_operation(root, STORE, Method.IMPORT)
    time.sleep(0.002)
    monkeypatch.setattr(deletion, "_PATIENCE_SECONDS", 0.1)
    with pytest.raises(JobsRunningError, match=folder.id):
        delete_store(root, STORE)
    records = [listed.record for listed in list_operations(root, DatasetName())]
    [error] = [r.error for r in records if r.metadata.method is Method.DELETE_STORE]
    assert error.code == 9
    assert left(root) == []


_FILL_FOR_EVER = """
import sys
from dicomferry.storage.registry import open_storage
from dicomferry.store.blobs import write_blob
data = open_storage(sys.argv[1])
for number in range(10**9):
    write_blob(data, f"instances/1/{number}/2/x.dcm", b"x")
    if number == 100:
        print(flush=True)
"""


def test_a_writer_in_the_same_folders_does_not_break_it(root):
    store = new_store(root)
    command = [sys.executable, "-c", _FILL_FOR_EVER, store.data.root]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        mark_deleted(root, STORE)
        timer = threading.Timer(0.3, process.kill)
        timer.start()
        try:
            while process.poll() is None:
                try:
                    deletion.purge(store.data)
                except OSError as error:
                    assert error.errno == errno.ENOTEMPTY  # it writes faster than they are deleted
        finally:
            process.kill()
    deletion.purge(store.data)
    assert left(root) == []


@pytest.mark.parametrize("kind", ["local", "gs"])
def test_many_objects_are_deleted_at_once(request, tmp_path, kind):
    if kind == "local":
        storage = open_storage(str(tmp_path / "many"))
    else:
        bucket = request.getfixturevalue("gcs").bucket(f"deletion-{os.urandom(6).hex()}")
        storage = open_storage(f"gs://{bucket.name}/many")
    paths = [f"a/{number}" for number in range(450)]
    for path in paths:
        storage.write(path, b"")
    storage.write("stays", b"")
    storage.delete([*paths[:300], "a/none", *paths[300:], "b/none"])
    assert [entry.path for entry in storage.list()] == ["stays"]
