"""Whoever calls the service: without a token nothing is done, and no request takes it down."""

import contextlib
import json
import random
import re
import resource
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest

from dicomferry.api.access import NoLogin, make_token, token_file
from dicomferry.api.rest.http_rule import routes_of
from dicomferry.api.rpcs import Handlers, all_rpcs
from dicomferry.console.routes import console_routes
from dicomferry.operations.folder import OperationFolder, start_operation
from dicomferry.places import Bounds, PlaceRules
from dicomferry.resource_names import parse_store
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store, get_store
from dicomferry.store.index import Index
from dicomferry.store.verification import verify
from tests.api.http2 import Connection
from tests.api.serving import DATASET, TRIAL, served_by_process, wait_until
from tests.faults.marked_files import MARK
from tests.faults.test_patient_data import marks_in
from tests.pipelines.jobs import images, write_files

MIB = 1 << 20
RPCS = all_rpcs(Handlers(open_storage("nowhere"), PlaceRules(Bounds.of_server())))
KNOWN = {
    "projects": "p",
    "locations": "l",
    "datasets": "d",
    "dicomStores": "trial",
    "operations": "op-1",
}


class Serving(NamedTuple):
    """A running service that asks for tokens."""

    root: Storage
    process: object
    rest: str
    grpc: str
    token: str

    def call(self, method, path, token="", body=b"", headers=()):
        """Status and body of an answer."""
        request = urllib.request.Request(
            f"{self.rest}{path}", data=body or None, method=method, headers=dict(headers)
        )
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        opener = urllib.request.build_opener(_NoRedirect)
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def peak_mib(self):
        """Peak memory of the server."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) // 1024

    def is_well(self):
        """Whether it answers as it should."""
        status, body = self.call("GET", f"/v1/{TRIAL}", self.token)
        return status == 200 and json.loads(body)["name"] == TRIAL


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("service")
    root = open_storage(str(scratch / "root"))
    create_store(root, parse_store(TRIAL))
    token, entry = make_token("tester", ["*"], ["*"])
    auth = scratch / "tokens"
    auth.touch(0o600)
    auth.write_text(json.dumps(entry))
    with served_by_process(root, f"--auth={auth}") as (process, ports):
        yield Serving(root, process, ports.rest, ports.grpc, token)


def grpc_answer(service, method, **fields):
    """Code and details of a call that has one message."""
    [rpc] = [rpc for rpc in RPCS if rpc.name == method]
    metadata = [("authorization", f"Bearer {service.token}")] if service.token else []
    with grpc.insecure_channel(service.grpc) as channel:
        call = channel.unary_unary(f"/{rpc.service}/{rpc.name}")
        request = rpc.request_class(**fields).SerializeToString()
        try:
            call(request, metadata=metadata, timeout=30)
        except grpc.RpcError as error:
            return error.code(), error.details()
    return grpc.StatusCode.OK, ""


def path_of(route):
    """The path of a route, with the ids of things that are there."""
    template = route.path.pattern.replace("(?:v1|v1beta1|v1alpha2)", "v1")
    parts = template.translate({ord("("): "", ord(")"): ""}).replace("[^/]+", "\0").split("/")
    filled = []
    for part in parts:
        filled.append(part.replace("\0", KNOWN.get(filled[-1], "") if filled else ""))
    return "/".join(filled)


@pytest.mark.parametrize("token", ["", "wrong", "x" * 5000])
@pytest.mark.parametrize("route", routes_of(RPCS), ids=lambda route: route.rpc.name)
def test_no_rest_method_answers_without_a_token(service, route, token):
    body = b"{}" if route.body else b""
    status, said = service.call(route.method, path_of(route), token, body)
    assert status == 401
    assert json.loads(said)["error"]["status"] == "UNAUTHENTICATED"
    allowed, _ = service.call(route.method, path_of(route), service.token, body)
    if route.rpc.name not in ("DeleteDataset", "DeleteDicomStore"):
        assert allowed != 401
    else:
        create_store(service.root, parse_store(TRIAL))


@pytest.mark.parametrize("token", ["", "wrong"])
@pytest.mark.parametrize("rpc", RPCS, ids=lambda rpc: rpc.name)
def test_no_grpc_method_answers_without_a_token(service, rpc, token):
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(service.grpc) as channel:
        call = channel.unary_unary(f"/{rpc.service}/{rpc.name}")
        with pytest.raises(grpc.RpcError) as refused:
            call(b"", metadata=metadata, timeout=30)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_no_page_of_the_console_shows_anything_without_a_login(service):
    routes = console_routes(open_storage("nowhere"), NoLogin().authenticate, print)
    places = KNOWN | {"project": "p", "location": "l", "dataset": "d", "store": "trial"}
    seen = 0
    for route in routes:
        path = re.sub(r"\{(\w+)(:\w+)?\}", lambda match: places.get(match[1], "1"), route.path)
        status, body = service.call("GET", path)
        if "POST" in route.methods or path.endswith((".css", ".js", ".svg")):
            continue
        seen += 1
        assert status == 401, path
        assert "op-1" not in body
    assert seen > 5


def test_a_token_is_compared_with_all_that_are_known_and_in_constant_time(tmp_path, monkeypatch):
    made = [make_token(f"t{n}", ["*"], ["*"]) for n in range(5)]
    path = tmp_path / "tokens"
    path.touch(0o600)
    path.write_text("\n".join(json.dumps(entry) for _, entry in made))
    compared = []
    compare = token_file.hmac.compare_digest
    monkeypatch.setattr(
        token_file.hmac, "compare_digest", lambda a, b: compared.append(a) or compare(a, b)
    )
    tokens = token_file.TokenFile(str(path))
    for token in (made[0][0], made[4][0]):
        tokens.authenticate(f"Bearer {token}")
    with pytest.raises(Exception, match="unknown or revoked"):
        tokens.authenticate("Bearer nobody")
    assert len(compared) == 3 * len(made)


def send_without_end(service, pieces, seconds=30):
    """Send a chunked body until the server has enough; how many bytes it took."""
    host, _, port = service.rest.removeprefix("http://").partition(":")
    sent = 0
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        head = f"POST /v1/{TRIAL}:import HTTP/1.1\r\nHost: {host}\r\n"
        head += f"Authorization: Bearer {service.token}\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        try:
            for piece in pieces:
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
                sent += len(piece)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass
    return sent


BODIES = {
    "deep": b'{"labels":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    "brackets": b"[" * 500_000,
    "numbers": b'{"labels":[' + b"1," * 400_000 + b"1]}",
    "digits": b'{"pageSize":' + b"9" * 900_000 + b"}",
    "keys": json.dumps({"labels": {f"k{n}": "v" for n in range(50_000)}}).encode(),
    "too-long": b" " * (3 * MIB),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", BODIES)
def test_no_body_exhausts_the_server(service, name):
    before = service.peak_mib()
    path = f"/v1/{DATASET}/dicomStores?dicomStoreId=new"
    try:
        status, body = service.call("POST", path, service.token, BODIES[name])
        assert 400 <= status < 500
        assert "Traceback" not in body
    except (urllib.error.URLError, ConnectionError):
        assert name == "too-long"  # it stopped listening
    assert service.peak_mib() - before < 100
    assert service.is_well()


@pytest.mark.timeout(120)
def test_no_body_without_end_exhausts_the_server(service):
    before = service.peak_mib()
    send_without_end(service, (bytes(MIB) for _ in range(300)))
    assert service.peak_mib() - before < 100
    assert service.is_well()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_bodies_of_strangers_are_not_kept_however_many_come(service, method):
    before = service.peak_mib()
    host, _, port = service.rest.removeprefix("http://").partition(":")
    head = f"{method} /v1/{TRIAL}:import HTTP/1.1\r\nHost: {host}\r\nContent-Length: {MIB}\r\n\r\n"
    with contextlib.ExitStack() as held:
        for _ in range(200):
            connection = held.enter_context(socket.create_connection((host, int(port)), 30))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(head.encode() + bytes(MIB - 1))
        assert service.peak_mib() - before < 60
        assert service.is_well()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_no_grpc_message_exhausts_the_server(service, compression):
    before = service.peak_mib()
    with grpc.insecure_channel(service.grpc) as channel:
        call = channel.unary_unary(f"/{RPCS[0].service}/{RPCS[0].name}")
        metadata = [("authorization", f"Bearer {service.token}")]
        with pytest.raises(grpc.RpcError) as refused:
            call(bytes(200 * MIB), metadata=metadata, compression=compression, timeout=60)
    assert refused.value.code() in (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
    )
    assert service.peak_mib() - before < 100
    assert service.is_well()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("said", ["", "a preface", "calls"])
def test_half_open_connections_and_calls_of_grpc_hold_nobody_up(service, said):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    with contextlib.ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1100):
            stranger = held.enter_context(Connection(service.grpc))
            if said:
                stranger.greet(window=0)
            if said == "calls":
                stranger.call(1, f"/{RPCS[0].service}/{RPCS[0].name}")
                stranger.call(3, "/grpc.health.v1.Health/Check", b"")

        def is_answered():
            return grpc_answer(service, "GetDicomStore", name=TRIAL)[0] == grpc.StatusCode.OK

        wait_until(is_answered, 20)
        assert all(is_answered() for _ in range(20))
        assert service.is_well()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("token", ["", "wrong"])
def test_calls_of_strangers_that_send_no_message_hold_nobody_up(service, token):
    """As many as the server has threads, and some more."""
    sent = threading.Event()

    def message():
        sent.wait()
        yield b""

    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(service.grpc) as channel:
        call = channel.stream_unary(f"/{RPCS[0].service}/{RPCS[0].name}")
        held = [call.future(message(), metadata=metadata) for _ in range(50)]
        try:
            for each in held:
                assert each.exception(timeout=30).code() == grpc.StatusCode.UNAUTHENTICATED
        finally:
            sent.set()
    assert grpc_answer(service, "GetDicomStore", name=TRIAL)[0] == grpc.StatusCode.OK


def test_what_is_no_message_and_what_is_said_at_length_are_invalid(service):
    metadata = [("authorization", f"Bearer {service.token}")]
    with grpc.insecure_channel(service.grpc) as channel:
        for messages in ([b"\xff" * 100], []):
            call = channel.stream_unary(f"/{RPCS[0].service}/{RPCS[0].name}")
            with pytest.raises(grpc.RpcError) as refused:
                call(iter(messages), metadata=metadata, timeout=30)
            assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    for name in ("x" * 200_000, "é" * 200_000, "\n%\0" * 50_000):
        code, said = grpc_answer(service, "GetDicomStore", name=name)
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert said


def test_many_parameters_and_long_headers_are_refused(service):
    query = "&".join(f"a{n}=1" for n in range(2000))
    assert service.call("GET", f"/v1/{TRIAL}?{query}", service.token)[0] == 400
    long = {"X-Long": "x" * 200_000}
    with contextlib.suppress(urllib.error.URLError, ConnectionError):  # it may just hang up
        assert 400 <= service.call("GET", f"/v1/{TRIAL}", service.token, headers=long)[0] < 500
    assert service.is_well()


def test_what_breaks_inside_tells_the_caller_neither_places_nor_values(root, tmp_path):
    create_store(root, parse_store(TRIAL))
    folder = OperationFolder(root, parse_store(TRIAL).parent, "op-1")
    folder.storage.write("operation.json", f'{{"done": false, "{MARK}": ]'.encode())
    other = start_operation(root, parse_store(TRIAL), "ImportDicomData", "op-2")
    record = json.loads(other.storage.read("operation.json"))
    record["metadata"]["createTime"] = MARK
    other.storage.write("operation.json", json.dumps(record).encode())
    # Whatever reads it says so with the value that it cannot read.
    broken = create_store(root, parse_store(f"{DATASET}/dicomStores/broken")).name
    record = {
        "deleted": False,
        "dataFolder": "x",
        "dicomStore": {"name": str(broken), "labels": MARK},
    }
    root.write(f"{broken.folder}/resource/2.json", json.dumps(record).encode())
    data = get_store(root, parse_store(TRIAL)).data
    log = next(entry.path for entry in data.list("index/_delta_log"))
    Path(data.uri(log)).write_text(f"{MARK} {{")
    with served_by_process(root) as (process, ports):
        service = Serving(root, process, ports.rest, ports.grpc, "")
        told = [
            service.call("GET", f"/v1/{DATASET}/operations/op-1"),
            service.call("GET", f"/v1/{DATASET}/operations"),
            service.call("GET", f"/v1/{TRIAL}:getDICOMStoreMetrics"),
            service.call("GET", f"/console/{TRIAL}"),
            service.call("GET", "/"),
            service.call("GET", f"/v1/{DATASET}/operations/op-2"),
            service.call("GET", f"/console/{DATASET}/operations/op-2"),
            service.call("GET", f"/v1/{broken}"),
            service.call("GET", f"/v1/{DATASET}/dicomStores"),
            service.call("GET", f"/console/{broken}"),
        ]
        code, said = grpc_answer(service, "GetDicomStore", name=str(broken))
        assert code == grpc.StatusCode.INTERNAL
        told.append((500, said))
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert sum(status >= 500 for status, _ in told) >= 6
    assert [status for status, _ in told[:2]] == [200, 200]
    for _, body in told:
        assert "Traceback" not in body
        assert ".py" not in body
        assert not marks_in(body)
    assert "GetDicomStore broke with" in log
    assert "the console broke with" in log
    assert "Exception in ASGI application" not in log
    assert not marks_in(log)


@pytest.mark.timeout(200)
def test_a_server_that_is_killed_at_any_moment_loses_no_job(root, tmp_path, seed):
    dice = random.Random(seed)
    create_store(root, parse_store(TRIAL))
    source = write_files(tmp_path / "in", images(300))
    flags = [f"--allow-path={tmp_path / 'in'}"]
    body = json.dumps({"gcsSource": {"uri": source}}).encode()
    with served_by_process(root, *flags) as (process, ports):
        service = Serving(root, process, ports.rest, ports.grpc, "")
        status, said = service.call("POST", f"/v1/{TRIAL}:import", body=body)
        assert status == 200
        moment = dice.uniform(0, 3)  # a job of so many files takes about as long
        time.sleep(moment)
        process.kill()
        process.wait()
    name = json.loads(said)["name"]
    with served_by_process(root, *flags) as (process, ports):
        service = Serving(root, process, ports.rest, ports.grpc, "")

        def ended():
            operation = json.loads(service.call("GET", f"/v1/{name}")[1])
            return operation if operation.get("done") else None

        operation = wait_until(ended)
    print(f"seed {seed}: the server was killed {moment} s after it started the import")
    assert operation["metadata"]["counter"] == {"success": "300"}
    store = get_store(root, parse_store(TRIAL))
    assert Index(store.data).count() == 300
    assert not any(finding.problem for finding in verify(store))
