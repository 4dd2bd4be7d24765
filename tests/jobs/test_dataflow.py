"""Jobs on Dataflow, against a server that answers as its REST API v1b3 does."""

import json
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import google.auth
import pytest
import requests
from google.auth.exceptions import DefaultCredentialsError
from google.longrunning import operations_pb2
from google.rpc.code_pb2 import INVALID_ARGUMENT, UNAVAILABLE
from typer.testing import CliRunner

from dicomferry.api.access import ANYONE
from dicomferry.api.dicom_service import DicomService
from dicomferry.api.errors import ApiError
from dicomferry.api.operations_service import OperationsService
from dicomferry.api.proto.generated import dicom_service_pb2 as pb
from dicomferry.api.proto.generated import operation_metadata_pb2
from dicomferry.cli.main import app
from dicomferry.jobs import dataflow, elsewhere, launch
from dicomferry.jobs.dataflow import TemplateJob
from dicomferry.jobs.dataflow_client import DataflowClient, DataflowError, Template, Templates
from dicomferry.jobs.launch import JobRunner
from dicomferry.operations.folder import start_operation
from dicomferry.operations.owner import DataflowJob
from dicomferry.operations.record import Method
from dicomferry.places import Bounds, PlaceRules
from dicomferry.places.bounds import parse_bounds
from dicomferry.server import Settings
from dicomferry.storage.registry import open_storage
from tests.api.serving import client_of
from tests.pipelines.jobs import STORE, new_store, operation_folders

LOCATION = "/v1b3/projects/p/locations/europe-west4"


class FakeDataflow(ThreadingHTTPServer):
    """Launches, lists and cancels jobs in memory; `requests` holds what it was sent."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.jobs, self.requests, self.metrics, self.refuses = {}, [], [], False

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
            made = datetime.now(UTC) + timedelta(seconds=len(self.jobs))
            self.jobs[job["id"]] = job | {"createTime": made.isoformat()}
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
        if self.server.refuses:
            status, answer = 403, {"error": {"message": "the caller may not"}}
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
    return DataflowClient(requests.Session(), server.url)


TEMPLATE = Template("gs://b/t/import_dicom.json", "p", "europe-west4", {"maxWorkers": 5})


def job(root, **parameters):
    return TemplateJob(root, STORE, Method.IMPORT, parameters)


@pytest.fixture
def started(root, client):
    """An operation whose Dataflow job was launched."""
    new_store(root)
    return dataflow.start(client, TEMPLATE, job(root, source="gs://b/in/**"))


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
    assert not operation.done
    assert operation.owner == DataflowJob("p", "europe-west4", f"dicomferry-{started.id}")


def test_a_refused_launch_ends_its_operation_with_what_dataflow_says(server, client, root):
    new_store(root)
    template = TEMPLATE._replace(region="nowhere")
    with pytest.raises(DataflowError, match="404: no /v1b3/projects/p/locations/nowhere"):
        dataflow.start(client, template, job(root))
    [folder] = operation_folders(root)
    assert folder.read().error.code == 14
    assert "404" in folder.read().error.message


def test_a_running_job_shows_the_progress_of_its_committed_counters(server, client, started):
    the_job(server)["currentState"] = "JOB_STATE_RUNNING"
    server.metrics = [
        metric("read", "files", 70),
        metric("read", "files", 90, tentative="true"),
        metric("read", "failed", 3),
        metric("commit", "instances", 50),
        metric("read", "bytes", 1000),
        {"name": {"origin": "dataflow/v1b3", "name": "ElementCount"}, "scalar": 5},
    ]
    counter = dataflow.reconcile(client, started).metadata.counter
    assert (counter.success, counter.failure) == (50, 3)


def metric(namespace, name, value, **context):
    return {
        "name": {"name": name, "context": {"namespace": namespace, **context}},
        "scalar": value,
    }


def test_cancel_asks_dataflow_and_the_operation_ends_when_the_job_has(server, client, started):
    dataflow.cancel(client, started)
    assert server.requests[-1][2] == {"requestedState": "JOB_STATE_CANCELLED"}
    assert started.read().metadata.cancel_requested
    assert dataflow.reconcile(client, started).error.code == 1
    assert started.read().done
    sent = len(server.requests)
    dataflow.cancel(client, started)
    assert len(server.requests) == sent, "one that has ended stays as it is"


@pytest.mark.parametrize("state", ["JOB_STATE_FAILED", "JOB_STATE_DONE"])
def test_a_job_that_ended_before_its_last_step_is_an_error(server, client, started, state):
    the_job(server)["currentState"] = state
    operation = dataflow.reconcile(client, started)
    assert operation.done
    assert operation.error.code == 13
    assert the_job(server)["id"] in operation.error.message
    assert started.read() == operation


def test_a_job_that_never_came_to_be_is_aborted_but_not_at_once(server, client, root):
    new_store(root)
    lost = DataflowJob("p", "europe-west4", "dicomferry-lost")
    folder = start_operation(root, STORE, "ImportDicomData", owner=lost)
    assert not dataflow.reconcile(client, folder).done
    record = json.loads(folder.storage.read("operation.json"))
    record["heartbeat"] = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    folder.storage.write("operation.json", json.dumps(record).encode())
    assert dataflow.reconcile(client, folder).error.code == 10


def test_a_job_of_yesterday_that_had_the_same_name_is_another_one(server, client, root):
    new_store(root)
    owner = DataflowJob("p", "europe-west4", "nightly")
    made = datetime.now(UTC) - timedelta(days=1)
    server.jobs["old"] = {
        "id": "old",
        "name": "nightly",
        "currentState": "JOB_STATE_FAILED",
        "createTime": made.isoformat(),
    }
    folder = start_operation(root, STORE, "ImportDicomData", owner=owner)
    assert not dataflow.reconcile(client, folder).done
    dataflow.cancel(client, folder)
    assert all(method == "GET" for method, *_ in server.requests)
    made = datetime.now(UTC) - timedelta(seconds=50)  # by a clock that is a little behind
    server.jobs["new"] = server.jobs["old"] | {"id": "new", "createTime": made.isoformat()}
    assert "job new ended as failed" in dataflow.reconcile(client, folder).error.message


def test_operations_of_processes_are_left_alone(server, client, root):
    new_store(root)
    folder = start_operation(root, STORE, "ImportDicomData")
    dataflow.cancel(client, folder)
    assert not dataflow.reconcile(client, folder).done
    assert not server.requests


# Lists.


@pytest.fixture
def asked(server, client, monkeypatch):
    """Whoever asks Dataflow asks this server; counts how often it was."""
    monkeypatch.setattr(elsewhere, "DataflowClient", lambda: client)
    return lambda: len([each for each in server.requests if each[0] == "GET"])


def start_jobs(client, root, count):
    """Operations whose Dataflow jobs were launched, the oldest first."""
    new_store(root)
    return [dataflow.start(client, TEMPLATE, job(root)) for _ in range(count)]


def listed(root, **request):
    request = operations_pb2.ListOperationsRequest(name=str(STORE.parent), **request)
    return OperationsService(root).list_operations(request, ANYONE)


def fail(server, folder):
    [job] = [job for job in server.jobs.values() if job["name"] == f"dicomferry-{folder.id}"]
    job["currentState"] = "JOB_STATE_FAILED"


def test_a_list_ends_the_operations_of_jobs_that_died_and_asks_for_these_once(
    server, client, root, asked
):
    died = start_jobs(client, root, 2)
    for folder in died:
        fail(server, folder)
    assert [each.error.code for each in listed(root).operations] == [13, 13]
    assert all(folder.read().done for folder in died)
    before = asked()
    assert [each.error.code for each in listed(root).operations] == [13, 13]
    assert asked() == before


def test_a_list_asks_only_for_what_is_on_its_page(server, client, root, asked):
    first, second = sorted(start_jobs(client, root, 2), key=lambda folder: folder.id)
    for folder in (first, second):
        fail(server, folder)
    [newest] = listed(root, page_size=1).operations
    assert newest.name == second.name
    assert asked() == 1
    assert not first.read().done


def test_a_list_shows_the_progress_of_running_jobs(server, client, root, asked):
    start_jobs(client, root, 1)
    server.metrics = [metric("commit", "instances", 70)]
    [running] = listed(root).operations
    assert not running.done
    metadata = operation_metadata_pb2.OperationMetadata()
    running.metadata.Unpack(metadata)
    assert metadata.counter.success == 70


def test_a_list_is_as_recorded_where_dataflow_does_not_answer_and_asks_it_once(
    server, client, root, asked, caplog
):
    start_jobs(client, root, 3)
    server.refuses = True
    assert [each.done for each in listed(root).operations] == [False] * 3
    assert asked() == 1
    assert "Dataflow answered 403" in caplog.text


def test_a_list_is_as_recorded_without_credentials(client, root, monkeypatch, caplog):
    start_jobs(client, root, 1)

    def no_credentials(**_):
        raise DefaultCredentialsError("none")

    monkeypatch.setattr(google.auth, "default", no_credentials)
    assert [each.done for each in listed(root).operations] == [False]
    assert "DefaultCredentialsError" in caplog.text


def test_a_reader_that_is_asked_again_and_again_asks_dataflow_now_and_then(
    server, client, root, asked
):
    [folder] = start_jobs(client, root, 1)
    server.metrics = [metric("export", "written", 70)]
    reader = elsewhere.OperationReader(every_seconds=3600)
    counters = [reader.read(folder).metadata.counter.success for _ in range(5)]
    assert counters == [70] * 5
    assert asked() == 2, "the job and its metrics"


def test_who_waits_for_a_job_that_died_is_told(server, client, root, asked):
    [folder] = start_jobs(client, root, 1)
    fail(server, folder)
    request = operations_pb2.WaitOperationRequest(name=folder.name)
    request.timeout.FromMilliseconds(1)
    assert OperationsService(root).wait_operation(request, ANYONE).error.code == 13


def test_the_command_that_lists_sees_that_a_job_died(server, client, root, asked):
    for folder in start_jobs(client, root, 2):
        fail(server, folder)
    shown = CliRunner().invoke(app, ["operations", "list", f"--root={root.root}"])
    assert shown.exit_code == 0
    assert shown.output.count("failed") >= 3, "the heading, and both"


def test_the_console_shows_that_a_job_died(server, client, root, asked):
    [folder] = start_jobs(client, root, 1)
    fail(server, folder)
    console = client_of(root)
    assert console.raw("GET", b"/").status == 200
    assert folder.read().done
    assert b"ended as failed" in console.raw("GET", f"/console/{folder.name}".encode()).body


TEMPLATES = Templates("gs://templates/dicomferry/", "p", "europe-west4")


@pytest.fixture
def bucket_root(gcs):
    gcs.bucket("dataflow-stores")
    gcs.bucket("dataflow-files")
    root = open_storage(f"gs://dataflow-stores/{uuid.uuid4()}")
    new_store(root)
    return root


@pytest.fixture
def service(bucket_root, client, monkeypatch, tmp_path):
    """A server whose jobs run on Dataflow."""
    for module in (launch, elsewhere):
        monkeypatch.setattr(module, "DataflowClient", lambda: client)
    return DicomService(
        bucket_root,
        PlaceRules(Bounds.of_server([str(tmp_path)]), root=bucket_root),
        JobRunner(TEMPLATES),
    )


def launched(server):
    [(_, _, body)] = [each for each in server.requests if each[1].endswith(":launch")]
    return body["launchParameter"]


def test_an_import_through_the_api_is_a_dataflow_job(server, service, bucket_root):
    request = pb.ImportDicomDataRequest(name=str(STORE))
    request.gcs_source.uri = "gs://dataflow-files/in/**"
    operation = service.import_dicom_data(request, ANYONE)
    sent = launched(server)
    name = operation.name.rpartition("/")[2]
    assert sent["containerSpecGcsPath"] == "gs://templates/dicomferry/import_dicom.json"
    assert sent["jobName"] == f"dicomferry-{name}"
    bounds = parse_bounds(sent["parameters"].pop("bounds"))
    assert bounds.write.has_remote("bq://project/d/t")
    assert sent["parameters"] == {
        "source": "gs://dataflow-files/in/**",
        "root": bucket_root.root,
        "store": str(STORE),
        "operation": name,
    }
    operations = OperationsService(bucket_root)
    cancel = operations_pb2.CancelOperationRequest(name=operation.name)
    operations.cancel_operation(cancel, ANYONE)
    [job] = server.jobs.values()
    assert job["currentState"] == "JOB_STATE_CANCELLED"


def test_an_export_through_the_api_is_a_dataflow_job(server, service, bucket_root):
    request = pb.ExportDicomDataRequest(name=str(STORE))
    request.bigquery_destination.table_uri = "delta:gs://dataflow-files/table"
    request.bigquery_destination.include_source_store = True
    request.bigquery_destination.force = True
    request.bigquery_destination.schema_json.SetInParent()
    service.export_dicom_data(request, ANYONE)
    sent = launched(server)
    assert sent["containerSpecGcsPath"] == "gs://templates/dicomferry/export_dicom.json"
    assert (
        sent["parameters"].items()
        >= {
            "table": "delta:gs://dataflow-files/table",
            "schema": "json",
            "write_disposition": "WRITE_TRUNCATE",
            "include_source_store": "true",
        }.items()
    )
    assert "filter" not in sent["parameters"]


def test_what_dataflow_workers_cannot_reach_is_refused(server, service, tmp_path):
    request = pb.ExportDicomDataRequest(name=str(STORE))
    request.gcs_destination.uri_prefix = str(tmp_path)
    with pytest.raises(ApiError, match="local path") as refused:
        service.export_dicom_data(request, ANYONE)
    assert refused.value.code == INVALID_ARGUMENT
    assert not server.requests


def test_a_refused_launch_is_told_to_the_caller(bucket_root, service):
    elsewhere = TEMPLATES._replace(region="nowhere")
    service = DicomService(
        bucket_root, PlaceRules(Bounds.of_server(), root=bucket_root), JobRunner(elsewhere)
    )
    request = pb.ImportDicomDataRequest(name=str(STORE))
    request.gcs_source.uri = "gs://dataflow-files/in/**"
    with pytest.raises(ApiError) as refused:
        service.import_dicom_data(request, ANYONE)
    assert refused.value.code == UNAVAILABLE


@pytest.mark.parametrize(
    "flags",
    [
        {"dataflow_templates": "gs://t"},
        {"dataflow_templates": "gs://t", "dataflow_project": "p", "dataflow_region": "r"},
    ],
)
def test_dataflow_named_in_part_or_over_local_stores_is_refused(tmp_path, flags):
    with pytest.raises(ValueError, match="name all four"):
        Settings(open_storage(str(tmp_path)), **flags).check()
