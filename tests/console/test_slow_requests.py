"""Requests that take long hold up their own kind alone."""

import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus

import pytest

from dicomferry.api.own_threads import OwnThreads
from dicomferry.console import routes, thumbnails
from dicomferry.console.pages import Pages
from dicomferry.storage.registry import open_storage
from tests.api.serving import DATASET, serving, wait_until

# A request that waits for nobody ends in this time on a busy machine too.
SECONDS = 6
pytestmark = pytest.mark.timeout(60)
PICTURE = f"/console/{DATASET}/dicomStores/trial/pictures/1/2/3/ab"


def status(url, timeout=30):
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_hostile_pictures_hold_up_no_page_no_login_and_no_call(root, monkeypatch):
    over = threading.Event()
    waiting = []

    def hang(*_):
        waiting.append(1)
        over.wait(60)
        raise LookupError

    monkeypatch.setattr(Pages, "picture", hang)
    with serving(root) as ports, ThreadPoolExecutor(60) as browsers:
        pictures = [browsers.submit(status, ports.rest + PICTURE, 90) for _ in range(60)]
        try:
            wait_until(lambda: len(waiting) >= routes._PICTURES_AT_ONCE, SECONDS)
            assert status(f"{ports.rest}/", SECONDS) == HTTPStatus.OK
            assert status(f"{ports.rest}/v1/{DATASET}/dicomStores", SECONDS) == HTTPStatus.OK
            answer = status(f"{ports.rest}/console/logout", SECONDS)
            assert answer == HTTPStatus.NOT_FOUND  # a form, no page
            assert len(waiting) == routes._PICTURES_AT_ONCE
        finally:
            over.set()
        assert {picture.result() for picture in pictures} == {HTTPStatus.NOT_FOUND}


def test_who_waits_too_long_is_told(root, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(Pages, "picture", lambda *_: over.wait(60))
    monkeypatch.setattr(routes, "OwnThreads", lambda threads: OwnThreads(threads, wait_seconds=0.2))
    with serving(root) as ports, ThreadPoolExecutor(10) as browsers:
        pictures = [browsers.submit(status, ports.rest + PICTURE) for _ in range(10)]
        try:
            wait_until(
                lambda: sum(map(Future.done, pictures)) >= 10 - routes._PICTURES_AT_ONCE, SECONDS
            )
        finally:
            over.set()
        codes = [picture.result() for picture in pictures]
    assert codes.count(HTTPStatus.SERVICE_UNAVAILABLE) == 10 - routes._PICTURES_AT_ONCE


def test_a_picture_that_many_wait_for_is_drawn_once(tmp_path, monkeypatch):
    pictures = thumbnails.Pictures()
    drawn = []

    class Pool:
        def map(self, *_):
            drawn.append(1)
            time.sleep(0.1)
            return [[thumbnails.on_worker_lost(("", 0))]]

        def warm(self, _):
            pass

    monkeypatch.setattr(pictures, "_pool", Pool())
    storage = open_storage(str(tmp_path))
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: pictures.get(storage, "a", 1), range(8)))
    assert len(drawn) == 1
    assert len(set(map(id, found))) == 1


@pytest.fixture(autouse=True)
def _no_keep_alive_waits(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
