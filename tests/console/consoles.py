"""Consoles and the browsers that look at them."""

import http.client
import threading
import time
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlencode

import uvicorn
from starlette.applications import Starlette

from dicomferry.api.dispatch import Dispatcher
from dicomferry.api.metrics import Metrics
from dicomferry.api.rpcs import Handlers, all_rpcs
from dicomferry.console.routes import console_routes
from dicomferry.operations.folder import start_operation
from dicomferry.operations.outcomes import ProgressCounts
from dicomferry.places import Bounds, PlaceRules
from tests.pipelines.jobs import STORE, images, new_store, run_import, write_files

DATASET = "projects/local/locations/local/datasets/default"
TRIAL = f"/console/{DATASET}/dicomStores/trial"
SCRIPT = "<script>alert(1)</script>".replace("/", "\u2215") + "\"&'"


class Answer(NamedTuple):
    """What the console said."""

    status: int
    headers: dict
    text: str


class Browser:
    """Asks one server, and keeps a cookie if it is told to."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self.headers = {}
        self.answered = []

    def get(self, path, **headers):
        return self.ask("GET", path, None, headers)

    def post(self, path, headers=None, **fields):
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", path, urlencode(fields), kind | (headers or {}))

    def ask(self, method, path, body, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request(method, path, body, {**self.headers, **headers})
        response = connection.getresponse()
        content = response.read().decode("utf-8", "surrogateescape")
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, content)

    def page(self, path):
        """The text of a page that must be there."""
        answer = self.get(path)
        assert answer.status == 200, answer
        return answer.text


@contextmanager
def serving(root, authenticator, *others, allowed=()):
    """A console, whose requests may name some places."""
    rpcs = all_rpcs(Handlers(root, PlaceRules(Bounds.of_server(allowed), root=root)))
    call = Dispatcher(authenticator, Metrics()).calling(rpcs)
    app = Starlette(routes=[*console_routes(root, authenticator.authenticate, call), *others])
    answered = []

    async def noting(scope, receive, send):
        await app(scope, receive, send)
        answered.append((scope["path"], scope["query_string"].decode()))

    config = uvicorn.Config(noting, port=0, log_config=None, access_log=False, lifespan="off")
    listener = config.bind_socket()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        browser = Browser(listener.getsockname()[1])
        browser.answered = answered
        yield browser
    finally:
        server.should_exit = True
        thread.join()


def run_trial(root, folder):
    """Import three images into a new store, with two files that fail."""
    new_store(root)
    files = images(3, PatientName="SECRET^NAME")
    files |= {f"{SCRIPT}.dcm": b"no image", b"not-\xff-text.dcm": b"no image"}
    return run_import(root, write_files(folder, files))


def running(root, store=STORE, total=200, **counts):
    """An operation of this process that is under way."""
    folder = start_operation(root, store, "ImportDicomData")
    record = folder.read()
    record.total = total
    folder.write(record)
    folder.report_progress("00000-w", ProgressCounts(**counts))
    return folder


def all_pages(folder):
    """Paths of all pages, for what holds for each; the operation is that of a folder."""
    study = f"{TRIAL}/studies/1.2.1"
    series = f"{study}/series/1.2.1.1"
    walk = [f"{TRIAL}/studies", study, series, f"{series}/instances/1.2.1.1.1"]
    forms = [f"{TRIAL}/import", f"{TRIAL}/export"]
    return ["/", TRIAL, f"{TRIAL}/preview", *walk, *forms, page_of(folder)]


def page_of(folder):
    return f"/console/{folder.name}"
