"""What Google's clients do with HTTP, and what strangers do with connections."""

import contextlib
import gzip
import http.client
import json
import logging
import socket
import time
import urllib.request

import pytest

from dicomferry.api.log_rate import LogRate
from dicomferry.api.rest import connections
from dicomferry.api.rest.request_body import MAX_BODY_BYTES
from dicomferry.server import Service, Settings, http_config
from tests.api.serving import DATASET, TRIAL, serving

STORES = f"/v1/{DATASET}/dicomStores".encode()
LABELS = {"labels": {"site": "north"}}
# What takes half a second at most ends in this time on a busy machine too.
SECONDS = 6


class TestBodies:
    @pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", "identity"])
    def test_a_body_can_be_packed(self, client, encoding):
        body = json.dumps(LABELS).encode()
        if "gzip" in encoding.lower():
            body = gzip.compress(body)
        headers = {"content-encoding": encoding}
        answer = client.raw("POST", STORES, b"dicomStoreId=trial", body, headers)
        assert answer.content["labels"] == LABELS["labels"]

    @pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
    def test_another_encoding_is_unsupported(self, client, encoding):
        headers = {"content-encoding": encoding}
        answer = client.raw("POST", STORES, b"dicomStoreId=trial", b"{}", headers)
        assert (answer.status, answer.content["error"]["status"]) == (415, "INVALID_ARGUMENT")

    @pytest.mark.parametrize(
        "body",
        [
            gzip.compress(b" " * (MAX_BODY_BYTES + 1)),
            gzip.compress(json.dumps(LABELS).encode())[:-1],
            gzip.compress(b"{}") + b"more",
            b"{}",
        ],
        ids=["bomb", "part", "more", "none"],
    )
    def test_a_bomb_a_part_and_no_gzip_are_refused(self, client, body):
        headers = {"content-encoding": "gzip"}
        client.raw("POST", STORES, b"dicomStoreId=a", body, headers).refused(
            400, "INVALID_ARGUMENT"
        )


class TestMethods:
    def test_patch_comes_as_post(self, trial):
        body = json.dumps(LABELS).encode()
        headers = {"x-http-method-override": "PATCH"}
        path = f"/v1/{TRIAL}".encode()
        answer = trial.raw("POST", path, b"updateMask=labels", body, headers)
        assert answer.content["labels"] == LABELS["labels"]

    def test_a_long_query_comes_as_the_body_of_a_post(self, trial):
        never = " OR ".join(f"labels.site=x{number}" for number in range(300))
        for text, expected in ((f"NOT labels.site=x OR {never}", 1), (never, 0)):
            body = urllib.parse.urlencode({"filter": text, "pageSize": 5}).encode()
            headers = {
                "x-http-method-override": "GET",
                "content-type": "application/x-www-form-urlencoded",
            }
            answer = trial.raw("POST", STORES, b"alt=json", body, headers)
            assert answer.status == 200, answer.body
            assert len(answer.content.get("dicomStores", [])) == expected

    def test_a_method_that_is_none_is_refused(self, trial):
        headers = {"x-http-method-override": "BREW"}
        trial.raw("POST", STORES, headers=headers).refused(400, "INVALID_ARGUMENT")

    def test_a_delete_may_have_an_empty_body(self, trial):
        headers = {"content-length": "0", "content-type": "application/json"}
        assert trial.raw("DELETE", f"/v1/{TRIAL}".encode(), headers=headers).status == 200


class TestSizes:
    def test_a_mask_and_a_map_have_few_entries(self, trial):
        labels = {f"k{number}": "v" for number in range(300)}
        mask = ",".join(f"labels.{key}" for key in labels)
        for body, paths in (({}, mask), ({"labels": labels}, "labels")):
            answer = trial.call("PATCH", TRIAL, body, updateMask=paths)
            assert "300 entries" in answer.refused(400, "INVALID_ARGUMENT")

    def test_a_text_has_a_bound(self, trial):
        configs = [{"pubsubTopic": "projects/p/topics/" + "t" * 70_000}]
        answer = trial.call(
            "PATCH", TRIAL, {"notificationConfigs": configs}, updateMask="notificationConfigs"
        )
        assert "characters" in answer.refused(400, "INVALID_ARGUMENT")


class TestConnections:
    @pytest.fixture(autouse=True)
    def _few_and_short(self, monkeypatch):
        monkeypatch.setattr(connections, "MAX_CONNECTIONS", 30)
        monkeypatch.setattr(
            connections, "LIMIT_SECONDS", {"request": 0.5, "body": 0.5, "reading": 0.5}
        )

    def test_half_sent_requests_end_and_others_are_served(self, root):
        with serving(root) as ports, _sockets(ports, 60) as strangers:
            for stranger in strangers:
                with contextlib.suppress(OSError):
                    stranger.sendall(b"GET /v1/x HTTP/1.1\r\nHost: loc")
            deadline = time.monotonic() + SECONDS
            while not _is_healthy(ports):
                assert time.monotonic() < deadline
            assert all(_is_closed(stranger) for stranger in strangers)

    def test_a_body_that_does_not_come_ends_its_connection(self, root):
        with serving(root) as ports, _sockets(ports, 1) as [stranger]:
            stranger.sendall(
                b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{" % STORES
            )
            assert _is_closed(stranger)
            assert _is_healthy(ports)

    def test_a_request_in_pieces_that_ends_in_time_is_answered(self, root):
        with serving(root) as ports, _sockets(ports, 1) as [client]:
            for _ in range(2):
                for piece in (b"GET /healthz HTTP/1.1\r\n", b"Host: localhost\r\n", b"\r\n"):
                    client.sendall(piece)
                    time.sleep(0.1)
                assert client.recv(1000).startswith(b"HTTP/1.1 200")

    def test_the_longest_idle_connection_ends_when_there_is_no_room(self, root, monkeypatch):
        monkeypatch.setitem(connections.LIMIT_SECONDS, "body", 30)
        head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n" % STORES
        with serving(root) as ports, _sockets(ports, 1) as [busy]:
            busy.sendall(head + b"{")
            host = ports.rest.removeprefix("http://")
            with contextlib.ExitStack() as stack:
                first, *others = idle = [http.client.HTTPConnection(host) for _ in range(29)]
                for client in idle:
                    stack.callback(client.close)
                    assert _is_answered(client)
                assert _is_healthy(ports)
                assert first.sock.recv(1) == b""
                assert all(_is_answered(client) for client in others)
            busy.sendall(b"}")
            assert busy.recv(1000).startswith(b"HTTP/1.1 400")

    def test_idle_connections_outlast_those_of_load_balancers(self, root):
        # Google Cloud's keep connections for 600 seconds, nginx for 60: the one that closes first
        # must not be the server, or a request that is under way is lost.
        assert http_config(Service(Settings(root)).app).timeout_keep_alive > 600

    def test_an_upgrade_is_refused_and_nothing_breaks(self, root, caplog):
        with serving(root) as ports:
            for path in ("/", "/v1/x", "/console/login"):
                headers = {
                    "Connection": "Upgrade",
                    "Upgrade": "websocket",
                    "Sec-WebSocket-Key": "eDEyMzQ1Njc4OTAxMjM0NQ==",
                    "Sec-WebSocket-Version": "13",
                }
                with _sockets(ports, 1) as [client]:
                    lines = [f"GET {path} HTTP/1.1", "Host: localhost"]
                    lines += [f"{name}: {value}" for name, value in headers.items()]
                    client.sendall("\r\n".join([*lines, "", ""]).encode())
                    assert client.recv(1000).startswith(b"HTTP/1.1 400")
        assert not [record for record in caplog.records if record.exc_info]


def test_the_rate_of_log_lines_is_bounded_and_says_what_it_left_out():
    rate = LogRate(lines=3, seconds=0.2)

    def passes(message, *args):
        record = logging.LogRecord("x", logging.INFO, "", 0, message, args, None)
        return record.getMessage() if rate.filter(record) else None

    passed = [passes("refused %d", number) for number in range(10)]
    assert passed[:3] == ["refused 0", "refused 1", "refused 2"]
    assert passed[3:] == [None] * 7
    assert passes("another") == "another"
    time.sleep(0.25)
    assert passes("refused %d", 10) == "refused 10 (and 7 more before it)"


@contextlib.contextmanager
def _sockets(ports, number):
    address = ("127.0.0.1", int(ports.rest.rpartition(":")[2]))
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(address, timeout=SECONDS))
            for _ in range(number)
        ]


def _is_answered(client):
    client.request("GET", "/healthz")
    return client.getresponse().read() == b"ok\n"


def _is_closed(stranger):
    try:
        while stranger.recv(1000):
            pass
    except ConnectionError:
        pass
    return True


def _is_healthy(ports):
    try:
        with urllib.request.urlopen(f"{ports.rest}/healthz", timeout=5) as answer:
            return answer.read() == b"ok\n"
    except OSError:
        return False
