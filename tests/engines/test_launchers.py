"""What goes on, and what is left, when the process that started a job on Prism ends early."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from google.rpc.code_pb2 import ABORTED, CANCELLED

from dicomferry.jobs import elsewhere
from dicomferry.operations.state import State, state_of
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store
from dicomferry.transforms import read_and_store
from tests.engines.prism import BINARY, REPOSITORY, needs_prism
from tests.pipelines.jobs import STORE, images, new_store, operation_folders, write_files
from tests.pipelines.test_portable_runner import bucket_rows, free_port, wait_until_open

_SECONDS = 60


@pytest.fixture(autouse=True, scope="module")
def built():
    needs_prism()


@pytest.fixture
def prism():
    """The endpoint of a Prism, which nobody ends but this fixture."""
    port = free_port()
    command = [BINARY, f"--job_port={port}", "--serve_http=false", "--log_level=error"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until_open(port, process)
        yield f"localhost:{port}"
        process.kill()


@pytest.fixture
def held(monkeypatch):
    """Workers in this process, which begin to read and wait; their address, and what lets them."""
    begun, go = threading.Semaphore(0), threading.Event()
    ingest = read_and_store.ingest_all

    def wait(*args, **kwargs):
        begun.release()
        assert go.wait(_SECONDS)
        return ingest(*args, **kwargs)

    monkeypatch.setattr(read_and_store, "ingest_all", wait)
    address, server = BeamFnExternalWorkerPoolServicer.start(use_process=False)
    yield address, begun, go
    go.set()
    server.stop(None)


def start(root, source, *flags, module="dicomferry.pipelines.import_dicom", workers=0):
    command = [sys.executable, "-m", module, f"--store={STORE.id}", f"--root={root.root}"]
    return subprocess.Popen(
        [*command, f"--source={source}", f"--workers={workers}", *flags],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def until(found):
    """Wait until there is something, and return it."""
    deadline = time.monotonic() + _SECONDS
    while not (it := found()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return it


# Threads of Beam's SDK end with an exception where a job is cancelled.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.timeout(180)
def test_jobs_go_on_without_their_launchers_and_are_shown_and_cancelled(gcs, prism, held):
    workers, begun, go = held
    bucket = gcs.bucket(f"launchers-{os.urandom(6).hex()}")
    root = open_storage(f"gs://{bucket.name}/stores")
    create_store(root, STORE)
    flags = ["--runner=PortableRunner", f"--job_endpoint={prism}"]
    flags += ["--environment_type=EXTERNAL", f"--environment_config={workers}"]
    launchers = []
    for name, content in images(4).items():
        for folder in ("kept", "cancelled"):
            bucket.blob(f"{folder}/{name}").upload_from_string(content)
    for folder in ("kept", "cancelled"):
        launchers.append(start(root, f"gs://{bucket.name}/{folder}/*.dcm", *flags))
    for _ in launchers:
        assert begun.acquire(timeout=_SECONDS)
    for launcher in launchers:
        launcher.kill()
        launcher.wait()
    operations = {
        each.read().asked.flags["source"].split("/")[-2]: each for each in operation_folders(root)
    }
    for each in operations.values():
        assert each.read().error.code == ABORTED, "nobody here runs it"
        assert state_of(elsewhere.read(each)) is State.RUNNING
    elsewhere.request_cancel(operations["cancelled"])
    go.set()
    records = {
        name: until(lambda each=each: (read := elsewhere.read(each)).done and read)
        for name, each in operations.items()
    }
    assert records["cancelled"].error.code == CANCELLED
    assert records["kept"].error is None
    assert records["kept"].counts.imported == len(bucket_rows(root)) == 4


def test_a_cancelled_job_takes_the_prism_along_that_beam_started_for_it(root, tmp_path):
    new_store(root)
    source = write_files(tmp_path / "in", {f"slow-{n}": b"" for n in range(1000)})
    flags = ["--runner=PrismRunner", f"--prism_location={BINARY}"]
    launcher = start(root, source, *flags, module="tests.pipelines.slowed")
    [prism] = until(lambda: children(launcher.pid))
    until(lambda: operation_folders(root)[0].read().metadata.counter.failure)
    elsewhere.request_cancel(operation_folders(root)[0])
    assert launcher.wait(_SECONDS) == 1
    assert operation_folders(root)[0].read().error.code == CANCELLED
    until(lambda: not prism.exists())


def children(pid):
    """The folders in /proc of the Prisms that a process has started."""
    found = subprocess.run(["pgrep", "-P", str(pid), "prism"], capture_output=True, check=False)
    return [Path("/proc", number) for number in found.stdout.decode().split()]
