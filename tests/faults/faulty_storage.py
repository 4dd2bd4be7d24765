"""A proxy in front of the storage emulator that fails as networks and services do, by a seed.

No request fails more than `most_in_a_row` times in a row: what comes through in the end is then a
matter of retries, not of luck. 412 is answered only to requests with a precondition, and only by
`lost` of a service that did what it was asked: no real one answers it otherwise.
"""

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from aiohttp import ClientSession, TCPConnector, web
from yarl import URL

# What can happen to a request.
STATUSES = ("429", "500", "503")
RESET = "reset"  # before the request got through
LOST = "lost"  # the request was done, its answer is lost
SLOW = "slow"  # the body comes in pieces, with pauses
TRUNCATED = "truncated"  # the connection ends in the midst of the body
SHORT = "short"  # the body is shorter than asked for, and says so
FLIPPED = "flipped"  # a bit of the body is wrong
UNMET = "412"  # a precondition that holds is said not to
# What a client may see and has to get over.
TRANSIENT = (*STATUSES, RESET, LOST, SLOW, TRUNCATED, UNMET)

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}
_CONDITIONS = ("x-goog-if-generation-match", "if-match", "if-none-match")
_CONDITIONS_IN_QUERY = ("ifGenerationMatch", "ifSourceGenerationMatch")


@dataclass
class FaultyStorage:
    """What to do to requests; tests change it while the proxy runs.

    Attributes:
        url: where clients have to go.
        chances: fault to its probability.
        only: faults befall requests whose path holds this text.
        down: nothing answers; the connection is cut.
        most_in_a_row: how often one request fails before it comes through.
        injected: how often each fault happened.
        requests: how many requests there were.
    """

    url: str = ""
    chances: dict[str, float] = field(default_factory=dict)
    only: str = ""
    down: bool = False
    most_in_a_row: int = 3
    injected: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    dice: random.Random = field(default_factory=random.Random)
    _in_a_row: Counter[tuple[str, str]] = field(default_factory=Counter)

    def fault(self, method: str, path: str) -> str:
        """Throw the dice for a request; '' lets it through."""
        key = (method, path)
        if self.only not in path or self._in_a_row[key] >= self.most_in_a_row:
            self._in_a_row[key] = 0
            return ""
        drawn = self.dice.random()
        for name, chance in self.chances.items():
            drawn -= chance
            if drawn < 0:
                self._in_a_row[key] += 1
                return name
        self._in_a_row[key] = 0
        return ""

    def reset(self, seed: int = 0, **settings: object) -> None:
        """Start anew: no faults but those named."""
        self.chances, self.only, self.down, self.most_in_a_row = {}, "", False, 3
        self.injected, self.requests, self._in_a_row = Counter(), 0, Counter()
        self.dice = random.Random(seed)
        for name, value in settings.items():
            setattr(self, name, value)


@contextlib.contextmanager
def faulty_storage(upstream: str) -> Iterator[FaultyStorage]:
    """Run a proxy in front of `upstream`, in a thread, for the length of a block."""
    faults = FaultyStorage()
    loop = asyncio.new_event_loop()
    started = threading.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        connector = TCPConnector(limit=0, loop=loop)
        async with ClientSession(
            connector=connector, auto_decompress=False, skip_auto_headers={"Accept-Encoding"}
        ) as session:

            async def answer(request: web.BaseRequest) -> web.StreamResponse:
                return await _answer(request, faults, session, upstream)

            # No application: its routes would decode paths.
            runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            faults.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            started.set()
            await stop.wait()
            await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert started.wait(20)
    try:
        yield faults
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)


async def _answer(
    request: web.BaseRequest, faults: FaultyStorage, session: ClientSession, upstream: str
) -> web.StreamResponse:
    faults.requests += 1
    if faults.down:
        raise _cut(request)
    fault = faults.fault(request.method, request.raw_path)
    if fault == UNMET and not _is_conditional(request):
        fault = ""
    body = await request.content.read()
    if fault in (RESET, *STATUSES, UNMET):
        faults.injected[fault] += 1
        if fault == RESET:
            raise _cut(request)
        return web.Response(status=int(fault), text="injected")
    async with session.request(
        request.method,
        URL(upstream + request.raw_path, encoded=True),
        headers=[(n, v) for n, v in request.headers.items() if n.lower() not in _HOP_BY_HOP],
        data=body if request.body_exists else None,
        allow_redirects=False,
    ) as answer:
        content = await answer.read()
        headers = [
            (n, v)
            for n, v in answer.headers.items()
            if n.lower() not in _HOP_BY_HOP | {"content-length"}
        ]
        if fault == LOST:
            faults.injected[fault] += 1
            raise _cut(request)
        is_body = request.method == "GET" and answer.status in (200, 206) and len(content) > 1
        if not is_body:
            fault = ""
        if fault:
            faults.injected[fault] += 1
        if fault == SHORT:
            content = content[: len(content) // 2]
        if fault == FLIPPED:
            position = faults.dice.randrange(len(content))
            wrong = bytes([content[position] ^ 1 << faults.dice.randrange(8)])
            content = content[:position] + wrong + content[position + 1 :]
        response = web.StreamResponse(status=answer.status, reason=answer.reason)
        response.headers.extend(headers)
        if request.method == "HEAD":
            response.headers["Content-Length"] = answer.headers.get("Content-Length", "0")
            await response.prepare(request)
            return response
        response.content_length = len(content)
        await response.prepare(request)
        if fault == TRUNCATED:
            await response.write(content[: len(content) // 2])
            raise _cut(request)
        async for piece in _pieces(content, slowly=fault == SLOW):
            await response.write(piece)
        await response.write_eof()
        return response


async def _pieces(content: bytes, *, slowly: bool) -> AsyncIterator[bytes]:
    step = max(1, -(-len(content) // 4)) if slowly else max(1, len(content))
    for start in range(0, len(content), step):
        if slowly:
            await asyncio.sleep(0.05)
        yield content[start : start + step]


def _is_conditional(request: web.BaseRequest) -> bool:
    return any(name in request.headers for name in _CONDITIONS) or any(
        name in request.query for name in _CONDITIONS_IN_QUERY
    )


def _cut(request: web.BaseRequest) -> Exception:
    """Cut the connection; the exception ends the handler."""
    if request.transport is not None:
        request.transport.abort()
    return ConnectionResetError("cut on purpose")
