"""Files that are sent while they are made, without a server: they end, and leave nothing."""

import asyncio
import inspect
import logging
import threading
from contextlib import ExitStack
from itertools import repeat
from types import SimpleNamespace

import pytest

from dicomferry.console import streams
from dicomferry.console.streams import File, Stream

FILE = File("a.zip", "application/zip")
# Without the limits some would go on for ever.
pytestmark = pytest.mark.timeout(30)
# Starlette sends in two ways; servers of version 2.4 tell of a lost connection by an exception.
VERSIONS = pytest.mark.parametrize("version", ["2.3", "2.4"])


def chunks_then(function):
    yield b"a"
    yield function()


def sent(chunks, version="2.3", method="GET", seconds=None, send=None):
    """Messages of a stream, and the states of the generator when what it holds was released."""
    messages, states, held = [], [], ExitStack()
    held.callback(lambda: states.append(inspect.getgeneratorstate(chunks)))

    async def note(message):
        messages.append(message)
        if send:
            await send(message)

    async def run():
        scope = {"type": "http", "method": method, "asgi": {"spec_version": version}}
        await Stream(chunks, FILE, held, seconds)(scope, asyncio.Event().wait, note)

    asyncio.run(run())
    return messages, states


def is_whole(messages):
    return not messages[-1].get("more_body", True)


def release(stream):
    """End a stream of which nothing is wanted."""

    async def receive():
        return {"type": "http.disconnect"}

    async def send(_):
        pass

    asyncio.run(stream({"type": "http", "method": "HEAD"}, receive, send))


@VERSIONS
def test_one_ends_and_what_it_holds_is_released(version):
    messages, states = sent(chunks_then(lambda: b"b"), version)
    assert [message.get("body") for message in messages] == [None, b"a", b"b", b""]
    assert is_whole(messages)
    assert states == [inspect.GEN_CLOSED]


@VERSIONS
def test_a_limit_that_is_reached_while_a_chunk_is_made_waits_for_the_chunk(version):
    over = threading.Event()
    threading.Timer(0.2, over.set).start()
    messages, states = sent(chunks_then(lambda: over.wait(60) and b"b"), version, seconds=0.05)
    assert over.is_set()
    assert states == [inspect.GEN_CLOSED]
    assert not is_whole(messages)


@VERSIONS
@pytest.mark.parametrize("kind", [OSError, TimeoutError, LookupError, ValueError])
def test_one_that_fails_breaks_off_and_no_text_is_logged(version, kind, caplog):
    text = "/srv/SECRET"

    def fail():
        raise kind(text)

    with caplog.at_level(logging.DEBUG):
        messages, states = sent(chunks_then(fail), version)
    assert not is_whole(messages)
    assert states == [inspect.GEN_CLOSED]
    assert f"broke with {kind.__name__}" in caplog.text
    assert "SECRET" not in caplog.text


@VERSIONS
def test_a_reader_that_stops_is_left(version, monkeypatch):
    monkeypatch.setattr(streams, "MAX_BEHIND_SECONDS", 0.05)

    async def hang(message):
        if message.get("body"):
            await asyncio.Event().wait()

    messages, states = sent(chunks_then(lambda: b"b"), version, send=hang)
    assert len(messages) == 2
    assert states == [inspect.GEN_CLOSED]


@pytest.mark.parametrize(("size", "is_left"), [(1, True), (900_000, True), (1_100_000, False)])
def test_a_reader_that_is_too_slow_is_left_however_fast_it_began(monkeypatch, size, is_left):
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(streams, "time", clock)

    async def ten_seconds(message):
        clock.now += 10 if len(message.get("body", b"")) == size else 0

    chunks = (bytes(n) for n in (10_000_000, *repeat(size, 100)))
    messages, _ = sent(chunks, send=ten_seconds)
    assert is_whole(messages) != is_left


def test_nothing_is_made_for_head():
    def chunks():
        pytest.fail("made")
        yield

    messages, _ = sent(chunks(), method="HEAD")
    assert [message.get("body") for message in messages] == [None, b""]
