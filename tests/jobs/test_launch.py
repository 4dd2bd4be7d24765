"""Jobs that the service starts: processes of their own, whose operations are there at once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from google.rpc.code_pb2 import ABORTED, CANCELLED, FAILED_PRECONDITION, NOT_FOUND

from dicomferry.jobs import launch
from dicomferry.operations.folder import OperationFolder, OperationNotFoundError, start_operation
from dicomferry.operations.owner import Owner
from dicomferry.pipelines import import_dicom
from dicomferry.pipelines.export_request import ExportRequest, TableSchema
from dicomferry.pipelines.import_request import ImportRequest
from dicomferry.resource_names import DatasetName
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import StoreNotFoundError
from dicomferry.tables.destination import WriteDisposition
from tests.factories import dicom_bytes
from tests.pipelines.jobs import (
    STORE,
    exported,
    files_of,
    images,
    import_of,
    new_store,
    operation_folders,
    rows,
    run_import,
    table_of,
    tree,
    write_files,
)
from tests.pipelines.slowed import PART_FILES
from tests.pipelines.tables import uids

REPOSITORY = Path(__file__).parents[2]
SERVER = """
import os, signal, sys
from dicomferry.jobs import launch
from dicomferry.resource_names import parse_store
from dicomferry.storage.registry import open_storage
from tests.pipelines.jobs import import_of
request = import_of(open_storage(sys.argv[1]), sys.argv[3], parse_store(sys.argv[2]))
folder = launch.start(request)
print(folder.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def filled(store, tmp_path):
    """A store with three instances."""
    run_import(store, write_files(tmp_path / "filled", images(3)))
    return store


def record(folder):
    return json.loads(folder.storage.read("operation.json"))


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return result


def ended(folder):
    """The operation when it has ended, and its process with it."""
    wait_until(lambda: folder.read().done)
    owner = Owner(**record(folder)["owner"])
    wait_until(owner.is_gone)
    return folder.read()


def session(leader):
    """The processes of a session that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except (OSError, NotADirectoryError):
            continue
        if fields[3] == str(leader) and fields[0] not in "ZX":
            found.append(int(entry.name))
    return found


# What a call does.


def test_an_import_is_recorded_when_the_call_returns_and_runs_to_its_end(store, tmp_path):
    source = write_files(tmp_path / "in", images(3))
    folder = launch.start(import_of(store, source))
    begun = record(folder)
    assert not begun["done"]
    assert begun["owner"]["pid"] != os.getpid()
    assert begun["metadata"]["apiMethodName"].endswith(".ImportDicomData")
    operation = ended(folder)
    assert operation.to_json()["response"]["@type"].endswith(".ImportDicomDataResponse")
    assert operation.metadata.counter == (0, 3, 0)
    assert operation.owner == Owner(**begun["owner"])
    assert operation.metadata.to_json()["createTime"] == begun["metadata"]["createTime"]
    assert {row["Operation"] for row in rows(store).values()} == {folder.id}
    assert [each.id for each in operation_folders(store)] == [folder.id]


def test_files_are_exported_in_the_asked_for_form(filled, tmp_path):
    folder = launch.start(files_of(filled, str(tmp_path / "out")))
    assert ended(folder).metadata.counter.success == 3
    assert tree(tmp_path / "out") == exported(filled)
    (tmp_path / "one").write_text("/studies/1.2.1/series/1.2.1.1/instances/1.2.1.1.2")
    png = launch.start(
        files_of(filled, tmp_path / "png", "image/png", filter=str(tmp_path / "one"))
    )
    operation = ended(png)
    assert operation.total == 1
    assert operation.to_json()["response"]["@type"].endswith(".ExportDicomDataResponse")
    assert [Path(path).name for path in tree(tmp_path / "png")] == ["1.2.1.1.2.png"]


def test_a_table_is_exported_as_asked(filled, tmp_path):
    table = f"delta:{tmp_path}/delta"
    columns = {"schema": TableSchema.JSON, "include_source_store": True}
    ended(launch.start(table_of(filled, table, **columns)))
    append = WriteDisposition.WRITE_APPEND
    ended(launch.start(table_of(filled, table, write_disposition=append, **columns)))
    assert uids(table) == sorted([*rows(filled), *rows(filled)])


def test_what_a_job_says_is_in_a_local_log_that_its_operation_names(store, tmp_path):
    folder = launch.start(import_of(store, f"{tmp_path}/nothing/**"))
    operation = ended(folder)
    assert operation.error.code == NOT_FOUND
    assert operation.error.message in Path(operation.logs).read_text()


def test_a_job_finds_its_code_wherever_the_service_was_started(store, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "pipelines.py").write_text("raise RuntimeError")
    source = write_files(tmp_path / "in", images(1))
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert ended(launch.start(import_of(store, source))).to_json()["response"]


def test_the_service_need_not_load_beam():
    check = "import dicomferry.jobs.launch, sys; sys.exit('apache_beam' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", check], check=False, cwd=REPOSITORY).returncode == 0
    )


def test_a_bucket_holds_store_source_and_operation(gcs, tmp_path):
    bucket = gcs.bucket("jobs")
    root = open_storage("gs://jobs/stores")
    new_store(root)
    bucket.blob("in/a.dcm").upload_from_string(dicom_bytes(sop="1.2.9"))
    operation = ended(launch.start(import_of(root, "gs://jobs/in/**")))
    assert operation.metadata.counter.success == 1
    assert Path(operation.logs).is_file()
    Path(operation.logs).unlink()


# Refused by the call itself.


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (
            lambda root: launch.start(ImportRequest(root=root, store=STORE)),
            "name either a source",
        ),
        (lambda root: launch.start(import_of(root, "/in/**/x*")), r"\*\*"),
        (lambda root: launch.start(import_of(root, "s3://bucket/**")), "s3"),
        (lambda root: launch.start(import_of(root, "/in/" + "a" * 9000)), "at most 8192 bytes"),
        (lambda root: launch.start(import_of(root, "/in/\0")), "NUL character"),
        (
            lambda root: launch.start(ExportRequest(root=root, store=STORE)),
            "name either a --destination",
        ),
        (lambda root: launch.start(files_of(root, "s3://b")), "s3:// is not supported"),
        (lambda root: launch.start(files_of(root, "/out", "image/gif")), "image/gif"),
        (
            lambda root: launch.start(files_of(root, "/out", filter="/absent.txt")),
            "no filter file",
        ),
        (lambda root: launch.start(table_of(root, "postgres:x")), "names no table"),
        (
            lambda root: launch.start(table_of(root, "delta:x", schema="wide")),
            "--schema must be flattened or json, got 'wide'",
        ),
    ],
)
def test_a_wrong_request_is_refused_by_the_call_and_starts_nothing(store, start, told):
    with pytest.raises(ValueError, match=told):
        start(store)
    assert operation_folders(store) == []


def test_a_table_that_has_rows_ends_the_operation_not_the_call(filled, tmp_path):
    """The caller's process opens no table: it can be large, locked or out of reach."""
    table = f"delta:{tmp_path}/delta"
    ended(launch.start(table_of(filled, table)))
    refused = ended(launch.start(table_of(filled, table)))
    assert refused.error.code == FAILED_PRECONDITION
    assert "WRITE_APPEND" in refused.error.message


@pytest.mark.parametrize(
    "start",
    [
        lambda root: launch.start(import_of(root, "/in/**")),
        lambda root: launch.start(files_of(root, "/out")),
        lambda root: launch.start(table_of(root, "delta:out")),
    ],
)
def test_a_store_that_is_not_there_is_told_by_the_call(root, start):
    with pytest.raises(StoreNotFoundError, match="does not exist"):
        start(root)
    assert operation_folders(root) == []


# Who runs an operation.


def test_an_operation_of_another_process_is_not_run(store, tmp_path):
    source = write_files(tmp_path / "in", images(1))
    with subprocess.Popen(["sleep", "60"]) as other:
        folder = start_operation(store, STORE, "ImportDicomData", owner=Owner.of(other.pid))
        before = record(folder)
        assert main(folder, store, source).returncode == 2
        assert record(folder) == before
        other.kill()
    assert rows(store) == {}


def test_an_operation_that_has_ended_is_not_run_again(store, tmp_path):
    source = write_files(tmp_path / "in", images(1))
    folder = run_import(store, source).folder
    before = record(folder)
    again = main(folder, store, source)
    assert again.returncode == 2
    assert b"has ended: start the job without --operation" in again.stderr
    assert record(folder) == before


def test_an_operation_that_was_never_recorded_is_not_run(store, tmp_path):
    """As when the service is killed before it could record what it started."""
    source = write_files(tmp_path / "in", images(1))
    folder = OperationFolder(store, DatasetName(), "20260101000000-00000000")
    assert main(folder, store, source).returncode == 2
    assert operation_folders(store) == []
    assert rows(store) == {}


def main(folder, root, source):
    command = [
        sys.executable,
        "-m",
        "dicomferry.pipelines.import_dicom",
        f"--operation={folder.id}",
    ]
    command += [f"--store={STORE.id}", f"--root={root.root}", f"--source={source}"]
    return subprocess.run(
        command, check=False, cwd=REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True
    )


def test_what_changed_between_call_and_start_ends_the_operation(root):
    folder = start_operation(root, STORE, "ImportDicomData")
    flags = [f"--store={STORE.id}", f"--root={root.root}", "--source=/in/**"]
    request, options = import_dicom.parse_args([*flags, f"--operation={folder.id}"])
    with pytest.raises(import_dicom.JobError):
        import_dicom.run(request, options)
    assert folder.read().error.code == NOT_FOUND
    assert f"{STORE} does not exist" in folder.read().error.message


def test_a_job_that_dies_before_its_first_line_shows_as_aborted(store, tmp_path, monkeypatch):
    source = write_files(tmp_path / "in", images(1))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    operation = ended(launch.start(import_of(store, source)))
    assert operation.error.code == ABORTED


def test_a_process_that_ended_is_gone_though_nobody_asked_how():
    with subprocess.Popen(["sleep", "60"]) as process:
        owner = Owner.of(process.pid)
        assert not owner.is_gone()
        process.kill()
        wait_until(owner.is_gone)  # a zombie until it is waited for


# The service may die at any time.


def test_a_job_goes_on_when_the_service_is_killed(store, tmp_path):
    source = write_files(tmp_path / "in", images(5))
    command = [sys.executable, "-c", SERVER, store.root, STORE.id, source]
    server = subprocess.run(command, check=False, cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert server.returncode == -signal.SIGKILL
    operation = ended(OperationFolder(store, DatasetName(), server.stdout.decode().strip()))
    assert operation.to_json()["response"]
    assert len(rows(store)) == 5


def test_the_workers_of_a_job_that_is_killed_end_too(store, tmp_path, slowed):
    files = {f"slow-{n}": dicom_bytes(sop=f"1.2.9.{n}") for n in range(200)}
    folder = launch.start(import_of(store, write_files(tmp_path / "in", files)))
    pid = record(folder)["owner"]["pid"]
    wait_until(lambda: folder.read().metadata.counter.success > 0)
    assert len(session(pid)) > 2
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: session(pid) == [])
    assert folder.read().error.code == ABORTED


# Cancel.


def test_cancel_ends_a_job_with_its_workers_and_what_was_committed_stays(store, tmp_path, slowed):
    quick = {f"a-{name}": content for name, content in images(PART_FILES).items()}
    slow = {f"slow-{n}": dicom_bytes(sop=f"1.2.9.{n}") for n in range(200)}
    folder = launch.start(import_of(store, write_files(tmp_path / "in", quick | slow)))
    pid = record(folder)["owner"]["pid"]
    wait_until(lambda: folder.read().metadata.counter.success > PART_FILES)
    assert len(session(pid)) > 2
    folder.request_cancel()
    wait_until(lambda: folder.read().done and session(pid) == [], seconds=20)
    operation = folder.read()
    assert operation.error.code == CANCELLED
    assert operation.metadata.cancel_requested
    committed = {row["SourceUri"].rpartition("/")[2] for row in rows(store).values()}
    assert set(quick) <= committed
    assert len(committed) < len(quick) + len(slow)


def test_cancel_of_an_operation_that_has_ended_changes_nothing(store, tmp_path):
    folder = run_import(store, write_files(tmp_path / "in", images(1))).folder
    before = tree(folder.storage.root)
    folder.request_cancel()
    assert tree(folder.storage.root) == before
    assert folder.read().to_json()["response"]


def test_cancel_of_an_operation_that_is_not_there_says_so(store):
    with pytest.raises(OperationNotFoundError):
        OperationFolder(store, DatasetName(), "20260101000000-00000000").request_cancel()
    assert operation_folders(store) == []


# Progress.


def test_progress_of_an_import_rises_and_what_is_pending_sinks(store, tmp_path, slowed):
    files = {f"slow-{n}": dicom_bytes(sop=f"1.2.9.{n}") for n in range(200)}
    source = write_files(tmp_path / "in", files)
    check_progress(watch(launch.start(import_of(store, source))), 200)


def test_progress_of_an_export_to_files_rises(store, tmp_path, slowed):
    run_import(store, write_files(tmp_path / "in", images(200)))
    # Copies are handed over 64 at a time.
    check_progress(watch(launch.start(files_of(store, str(tmp_path / "out")))), 200, steps=2)


def test_rows_of_a_table_count_as_success_when_they_are_in_it(store, tmp_path, slowed):
    for n in range(16):
        run_import(store, write_files(tmp_path / f"{n}", {"a.dcm": dicom_bytes(sop=f"1.2.9.{n}")}))
    seen = watch(launch.start(table_of(store, f"delta:{tmp_path}/delta")))
    assert {counter["success"] for counter in seen} == {0, 16}
    assert seen[-1] == {"pending": 0, "success": 16, "failure": 0}


def watch(folder):
    """The counters of a job from its start to its end, each once, and its totals."""
    seen = []
    while True:
        operation = folder.read()
        counter = operation.metadata.counter._asdict()
        if not seen or seen[-1] != counter:
            seen.append(counter)
        if operation.done:
            assert operation.error is None
            return seen
        time.sleep(0.1)


def check_progress(seen, total, steps=5):
    done = [counter["success"] + counter["failure"] for counter in seen]
    assert done == sorted(done)
    rising = sorted({each for each in done if 0 < each < total})
    assert len(rising) >= steps, done
    pending = [counter["pending"] for counter in seen if counter["pending"]]
    assert pending == sorted(pending, reverse=True)
    assert pending[0] > total / 2
    assert seen[-1] == {"pending": 0, "success": total, "failure": 0}
