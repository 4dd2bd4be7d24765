"""Callers of gRPC, known or not, hold up nobody else."""

import contextlib
import json
import socket
import threading

import grpc
import pytest

from dicomferry.api.access import make_token
from dicomferry.api.errors import ApiError
from dicomferry.api.grpc import calls as bounds
from dicomferry.api.grpc import health, server
from dicomferry.api.grpc.calls import Calls
from dicomferry.api.proto.generated import dicom_service_pb2 as pb
from dicomferry.api.proto.generated.dicom_service_pb2_grpc import DicomServiceStub
from tests.api.http2 import END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, Connection, is_closed
from tests.api.serving import DATASET, serving, wait_until

LIST = "/google.cloud.healthcare.v1.dicom.DicomService/ListDicomStores"
CHECK = "/grpc.health.v1.Health/Check"
pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def tokens(tmp_path):
    """A file of tokens, and the metadata of two of them."""
    made = [make_token(name, ["healthcare.dicomStores.list"], [DATASET]) for name in "ab"]
    path = tmp_path / "tokens"
    path.touch(0o600)
    path.write_text("".join(json.dumps(entry) + "\n" for _, entry in made))
    return str(path), *([("authorization", f"Bearer {token}")] for token, _ in made)


def list_stores(channel, metadata=None):
    request = pb.ListDicomStoresRequest(parent=DATASET)
    return DicomServiceStub(channel).ListDicomStores(
        request, metadata=metadata, timeout=10, wait_for_ready=True
    )


def test_connections_are_bounded_and_those_that_say_nothing_end(root, monkeypatch):
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 20)
    monkeypatch.setattr(server, "_HANDSHAKE_MS", 1500)
    with serving(root) as ports, contextlib.ExitStack() as held:
        host, _, port = ports.grpc.rpartition(":")
        address = (host, int(port))
        silent = [held.enter_context(socket.create_connection(address)) for _ in range(40)]
        assert sum(is_closed(each, 0.02) for each in silent) == 20
        # This one waits until there is room.
        with grpc.insecure_channel(ports.grpc) as channel:
            list_stores(channel)
        assert all(is_closed(each, 5) for each in silent)


def test_connections_without_calls_end(root, monkeypatch):
    monkeypatch.setattr(server, "_IDLE_MS", 300)
    with serving(root) as ports, Connection(ports.grpc) as idle:
        idle.greet()
        assert GOAWAY in [frame.kind for frame in idle.frames()]


def test_who_pings_without_end_is_hung_up_on(root):
    with serving(root) as ports, Connection(ports.grpc) as busy:
        busy.greet()
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                busy.send(PING, 0, bytes(8))
        assert is_closed(busy.socket, 5)


def test_a_caller_who_begins_calls_and_sends_no_message_holds_up_no_other(
    root, tokens, monkeypatch
):
    monkeypatch.setattr(bounds, "MESSAGE_SECONDS", 3.0)
    path, first, second = tokens
    end = threading.Event()

    def silence():
        end.wait(30)
        yield b""

    with serving(root, auth=path) as ports, contextlib.ExitStack() as held:
        held.callback(end.set)
        channels = [
            held.enter_context(
                grpc.insecure_channel(ports.grpc, options=[("grpc.use_local_subchannel_pool", 1)])
            )
            for _ in range(3)
        ]
        waiting = [
            channels[number % 2].stream_unary(LIST).future(silence(), metadata=first)
            for number in range(bounds.CALLS_OF_A_CALLER + 20)
        ]
        wait_until(lambda: sum(call.done() for call in waiting) == 20, 10)
        refused = [call.exception() for call in waiting if call.done()]
        assert {error.code() for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert "you have 100 open calls: wait" in refused[0].details()
        list_stores(channels[2], second)
        wait_until(lambda: all(call.done() for call in waiting), 15)
        assert {call.code() for call in waiting} == {
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.CANCELLED,
        }
        list_stores(channels[2], first)


@pytest.mark.parametrize("path", [CHECK, LIST])
def test_answers_that_are_not_read_are_taken_back(root, monkeypatch, path):
    monkeypatch.setattr(health, "_SECONDS", 1.0)
    monkeypatch.setattr(bounds, "READING_SECONDS", 1.0)
    request = pb.ListDicomStoresRequest(parent=DATASET)
    message = b"" if path == CHECK else request.SerializeToString()
    with serving(root) as ports, Connection(ports.grpc) as greedy:
        greedy.greet(window=0)
        for number in range(10):
            greedy.call(1 + 2 * number, path, message)
        taken_back = set()
        for frame in greedy.frames():
            if frame.kind == RST_STREAM:
                taken_back.add(frame.stream)
            if len(taken_back) == 10:
                break
        assert taken_back == {1 + 2 * number for number in range(10)}


def test_who_leaves_answers_of_health_unread_is_refused_more(root, monkeypatch):
    with serving(root) as ports, Connection(ports.grpc) as greedy:
        monkeypatch.setattr(health, "_SECONDS", 30.0)
        greedy.greet(window=0)
        for number in range(20):
            greedy.call(1 + 2 * number, CHECK, b"")
        heads = []
        for frame in greedy.frames():
            if frame.kind == HEADERS:
                # An error has no body: its head is its end.
                heads.append(frame.flags & END_STREAM)
            if len(heads) == 20:
                break
        assert heads.count(0) == health._CALLS_OF_AN_ADDRESS


class OpenCall:
    """The context of a call that has not ended."""

    def add_callback(self, callback):
        self.end = callback
        return True


def test_a_caller_has_a_part_of_the_work_alone():
    calls = Calls()
    with contextlib.ExitStack() as working:
        for _ in range(bounds._AT_WORK_OF_A_CALLER):
            working.enter_context(calls.at_work("many"))
        begun = threading.Event()

        def one_more():
            with calls.at_work("many"):
                begun.set()

        thread = threading.Thread(target=one_more, daemon=True)
        thread.start()
        with calls.at_work("few"):
            assert not begun.wait(0.1)
    assert begun.wait(5)
    thread.join(5)


def test_calls_count_until_they_have_ended():
    calls, contexts = Calls(), [OpenCall() for _ in range(3)]
    calls.admit("a", contexts[0], limit=2)
    calls.admit("a", contexts[1], limit=2)
    calls.admit("b", OpenCall(), limit=2)
    with pytest.raises(ApiError, match="you have 2 open calls"):
        calls.admit("a", contexts[2], limit=2)
    contexts[0].end()
    calls.admit("a", contexts[2], limit=2)
