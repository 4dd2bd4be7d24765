"""The pipelines, unchanged, on other runners: the results are those of the default one.

DirectRunner is Beam's own default. PortableRunner speaks with a job service, and workers in
processes of their own run what it hands them, over the Fn API that workers of Flink, Spark and
Dataflow speak. The job services here are Beam's own and Prism, where `make engines` has built it;
where FLINK_JOB_ENDPOINT names one of Flink (host:port), the same test runs there too.
"""

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from deltalake import DeltaTable

from dicomferry.pipelines import export_dicom, optimize_store
from dicomferry.storage.gs_clients import delta_storage_options
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store
from dicomferry.store.index import Index
from dicomferry.store.sorted_runs import run_of
from tests.engines.prism import BINARY, REPOSITORY, needs_prism
from tests.factories import dicom_bytes
from tests.pipelines.jobs import (
    STORE,
    check_accounts,
    data_folder,
    exported,
    images,
    new_store,
    run,
    run_export,
    run_import,
    tree,
    without_run,
    write_files,
)

FILES = images(6) | {
    "copy of 000.dcm": images(1)["000.dcm"],
    "conflict.dcm": dicom_bytes(sop="1.2.1.1.2", pixels=b"\1" * 32),
    "notes.txt": b"not DICOM at all" * 20,
    "deep/folder/one.dcm": dicom_bytes(sop="1.2.1.1.50"),
}
_START_SECONDS = 60
_QUIET = ("--serve_http=false", "--log_level=warn", "--log_kind=json")


# DirectRunner.


def test_the_direct_runner_leaves_the_same_store_outcomes_and_export_as_the_default(tmp_path):
    source = write_files(tmp_path / "in", FILES)
    jobs, roots = {}, {}
    for runner, flags in (("default", []), ("direct", ["--runner=DirectRunner"])):
        roots[runner] = open_storage(str(tmp_path / runner))
        new_store(roots[runner])
        jobs[runner] = run_import(roots[runner], source, *flags)
        check_accounts(jobs[runner], [str(tmp_path / "in" / name) for name in FILES])
        assert run_export(roots[runner], tmp_path / f"out-{runner}", *flags).code == 0
    assert jobs["direct"].code == jobs["default"].code == 1
    assert jobs["direct"].outcomes == jobs["default"].outcomes
    assert without_run(roots["direct"]) == without_run(roots["default"])
    assert tree(tmp_path / "out-direct") == tree(tmp_path / "out-default")
    assert tree(tmp_path / "out-direct") == exported(roots["direct"])


# PortableRunner.


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_open(port, process):
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("localhost", port)).close()
            return
        except ConnectionRefusedError:
            assert process.poll() is None and time.monotonic() < deadline, "it did not start"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """The folder of what services print."""
    return tmp_path_factory.mktemp("beam")


@pytest.fixture(scope="module")
def service(gcs, logs):
    """Starts modules and programs of Beam with a port, until the module's tests are done."""
    started = []
    # The pool starts its workers as `python`.
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    environment = os.environ | gcs.environment | {"PATH": path}

    def start(name, *arguments):
        port = free_port()
        program = [sys.executable, "-m", name] if "." in name else [name]
        with (logs / os.path.basename(name)).open("wb") as output:
            process = subprocess.Popen(
                [*program, *(argument.format(port=port) for argument in arguments)],
                cwd=REPOSITORY,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        started.append(process)
        wait_until_open(port, process)
        return f"localhost:{port}"

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait()


@pytest.fixture(scope="module")
def workers(service):
    """A pool of worker processes."""
    return service("apache_beam.runners.worker.worker_pool_main", "--service_port={port}")


@pytest.fixture(params=["beam", "flink", "prism"])
def remote_flags(request, service, workers):
    """The flags of a remote runner that works."""
    if request.param == "beam":
        module = "apache_beam.runners.portability.local_job_service_main"
        endpoint = service(module, "--port={port}")
    elif request.param == "prism":
        needs_prism()
        endpoint = service(str(BINARY), "--job_port={port}", *_QUIET)
    elif not (endpoint := os.environ.get("FLINK_JOB_ENDPOINT")):
        pytest.skip("no job server of Flink: FLINK_JOB_ENDPOINT=host:port would name one")
    return [
        "--runner=PortableRunner",
        f"--job_endpoint={endpoint}",
        "--environment_type=EXTERNAL",
        f"--environment_config={workers}",
    ]


# A worker that does not start keeps a job service waiting for ever.
@pytest.mark.timeout(400)
def test_a_job_service_with_workers_elsewhere_gives_the_same_results(gcs, remote_flags, logs):
    bucket = gcs.bucket(f"portable-{os.urandom(6).hex()}")
    for name, content in FILES.items():
        bucket.blob(f"in/{name}").upload_from_string(content)
    bucket.blob("only.txt").upload_from_string("/studies/1.2.1\n/studies/9\n")
    jobs, rows, files, tables, streams = {}, {}, {}, {}, {}
    for runner, flags in (("local", []), ("remote", remote_flags)):
        base = f"gs://{bucket.name}/{runner}"
        root = open_storage(f"{base}/stores")
        stream = {"bigqueryDestination": {"tableUri": f"delta:{base}/stream"}}
        create_store(root, STORE, {"streamConfigs": [stream]})
        jobs[runner] = run_import(root, f"gs://{bucket.name}/in/**", *flags)
        check_accounts(jobs[runner], [f"gs://{bucket.name}/in/{name}" for name in FILES])
        assert optimize_store.main([f"--store={STORE.id}", f"--root={root.root}", *flags]) == 0
        export = run_export(root, f"{base}/out", *flags)
        assert export.code == 0, export.operation
        only = f"gs://{bucket.name}/only.txt"
        table = run_export_table(root, f"delta:{base}/table", f"--filter={only}", *flags)
        assert list(table.outcomes) == ["/studies/9"], table.operation
        rows[runner] = bucket_rows(root)
        files[runner] = objects(bucket, f"{runner}/out/")
        tables[runner] = table_rows(f"{base}/table")
        streams[runner] = [
            {k: v for k, v in row.items() if k != "LastUpdated"}
            for row in table_rows(f"{base}/stream")
        ]
    assert jobs["remote"].code == jobs["local"].code == 1
    assert jobs["remote"].outcomes == jobs["local"].outcomes
    assert rows["remote"] == rows["local"]
    assert len(rows["local"]) == 7
    assert all(run_of(file) for file in Index(data_folder(root)).files)
    assert files["remote"] == files["local"]
    assert len(files["local"]) == 7
    assert tables["remote"] == tables["local"]
    assert len(tables["local"]) == 7
    assert streams["remote"] == streams["local"]
    assert len(streams["local"]) == 7
    # Nothing is logged as a warning or an error but the files that failed.
    lines = warnings_in(logs)
    codes = [code for code in ("NOT_DICOM", "ALREADY_EXISTS") for line in lines if code in line]
    assert len(codes) == len(lines) > 0, lines


def warnings_in(logs):
    """What workers, pools and engines have printed that is a warning or an error."""
    lines = [line for log in logs.iterdir() for line in log.read_text().splitlines()]
    return [line for line in lines if not line.startswith(("INFO:", "Starting worker with "))]


def run_export_table(root, table, *flags):
    return run(export_dicom.main, root, f"--table={table}", "--workers=0", *flags)


def bucket_rows(root):
    """The index without what differs from run to run."""
    table = Index(data_folder(root)).dataset().to_table().to_pylist()
    return {
        row.pop("SOPInstanceUID"): {
            k: v for k, v in row.items() if k not in ("Operation", "LastUpdated")
        }
        for row in table
    }


def objects(bucket, prefix):
    blobs = list(bucket.client.list_blobs(bucket.name, prefix=prefix))
    with ThreadPoolExecutor(8) as threads:
        contents = threads.map(lambda blob: blob.download_as_bytes(), blobs)
        return {
            blob.name.removeprefix(prefix): content
            for blob, content in zip(blobs, contents, strict=True)
        }


def table_rows(uri):
    table = DeltaTable(uri, storage_options=delta_storage_options()).to_pyarrow_table()
    return sorted(table.to_pylist(), key=lambda row: row["SOPInstanceUID"])
