"""Jobs on Dataflow, against a server that answers as its REST API v1b3 does."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from service import dataflow
from service.dataflow import Dataflow, DataflowError, Template
from stores.operations import start_operation
from stores.owner import DataflowJob
from tests.pipelines.jobs import STORE, new_store, operation_folders

LOCATION = "/v1b3/projects/p/locations/europe-west4"


class FakeDataflow(ThreadingHTTPServer):
    """Launches, lists and cancels jobs in memory; `requests` holds what it was sent."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.jobs, self.requests, self.metrics = {}, [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, method, path, query, body):
        self.requests.append((method, path, body))
        rest = path.removeprefix(LOCATION)
        if (method, rest) == ("POST", "/flexTemplates:launch"):
            name = body["launchParameter"]["jobName"]
            if any(job["name"] == name for job in self.jobs.values()):
                return 409, {"error": {"message": f"({name}) is running already"}}
            job = {"id": f"id-{len(self.jobs)}", "name": name, "currentState": "JOB_STATE_QUEUED"}
            self.jobs[job["id"]] = job | {"createTime": f"2026-11-24T00:00:0{len(self.jobs)}Z"}
            return 200, {"job": job}
        if (method, rest) == ("GET", "/jobs"):
            [name] = query["name"]
            found = [job for job in self.jobs.values() if job["name"] == name]
            return 200, {"jobs": found} if found else {}
        if method == "GET" and rest.endswith("/metrics"):
            return 200, {"metrics": self.metrics}
        if method == "PUT":
            job = self.jobs[rest.removeprefix("/jobs/")]
            job["currentState"] = body["requestedState"]
            return 200, job
        return 404, {"error": {"message": f"no {path}"}}


class _Handler(BaseHTTPRequestHandler):
    def _answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        url = urlsplit(self.path)
        status, answer = self.server.answer(self.command, url.path, parse_qs(url.query), body)
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815 - http.server looks for these names

    def log_message(self, *_):
        pass


@pytest.fixture
def server() -> Iterator[FakeDataflow]:
    with FakeDataflow() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def client(server):
    return Dataflow(requests.Session(), server.url)


TEMPLATE = Template("gs://b/t/import_dicom.json", "p", "europe-west4", {"maxWorkers": 5})


@pytest.fixture
def started(root, client):
    """An operation whose Dataflow job was launched."""
    new_store(root)
    parameters = {"source": "gs://b/in/**"}
    return dataflow.start(client, TEMPLATE, root, STORE, "ImportDicomData", parameters)


def the_job(server):
    [job] = server.jobs.values()
    return job


def test_a_job_is_launched_with_the_operation_that_it_owns(server, root, started):
    [(_, path, body)] = server.requests
    assert path == f"{LOCATION}/flexTemplates:launch"
    assert body["launchParameter"] == {
        "jobName": f"dicomferry-{started.id}",
        "containerSpecGcsPath": "gs://b/t/import_dicom.json",
        "parameters": {
            "source": "gs://b/in/**",
            "root": root.root,
            "store": str(STORE),
            "operation": started.id,
        },
        "environment": {"maxWorkers": 5},
    }
    operation = started.read()
    assert not operation["done"]
    assert operation["owner"] == {
        "project": "p",
        "region": "europe-west4",
        "job_name": f"dicomferry-{started.id}",
    }


def test_a_refused_launch_ends_its_operation_with_what_dataflow_says(server, client, root):
    new_store(root)
    template = TEMPLATE._replace(region="nowhere")
    with pytest.raises(DataflowError, match="404: no /v1b3/projects/p/locations/nowhere"):
        dataflow.start(client, template, root, STORE, "ImportDicomData", {})
    [folder] = operation_folders(root)
    assert folder.read()["error"]["code"] == 14
    assert "404" in folder.read()["error"]["message"]


def test_a_running_job_shows_the_progress_of_its_committed_counters(server, client, started):
    the_job(server)["currentState"] = "JOB_STATE_RUNNING"
    server.metrics = [
        metric("read", "files", 70),
        metric("read", "files", 90, tentative="true"),
        metric("read", "failed", 3),
        metric("read", "bytes", 1000),
        {"name": {"origin": "dataflow/v1b3", "name": "ElementCount"}, "scalar": 5},
    ]
    counter = dataflow.settle(client, started)["metadata"]["counter"]
    assert (counter["success"], counter["failure"]) == ("67", "3")


def metric(namespace, name, value, **context):
    return {
        "name": {"name": name, "context": {"namespace": namespace, **context}},
        "scalar": value,
    }


def test_cancel_asks_dataflow_and_the_operation_ends_when_the_job_has(server, client, started):
    dataflow.cancel(client, started)
    assert server.requests[-1][2] == {"requestedState": "JOB_STATE_CANCELLED"}
    assert started.read()["metadata"]["cancelRequested"]
    assert dataflow.settle(client, started)["error"]["code"] == 1
    assert started.read()["done"]
    sent = len(server.requests)
    dataflow.cancel(client, started)
    assert len(server.requests) == sent, "one that has ended stays as it is"


@pytest.mark.parametrize("state", ["JOB_STATE_FAILED", "JOB_STATE_DONE"])
def test_a_job_that_ended_before_its_last_step_is_an_error(server, client, started, state):
    the_job(server)["currentState"] = state
    operation = dataflow.settle(client, started)
    assert operation["done"]
    assert operation["error"]["code"] == 13
    assert the_job(server)["id"] in operation["error"]["message"]
    assert started.read() == operation


def test_a_job_that_never_came_to_be_is_aborted_but_not_at_once(server, client, root):
    new_store(root)
    job = DataflowJob("p", "europe-west4", "dicomferry-lost")
    folder = start_operation(root, STORE, "ImportDicomData", owner=job)
    assert not dataflow.settle(client, folder)["done"]
    record = json.loads(folder.storage.read("operation.json"))
    record["heartbeat"] = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    folder.storage.write("operation.json", json.dumps(record).encode())
    assert dataflow.settle(client, folder)["error"]["code"] == 10


def test_operations_of_processes_are_left_alone(server, client, root):
    new_store(root)
    folder = start_operation(root, STORE, "ImportDicomData")
    dataflow.cancel(client, folder)
    assert not dataflow.settle(client, folder)["done"]
    assert not server.requests
