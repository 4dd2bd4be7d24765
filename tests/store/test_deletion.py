"""A deletion ends with nothing left, whatever writes beside it and wherever it breaks off."""

import errno
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

import dicomferry.transforms.ingest
from dicomferry.cli.main import app
from dicomferry.operations.folder import OperationFolder, new_operation_id, start_operation
from dicomferry.operations.listing import list_operations
from dicomferry.operations.owner import Owner
from dicomferry.operations.record import Method
from dicomferry.pipelines.import_request import ImportRequest
from dicomferry.pipelines.job import Job
from dicomferry.resource_names import DatasetName, StoreName
from dicomferry.sources.local import describe_file
from dicomferry.storage.registry import open_storage
from dicomferry.store import deletion, writers
from dicomferry.store.deletion import delete_store
from dicomferry.store.dicom_store import StoreNotFoundError, create_store, get_store, mark_deleted
from dicomferry.store.writers import JobsRunningError, Writers
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


@pytest.mark.parametrize("after", [0, 1, 12, 25])
def test_one_that_broke_off_goes_on_when_it_is_run_again(root, monkeypatch, after):
    data = new_store(root).data
    fill(get_store(root, STORE))
    unlink, gone = os.unlink, []

    def breaking(path, **options):
        if str(path).startswith(data.root):
            if len(gone) == after:
                raise OSError(5, "the disk is gone")
            gone.append(path)
        return unlink(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", breaking)
        with pytest.raises(OSError, match="the disk is gone"):
            delete_store(root, STORE)
    assert left(root)
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


def test_it_waits_for_jobs_and_deletes_what_they_left(root):
    store = new_store(root)
    folder = start_operation(root, STORE, Method.IMPORT)
    record = folder.read()
    record.metadata.create_time += timedelta(hours=1)  # by the clock of another host
    folder.write(record)
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
    monkeypatch.setattr(writers, "_PATIENCE_SECONDS", 0.1)
    with pytest.raises(JobsRunningError, match=folder.id):
        delete_store(root, STORE)
    records = [listed.record for listed in list_operations(root, DatasetName())]
    [error] = [r.error for r in records if r.metadata.method is Method.DELETE_STORE]
    assert error.code == 9
    assert left(root) == []


def test_what_a_killed_job_had_on_its_way_is_deleted(root, monkeypatch):
    monkeypatch.setattr(writers, "_LAST_WRITES_SECONDS", 1.0)
    wait, purged = Writers.wait, threading.Event()
    monkeypatch.setattr(Writers, "wait", lambda self: purged.set() or wait(self))
    store = new_store(root)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as job:
        folder = OperationFolder(root, STORE.parent, new_operation_id())
        folder.start(STORE, Method.IMPORT, Owner.of(job.pid))
        waiting = threading.Thread(target=delete_store, args=(root, STORE))
        waiting.start()
        while os.path.exists(store.data.root):
            time.sleep(0.01)
        job.kill()
    fill(store, 1)
    waiting.join(0.1)
    assert waiting.is_alive()
    waiting.join()
    assert left(root) == []


def test_jobs_of_a_store_that_was_created_since_are_not_waited_for(root, monkeypatch):
    monkeypatch.setattr(writers, "_PATIENCE_SECONDS", 0.0)
    new_store(root)
    mark_deleted(root, STORE)
    deletion_job = start_operation(root, STORE, Method.DELETE_STORE)
    data = create_store(root, STORE).data
    job = start_operation(root, STORE, Method.IMPORT)
    record = job.read()
    record.data_folder = Path(data.root).name
    job.write(record)
    delete_store(root, STORE, operation=deletion_job.id)
    assert deletion_job.read().error is None
    assert get_store(root, STORE).data == data


@pytest.mark.parametrize("command", ["operations prune", "another deletion"])
def test_what_came_after_a_deletion_is_swept(root, command):
    store = new_store(root)
    delete_store(root, STORE)
    fill(store)
    kept = create_store(root, STORE)
    fill(kept, 1)
    other = StoreName(STORE.parent, "other")
    if command == "operations prune":
        call = ["operations", "prune", "--older-than", "9d", "--root", root.root]
        assert CliRunner().invoke(app, call).exit_code == 0
    else:
        create_store(root, other)
        delete_store(root, other)
    assert left(root)
    assert all(path.startswith(kept.data.root) for path in left(root))


def test_an_import_whose_store_goes_before_it_is_recorded_writes_nothing(
    root, tmp_path, monkeypatch
):
    new_store(root)
    (tmp_path / "a.dcm").write_bytes(dicom_bytes())
    resolve = ImportRequest.resolve

    def resolve_and_lose(*args):
        resolved = resolve(*args)
        lose_store(root)
        new_store(root)
        return resolved

    monkeypatch.setattr(ImportRequest, "resolve", resolve_and_lose)
    monkeypatch.setattr(dicomferry.transforms.ingest, "write_blob", None)
    job = run_import(root, f"{tmp_path}/*.dcm")
    assert job.operation["error"] == {"code": 5, "message": f"{STORE} was deleted meanwhile"}


def test_a_job_that_was_queued_is_recorded_as_running_before_it_looks_for_its_store(
    root, monkeypatch
):
    data = new_store(root).data
    folder = start_operation(root, STORE, Method.IMPORT)
    record = folder.read()
    record.queued = True
    folder.write(record)
    seen = []

    def look(*args):
        seen.append(folder.read().queued)
        return get_store(*args)

    monkeypatch.setattr("dicomferry.pipelines.job.get_store", look)
    request = ImportRequest(root=root, store=STORE, retry_failed="x", operation=folder.id)
    with Job(request, None, folder) as job:
        assert seen == [False]
        job.expect(0)
        assert job.finish("files").data_folder == Path(data.root).name


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
