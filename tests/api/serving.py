"""Services as clients meet them."""

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import unquote, urlencode

import uvicorn

from dicomferry.server import Service, Settings, http_config

DATASET = "projects/p/locations/l/datasets/d"
TRIAL = f"{DATASET}/dicomStores/trial"


class Ports(NamedTuple):
    """Where a running service answers."""

    rest: str
    grpc: str


class Answer(NamedTuple):
    """What a service said over HTTP."""

    status: int
    headers: dict
    body: bytes

    @property
    def content(self):
        """The body, which is JSON."""
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)

    def refused(self, http_code, status):
        """The message of an error in Google's form, whose codes must be these."""
        error = self.content["error"]
        assert (self.status, error["code"], error["status"]) == (http_code, http_code, status)
        assert set(error) == {"code", "message", "status", "details"}
        [info] = error["details"]
        assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
        assert info["domain"] == "dicomferry"
        assert re.fullmatch("[A-Z][A-Z_]+[A-Z]", info["reason"])
        return error["message"]


class Client:
    """Calls a service's ASGI application; what breaks in it breaks the test."""

    def __init__(self, app):
        self.app = app

    def call(self, method, path, body=None, headers=(), **parameters):
        """Send JSON to a path below /v1/, given as it goes over the wire."""
        content = b"" if body is None else json.dumps(body).encode()
        query = urlencode(parameters).encode()
        return self.raw(method, f"/v1/{path}".encode(), query, content, dict(headers))

    def ok(self, method, path, body=None, **parameters):
        """The content of an answer that must be right."""
        answer = self.call(method, path, body, **parameters)
        assert answer.status == 200, answer.body
        return answer.content

    def raw(self, method, path, query=b"", body=b"", headers=None):
        """Send anything."""
        headers = {"host": "localhost", **(headers or {})}
        if body:
            headers.setdefault("content-length", str(len(body)))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path.decode("latin-1")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [(k.encode().lower(), v.encode()) for k, v in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        sent = []

        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message):
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        start, *rest = sent
        return Answer(
            start["status"],
            {k.decode(): v.decode() for k, v in start["headers"]},
            b"".join(message.get("body", b"") for message in rest),
        )


def client_of(root, **settings):
    """A client of a new service."""
    return Client(Service(Settings(root, **settings)).app)


@contextmanager
def serving(root, **settings) -> Iterator[Ports]:
    """Run a service in threads of this process."""
    service = Service(Settings(root, **settings))
    grpc_port = service.grpc_server.add_insecure_port("127.0.0.1:0")
    config = http_config(service.app, port=0)
    listener = config.bind_socket()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    service.grpc_server.start()
    thread.start()
    wait_until(lambda: server.started)
    try:
        yield Ports(f"http://127.0.0.1:{listener.getsockname()[1]}", f"127.0.0.1:{grpc_port}")
    finally:
        service.stop()
        server.should_exit = True
        thread.join()
        service.grpc_server.stop(5).wait()
        listener.close()


@contextmanager
def served_by_process(
    root, *flags, code="from dicomferry.cli.main import main; main()"
) -> Iterator[tuple[subprocess.Popen, Ports]]:
    """Run `dicomferry serve`, by other code if need be; killed at the end if it still runs."""
    command = [sys.executable, "-c", code, "serve"]
    process = subprocess.Popen(
        [*command, f"--root={root.root}", "--port=0", "--grpc-port=0", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        rest, grpc_target, _ = (process.stdout.readline().split()[1] for _ in range(3))
        yield process, Ports(rest.removesuffix("/v1/"), grpc_target)
    finally:
        process.kill()
        process.communicate()


def wait_until(condition, seconds=90):
    """Return what a condition gives once it is true."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return result


def ids(page):
    """The ids of the stores on a page of their list."""
    return [store["name"].rpartition("/")[2] for store in page.get("dicomStores", [])]
