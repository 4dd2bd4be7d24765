"""Traces, as a collector of OpenTelemetry receives them."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest

from dicomferry import tracing
from dicomferry.api.access import make_token
from dicomferry.api.proto.generated import dicom_service_pb2 as pb
from dicomferry.api.proto.generated.dicom_service_pb2_grpc import DicomServiceStub
from dicomferry.operations.folder import OperationFolder, new_operation_id
from dicomferry.operations.ownership import OwnedOperation
from dicomferry.operations.record import Method
from dicomferry.resource_names import parse_store
from dicomferry.store.dicom_store import create_store
from tests.api.serving import DATASET, TRIAL, client_of, serving, wait_until
from tests.checkout import REPOSITORY
from tests.pipelines.jobs import STORE, images, new_store, run_import, write_files

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
SERVICE = "google.cloud.healthcare.v1.dicom.DicomService"
SETTINGS = (
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_SERVICE_NAME",
    "TRACEPARENT",
)


class Collector(BaseHTTPRequestHandler):
    """Takes OTLP over HTTP."""

    def do_POST(self):
        assert self.path == "/v1/traces"
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def flushed():
    """Send what has ended; what comes next is traced anew."""
    tracing.flush()
    for cached in (tracing._tracer, tracing._provider):
        cached.cache_clear()


@pytest.fixture(autouse=True)
def untraced(monkeypatch):
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    flushed()
    yield
    flushed()


@pytest.fixture
def collector(monkeypatch, untraced):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.bodies = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def spans(collector):
    """What came: spans by their names, each name once; and the name of the service."""
    found = {}
    for body in list(collector.bodies):
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = attributes(resource.resource)["service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    assert span.name not in found
                    found[span.name] = (span, service)
    return found


def attributes(message):
    return {each.key: value_of(each.value) for each in message.attributes}


def value_of(value):
    return getattr(value, value.WhichOneof("value"))


def family(span):
    """Ids of a span's trace and of its parent."""
    return span.trace_id.hex(), span.parent_span_id.hex()


def test_a_call_of_either_transport_is_a_span_in_its_callers_trace(collector, root, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "archive")
    with serving(root) as ports, grpc.insecure_channel(ports.grpc) as channel:
        request = pb.CreateDicomStoreRequest(parent=DATASET, dicom_store_id="trial")
        DicomServiceStub(channel).CreateDicomStore(request, metadata=[("traceparent", TRACEPARENT)])
    client = client_of(root)
    parameters = {"filter": "labels.patient=DOE^JANE", "headers": {"traceparent": TRACEPARENT}}
    assert client.call("GET", f"{DATASET}/dicomStores", **parameters).status == 200
    client.call("GET", f"{DATASET}/dicomStores/none")
    flushed()
    found = spans(collector)
    assert {service for _, service in found.values()} == {"archive"}
    create, listing, get = (
        found[f"{SERVICE}/{name}"][0]
        for name in ("CreateDicomStore", "ListDicomStores", "GetDicomStore")
    )
    assert family(create) == family(listing) == (TRACE, PARENT)
    assert family(get)[1] == "" and family(get)[0] != TRACE
    assert attributes(listing) == {
        "rpc.method": f"{SERVICE}/ListDicomStores",
        "rpc.response.status_code": "OK",
        "dicomferry.resource": DATASET,
    }
    assert attributes(create)["rpc.response.status_code"] == "OK"
    assert attributes(get)["rpc.response.status_code"] == "NOT_FOUND"
    for span in (create, listing, get):
        assert span.kind == span.SPAN_KIND_SERVER
        assert not span.events and span.status.code == 0, "the caller's faults are not ours"
    assert not any(b"JANE" in body for body in collector.bodies)


def test_a_refused_caller_is_seen_without_its_token(collector, root, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.touch(0o600)
    tokens.write_text(json.dumps(make_token("reader", ["*"], ["*"])[1]))
    client = client_of(root, auth=str(tokens))
    for body in (None, {}):
        method = "GET" if body is None else "POST"
        answer = client.call(
            method, f"{DATASET}/dicomStores", body, {"authorization": "Bearer secret-token"}
        )
        assert answer.status == 401
    flushed()
    codes = {
        name: attributes(span)["rpc.response.status_code"]
        for name, (span, _) in spans(collector).items()
    }
    assert codes == {
        f"{SERVICE}/ListDicomStores": "UNAUTHENTICATED",
        f"{SERVICE}/CreateDicomStore": "UNAUTHENTICATED",
    }
    assert not any(b"secret" in body for body in collector.bodies)


def test_a_job_in_its_own_process_belongs_to_the_call_that_started_it(collector, root):
    create_store(root, parse_store(TRIAL))
    client = client_of(root)
    client.ok("DELETE", TRIAL)
    [operation] = client.ok("GET", f"{DATASET}/operations")["operations"]
    wait_until(lambda: "DeleteDicomStore" in spans(collector))
    flushed()
    found = spans(collector)
    call, job = found[f"{SERVICE}/DeleteDicomStore"][0], found["DeleteDicomStore"][0]
    assert family(job) == (call.trace_id.hex(), call.span_id.hex())
    assert attributes(job)["dicomferry.operation"] == operation["name"]
    assert attributes(job)["rpc.response.status_code"] == "OK"
    assert found["DeleteDicomStore"][1] == "dicomferry"


def test_a_job_tells_its_method_and_counts_in_the_trace_of_the_environment(
    collector, root, tmp_path, monkeypatch
):
    monkeypatch.setenv("TRACEPARENT", TRACEPARENT)
    new_store(root)
    files = images(2) | {"JANE-DOE.dcm": b"no DICOM"}
    job = run_import(root, write_files(tmp_path / "in", files))
    flushed()
    [(span, _)] = spans(collector).values()
    assert span.name == "ImportDicomData"
    assert family(span) == (TRACE, PARENT)
    assert attributes(span) == {
        "dicomferry.operation": job.folder.name,
        "dicomferry.store": str(parse_store("trial")),
        "dicomferry.total": 3,
        "dicomferry.imported": 2,
        "dicomferry.failed": 1,
        "dicomferry.bytes": job.operation["counts"]["bytes"],
        "rpc.response.status_code": "INVALID_ARGUMENT",
    }
    assert span.status.code == span.status.STATUS_CODE_ERROR and not span.status.message
    assert not any(b"JANE" in body for body in collector.bodies)


def test_a_cancelled_job_is_sent_before_its_process_ends(collector, store, monkeypatch):
    folder = OperationFolder(store, STORE.parent, new_operation_id())
    folder.start(STORE, Method.EXPORT)
    monkeypatch.setattr("os._exit", sys.exit)
    # The job works until its process ends: its record has the last word.
    done = []
    flush = tracing.flush
    monkeypatch.setattr(tracing, "flush", lambda: (done.append(folder.read().done), flush()))
    owned = OwnedOperation(folder)
    folder.request_cancel()
    with pytest.raises(SystemExit):
        owned._look()
    assert done == [False] and folder.read().done
    [(span, _)] = spans(collector).values()
    assert span.name == "ExportDicomData"
    assert attributes(span)["rpc.response.status_code"] == "CANCELLED"


def test_nothing_is_imported_where_no_setting_asks_for_traces():
    code = (
        "import sys\n"
        "from datetime import datetime\n"
        "from dicomferry import tracing\n"
        "tracing.prepare()\n"
        "with tracing.call('a', {}) as span: span.end_call(0, '')\n"
        "tracing.operation('b', {}, datetime.now()).end()\n"
        "assert tracing.environment() == {}\n"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    environment = {"PYTHONPATH": str(REPOSITORY), "OTEL_SERVICE_NAME": "x"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "settings",
    [
        {"OTEL_SDK_DISABLED": "True"},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_EXPORTER": " , none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
    ],
    ids=lambda settings: "=".join(*settings.items()),
)
def test_traces_can_be_off(collector, monkeypatch, caplog, settings):
    for name, text in settings.items():
        monkeypatch.setenv(name, text)
    assert tracing._provider() is None
    assert not caplog.records


@pytest.mark.parametrize(
    ("setting", "text", "said"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "takes otlp, console or none, not zipkin"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "takes http/protobuf, not grpc"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/missing.pem", "cannot be read: /missing.pem"),
        ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "x", "component 'x' not found"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "max_queue_size must be a positive integer"),
    ],
)
def test_wrong_settings_are_told_and_end_nothing(
    collector, root, monkeypatch, caplog, setting, text, said
):
    monkeypatch.setenv(setting, text)
    assert client_of(root).call("GET", f"{DATASET}/dicomStores").status == 200
    [record] = caplog.records
    assert record.getMessage().startswith("there are no traces: ")
    assert said in record.getMessage()


def test_the_missing_extra_is_named_and_ends_nothing(collector, monkeypatch, caplog):
    monkeypatch.setattr("dicomferry.extras._MODULES", {"otel": ("opentelemetry.nowhere.x",)})
    assert tracing._provider() is None
    [record] = caplog.records
    assert "pip install 'dicomferry[otel]'" in record.getMessage()


def test_headers_that_cannot_be_read_are_not_shown(collector, monkeypatch, caplog):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "secret")
    assert tracing._provider() is not None
    assert caplog.records and "secret" not in caplog.text


def test_spans_go_to_standard_error(collector, monkeypatch, capsys):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    with tracing.call("service/method", {}) as span:
        span.end_call(13, "")
    flushed()
    shown = capsys.readouterr()
    assert '"service/method"' in shown.err and '"ERROR"' in shown.err
    assert not shown.out
