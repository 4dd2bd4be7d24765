"""A proxy in front of the storage emulator that fails as networks and services do, by a seed.

No request fails more than `most_in_a_row` times in a row: what comes through in the end is then a
matter of retries, not of luck. 412 is answered only to requests with a precondition, and only by
`lost` of a service that did what it was asked: no real one answers it otherwise.
"""

import asyncio
import contextlib
import json
import logging
import random
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

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
REFUSED = "403"  # for good: the account may not
UNMET = "412"  # a precondition that holds is said not to
# What a client may see and has to get over.
TRANSIENT = (*STATUSES, RESET, LOST, SLOW, TRUNCATED, UNMET)

# Every cut connection would be told with its traceback.
_SILENT = logging.getLogger(f"{__name__}.cut")
_SILENT.disabled = True

_CONTROL = "/_faults"
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}
_CONDITIONS = ("x-goog-if-generation-match", "if-match", "if-none-match")
_CONDITIONS_IN_QUERY = ("ifGenerationMatch", "ifSourceGenerationMatch")


@dataclass
class Faults:
    """What befalls requests.

    Attributes:
        seed: of the dice.
        chances: fault to its probability.
        only: faults befall requests whose path holds this text.
        down: nothing answers; every connection is cut.
        most_in_a_row: how often one request fails before it comes through.
    """

    seed: int = 0
    chances: dict[str, float] = field(default_factory=dict)
    only: str = ""
    down: bool = False
    most_in_a_row: int = 3

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.injected: Counter[str] = Counter()
        self._in_a_row: Counter[tuple[str, str]] = Counter()

    def fault(self, method: str, path: str) -> str:
        """Throw the dice for a request; '' lets it through."""
        key = (method, path)
        if self.only in path and self._in_a_row[key] < self.most_in_a_row:
            drawn = self.dice.random()
            for name, chance in self.chances.items():
                drawn -= chance
                if drawn < 0:
                    self._in_a_row[key] += 1
                    return name
        self._in_a_row[key] = 0
        return ""


class FaultyStorage:
    """A running proxy, as tests steer it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def reset(self, **settings: object) -> None:
        """Start anew with fields of `Faults`; no faults but those named."""
        request = urllib.request.Request(
            self.url + _CONTROL, json.dumps(settings).encode(), method="POST"
        )
        with urllib.request.urlopen(request):
            pass

    @property
    def injected(self) -> Counter[str]:
        """How often each fault happened since."""
        with urllib.request.urlopen(self.url + _CONTROL) as answer:
            return Counter(json.load(answer))


@contextlib.contextmanager
def faulty_storage(upstream: str) -> Iterator[FaultyStorage]:
    """Run a proxy in front of `upstream` for the length of a block.

    In a process of its own: clients that keep the interpreter's lock while they wait for an
    answer would wait for ever.
    """
    command = [sys.executable, "-m", __spec__.name, upstream]
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        assert process.stdout is not None
        try:
            yield FaultyStorage(process.stdout.readline().strip())
        finally:
            process.terminate()


async def _serve(upstream: str) -> None:
    state = [Faults()]
    # What a client accepts decides whether the service unpacks: nothing to be added here.
    async with ClientSession(
        connector=TCPConnector(limit=0),
        auto_decompress=False,
        skip_auto_headers={"Accept-Encoding"},
    ) as session:

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            if request.raw_path == _CONTROL:
                if request.method == "POST":
                    state[0] = Faults(**json.loads(await request.content.read()))
                return web.json_response(state[0].injected)
            return await _answer(request, state[0], session, upstream)

        # No application: its routes would decode paths.
        runner = web.ServerRunner(web.Server(answer, logger=_SILENT))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        # Its standard input ends with the process that started it, however that dies.
        await asyncio.to_thread(sys.stdin.buffer.read)


async def _answer(
    request: web.BaseRequest, faults: Faults, session: ClientSession, upstream: str
) -> web.StreamResponse:
    if faults.down:
        raise _cut(request)
    fault = faults.fault(request.method, request.raw_path)
    if fault == UNMET and not _is_conditional(request):
        fault = ""
    body = await request.content.read()
    if fault in (RESET, *STATUSES, REFUSED, UNMET):
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


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
