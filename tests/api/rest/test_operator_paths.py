"""What operators of a server ask for: whether it lives and works, what it counts, who called."""

import contextlib
import datetime
import json
import logging
import socket
import ssl
import threading
import urllib.error
import urllib.request

import grpc
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client.parser import text_string_to_metric_families

from dicomferry.api.access.token_file import make_token
from dicomferry.api.proto.generated import dicom_service_pb2 as pb
from dicomferry.api.proto.generated.dicom_service_pb2_grpc import DicomServiceStub
from dicomferry.api.readiness import Readiness
from dicomferry.api.rest import connections
from dicomferry.api.rest.connections import BoundedListener
from dicomferry.server import Service, Settings, http_config
from tests.api.serving import DATASET, TRIAL, client_of, served_by_process, wait_until


def metrics_of(client, headers=()):
    """What a server counts, by name and labels."""
    answer = client.raw("GET", b"/metrics", headers=dict(headers))
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(answer.body.decode())
    samples = [sample for family in families for sample in family.samples]
    labels = ("method", "code")
    return {
        (each.name, *(each.labels[label] for label in labels if label in each.labels)): each.value
        for each in samples
    }


def test_calls_are_counted_by_method_and_code(root):
    client = client_of(root)
    client.call("GET", TRIAL)
    client.ok("POST", f"{DATASET}/dicomStores", {}, dicomStoreId="trial")
    for _ in range(2):
        client.ok("GET", TRIAL)
    found = metrics_of(client)
    assert found["dicomferry_calls_total", "GetDicomStore", "OK"] == 2
    assert found["dicomferry_calls_total", "GetDicomStore", "NOT_FOUND"] == 1
    assert found["dicomferry_call_seconds_count", "GetDicomStore"] == 3
    assert found["process_resident_memory_bytes",] > 1 << 20


def test_names_of_callers_make_no_new_counters(root):
    client = client_of(root)
    for number in range(20):
        client.call("GET", f"{DATASET}/dicomStores/{number}")
        client.call("GET", f"unknown/{number}")
    labels = {key[1:] for key in metrics_of(client) if key[0] == "dicomferry_calls_total"}
    assert labels == {("GetDicomStore", "NOT_FOUND")}


def test_metrics_take_a_token_where_the_server_does(root, tmp_path):
    token, entry = make_token("prometheus", ["healthcare.operations.list"], ["*"])
    tenant, other = make_token("tenant", ["healthcare.*"], ["projects/p"])
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{json.dumps(entry)}\n{json.dumps(other)}\n")
    tokens.chmod(0o600)
    client = client_of(root, auth=str(tokens))
    refused = client.raw("GET", b"/metrics")
    assert "no token" in refused.refused(401, "UNAUTHENTICATED")
    refused = client.raw("GET", b"/metrics", headers={"authorization": f"Bearer {tenant}"})
    assert "healthcare.operations.list" in refused.refused(403, "PERMISSION_DENIED")
    assert metrics_of(client, {"authorization": f"Bearer {token}"})
    for path in (b"/healthz", b"/readyz"):
        assert client.raw("GET", path).status == 200


@pytest.mark.parametrize("path", [b"/metrics", b"/readyz"])
def test_pages_of_other_sites_see_nothing_of_a_server_without_login(root, path):
    answer = client_of(root).raw("GET", path, headers={"host": "evil.example"})
    assert answer.status == 403


def test_it_is_ready_while_its_storage_answers(root, monkeypatch):
    client = client_of(root)
    assert client.raw("GET", b"/readyz").body == b"ok\n"

    def fail(*_):
        raise OSError("SECRET")

    monkeypatch.setattr(type(root), "folders", fail)
    monkeypatch.setattr("dicomferry.api.readiness._FRESH_SECONDS", 0)
    answer = client.raw("GET", b"/readyz")
    assert (answer.status, answer.body) == (503, b"the storage of this server does not answer\n")
    assert client.raw("GET", b"/healthz").status == 200


def test_storage_is_asked_by_one_thread_and_the_others_get_its_last_answer(root, monkeypatch):
    asked, goes_on, seconds = threading.Semaphore(0), threading.Event(), [100.0]
    monkeypatch.setattr("dicomferry.api.readiness.time.monotonic", lambda: seconds[0])
    readiness = Readiness(root)
    assert readiness.check()

    def hang(*_):
        asked.release()
        goes_on.wait(60)
        return iter(())

    monkeypatch.setattr(type(root), "folders", hang)
    seconds[0] += 3
    first = threading.Thread(target=readiness.check)
    first.start()
    assert asked.acquire(timeout=60)
    assert [readiness.check() for _ in range(10)] == [True] * 10
    seconds[0] += 6
    assert [readiness.check() for _ in range(10)] == [False] * 10
    goes_on.set()
    first.join()
    assert readiness.check()
    assert not asked.acquire(blocking=False)


def test_who_called_what_is_logged_without_contents(root, caplog):
    client = client_of(root)
    with caplog.at_level(logging.INFO, "dicomferry"):
        client.ok("POST", f"{DATASET}/dicomStores", {"labels": {"a": "b-secret"}}, dicomStoreId="x")
        client.call("GET", f"{DATASET}/dicomStores/a%20secret%0A")
        client.call("GET", TRIAL)
    lines = [record.getMessage().rpartition(" in ")[0] for record in caplog.records]
    assert lines == [
        f"CreateDicomStore {DATASET} by anyone: OK",
        "GetDicomStore - by anyone: INVALID_ARGUMENT",
        f"GetDicomStore {TRIAL} by anyone: NOT_FOUND",
    ]
    assert "secret" not in caplog.text


# TLS.


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A certificate of localhost, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    for file, encryption in (
        ("key.pem", serialization.NoEncryption()),
        ("locked.pem", serialization.BestAvailableEncryption(b"password")),
    ):
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )
        (folder / file).write_bytes(private)
    return folder


def test_both_transports_speak_tls(root, pair):
    flags = [f"--tls-cert={pair}/cert.pem", f"--tls-key={pair}/key.pem", "--host=localhost"]
    context = ssl.create_default_context(cafile=f"{pair}/cert.pem")
    roots = grpc.ssl_channel_credentials((pair / "cert.pem").read_bytes())
    with served_by_process(root, *flags) as (_, ports):
        assert ports.rest.startswith("https://localhost:")
        with grpc.secure_channel(ports.grpc, roots) as channel:
            request = pb.CreateDicomStoreRequest(parent=DATASET, dicom_store_id="trial")
            DicomServiceStub(channel).CreateDicomStore(request, timeout=60)
        with urllib.request.urlopen(f"{ports.rest}/v1/{TRIAL}", context=context) as answer:
            assert json.load(answer) == {"name": TRIAL}
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            urllib.request.urlopen(ports.rest.replace("https", "http", 1))


def test_strangers_that_do_not_greet_are_bounded(root, pair, monkeypatch):
    """Each holds a descriptor and 0.3 MB, and no protocol that could count it."""
    monkeypatch.setattr(connections, "MAX_GREETING", 5)
    context = ssl.create_default_context(cafile=f"{pair}/cert.pem")
    with contextlib.ExitStack() as until_end:
        listener = until_end.enter_context(BoundedListener())
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        files = {"ssl_certfile": f"{pair}/cert.pem", "ssl_keyfile": f"{pair}/key.pem"}
        server = uvicorn.Server(http_config(Service(Settings(root)).app, **files))
        monkeypatch.setattr(server, "capture_signals", contextlib.nullcontext)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        address = listener.getsockname()
        try:
            silent = [socket.create_connection(address) for _ in range(10)]
            wait_until(lambda: len(BoundedListener._greeting) == 5)
            ended = sum(not each.recv(1) for each in silent[5:])
            assert ended == 5
            for each in silent:
                each.close()
            wait_until(lambda: not BoundedListener._greeting)
            url = f"https://localhost:{address[1]}/healthz"
            for _ in range(12):
                with urllib.request.urlopen(url, context=context) as answer:
                    assert answer.read() == b"ok\n"
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.parametrize(
    ("cert", "key", "message"),
    [
        ("cert.pem", "", "TLS needs both --tls-cert and --tls-key"),
        ("", "key.pem", "TLS needs both --tls-cert and --tls-key"),
        ("cert.pem", "none.pem", "cannot read .* (No such file or directory)"),
        ("cert.pem", "cert.pem", "are not a certificate and its key"),
        ("key.pem", "key.pem", "are not a certificate and its key"),
        ("cert.pem", "locked.pem", "has a password: save it without"),
    ],
)
def test_a_wrong_pair_is_refused_before_a_port_is_open(root, pair, cert, key, message):
    files = {"tls_cert": cert and f"{pair}/{cert}", "tls_key": key and f"{pair}/{key}"}
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        Settings(root, **files).check()
