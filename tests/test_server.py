"""`dicomferry serve` as a process."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from dicomferry.api.proto.generated import dicom_service_pb2 as pb
from dicomferry.api.proto.generated.dicom_service_pb2_grpc import DicomServiceStub
from dicomferry.resource_names import parse_store
from dicomferry.store.dicom_store import get_store
from dicomferry.store.maintenance import metrics
from tests.api.serving import DATASET, TRIAL, served_by_process, wait_until
from tests.emulators.out_of_reach import silent
from tests.pipelines.jobs import images, write_files

COMMAND = [sys.executable, "-c", "from dicomferry.cli.main import main; main()", "serve"]


def fetched(url):
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_all_surfaces_and_ends_well(root, signal_):
    with served_by_process(root) as (process, ports):
        with grpc.insecure_channel(ports.grpc) as channel:
            request = pb.CreateDicomStoreRequest(parent=DATASET, dicom_store_id="trial")
            DicomServiceStub(channel).CreateDicomStore(request)
        assert fetched(f"{ports.rest}/v1/{TRIAL}") == {"name": TRIAL}
        with urllib.request.urlopen(f"{ports.rest}/") as page:
            assert "text/html" in page.headers["content-type"]
        process.send_signal(signal_)
        _, log = process.communicate(timeout=60)
        assert process.returncode == 0
    assert f"CreateDicomStore {DATASET} by anyone: OK" in log


STUCK = """
import time
from dicomferry.api.dicom_service import DicomService
DicomService.get_dicom_store = lambda *_: print("stuck", flush=True) or time.sleep(600)
from dicomferry import server
server._GRACE_SECONDS = 1
from dicomferry.cli.main import main; main()
"""


def test_it_ends_soon_whatever_its_threads_wait_for(root):
    """As a bucket that accepts connections and never answers does it."""
    with (
        served_by_process(root, code=STUCK) as (process, ports),
        grpc.insecure_channel(ports.grpc) as channel,
        ThreadPoolExecutor(1) as threads,
    ):
        get = DicomServiceStub(channel).GetDicomStore
        by_grpc = get.future(pb.GetDicomStoreRequest(name=TRIAL))
        by_rest = threads.submit(fetched, f"{ports.rest}/v1/{TRIAL}")
        assert [process.stdout.readline() for _ in range(2)] == ["stuck\n"] * 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        assert by_grpc.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
        with pytest.raises(urllib.error.HTTPError) as refused:
            by_rest.result()
        assert json.load(refused.value)["error"]["status"] == "UNAVAILABLE"
        assert "Traceback" not in process.stderr.read()


def test_tables_out_of_reach_hold_up_no_call_and_not_the_end(root, monkeypatch):
    pids = []
    try:
        with silent() as address:
            monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", address)
            with served_by_process(root, "--max-jobs=1") as (process, ports):
                store = f"{ports.rest}/v1/{DATASET}/dicomStores?dicomStoreId=trial"
                streams = [{"bigqueryDestination": {"tableUri": "bq://my-project.d.stream"}}]
                fetched(
                    urllib.request.Request(store, json.dumps({"streamConfigs": streams}).encode())
                )
                body = {"bigqueryDestination": {"tableUri": "bq://my-project.d.t"}}
                request = urllib.request.Request(
                    f"{ports.rest}/v1/{TRIAL}:export", json.dumps(body).encode()
                )
                for _ in range(3):
                    name = fetched(request)["name"]
                    record = root.read(f"{name}/operation.json")
                    pids.append(json.loads(record)["owner"]["pid"])
                assert fetched(f"{ports.rest}/v1/{TRIAL}")["streamConfigs"] == streams
                process.send_signal(signal.SIGTERM)
                assert process.wait(timeout=60) == 0
            for pid in pids:
                os.kill(pid, 0)  # the jobs go on
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


def test_a_job_outlives_the_server_and_all_that_both_write_is_private(root, tmp_path):
    source = write_files(tmp_path / "in", images(3))
    with served_by_process(root, f"--allow-path={tmp_path / 'in'}") as (process, ports):
        stores = f"{ports.rest}/v1/{DATASET}/dicomStores?dicomStoreId=trial"
        fetched(urllib.request.Request(stores, b"{}"))
        body = json.dumps({"gcsSource": {"uri": source}}).encode()
        request = urllib.request.Request(f"{ports.rest}/v1/{TRIAL}:import", body)
        with urllib.request.urlopen(request) as answer:
            name = json.load(answer)["name"]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with served_by_process(root) as (_, ports):
        ended = wait_until(lambda: (o := fetched(f"{ports.rest}/v1/{name}")).get("done") and o)
        assert ended["metadata"]["counter"] == {"success": "3"}
        assert [o["name"] for o in fetched(f"{ports.rest}/v1/{DATASET}/operations")["operations"]]
    assert metrics(get_store(root, parse_store(TRIAL)))["instanceCount"] == "3"
    written = list(Path(root.root).rglob("*"))
    assert [path for path in written if path.suffix == ".dcm"]
    assert [path for path in written if path.name == "job.log"]
    assert not [path for path in written if path.stat().st_mode & 0o077]


def refusal(*flags):
    done = subprocess.run(
        [*COMMAND, *flags], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    return done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org", "10.0.0.1"])
def test_others_cannot_reach_it_without_login(root, host):
    said = refusal(f"--root={root.root}", f"--host={host}")
    assert "--auth" in said
    assert host in said


def test_what_cannot_be_served_is_told(root, tmp_path):
    here = f"--root={root.root}"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert "--port" in refusal(here, f"--port={port}", "--grpc-port=0")
        assert "--grpc-port" in refusal(here, "--port=0", f"--grpc-port={port}")
    assert "--allow-path" in refusal(here, f"--allow-path={tmp_path}/missing")
    assert "missing" in refusal(here, f"--auth={tmp_path}/missing")
