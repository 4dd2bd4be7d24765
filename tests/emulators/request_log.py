"""A front of the storage emulator that notes every request; tests run it as a program.

    python -m tests.emulators.request_log UPSTREAM LOG

It prints its URL. A line of the log is a request's method, its path with query, and the bytes of
the body that it was answered with.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from aiohttp import ClientSession, TCPConnector, web
from yarl import URL

_HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "host", "content-length"}


class Noted(NamedTuple):
    """A request: method, decoded path and query, bytes of the answer's body."""

    method: str
    path: str
    answered: int


@contextlib.contextmanager
def request_log(upstream: str, log: Path) -> Iterator[str]:
    """Run a front of `upstream`; give its URL. Read the log by `noted`."""
    command = [sys.executable, "-m", __spec__.name, upstream, str(log)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def noted(log: Path) -> list[Noted]:
    """The requests so far, in the order of their answers."""
    lines = (line.split("\t") for line in log.read_text().splitlines())
    return [Noted(method, unquote(path), int(size)) for method, path, size in lines]


async def _serve(upstream: str, log: Path) -> None:
    # What a client accepts decides whether the service unpacks: nothing to be added here.
    async with ClientSession(
        connector=TCPConnector(limit=0),
        auto_decompress=False,
        skip_auto_headers={"Accept-Encoding"},
    ) as session:
        with log.open("a", buffering=1) as lines:

            async def answer(request: web.BaseRequest) -> web.StreamResponse:
                body = await request.content.read()
                async with session.request(
                    request.method,
                    URL(upstream + request.raw_path, encoded=True),
                    headers=[
                        (name, value)
                        for name, value in request.headers.items()
                        if name.lower() not in _HOP_BY_HOP
                    ],
                    data=body if request.body_exists else None,
                    allow_redirects=False,
                ) as found:
                    content = await found.read()
                    lines.write(f"{request.method}\t{request.raw_path}\t{len(content)}\n")
                    response = web.StreamResponse(status=found.status)
                    for name, value in found.headers.items():
                        if name.lower() not in _HOP_BY_HOP:
                            response.headers[name] = value
                    length = found.headers.get("Content-Length", str(len(content)))
                    response.headers["Content-Length"] = length
                    await response.prepare(request)
                    await response.write(content)
                    await response.write_eof()
                    return response

            # No application: its routes would decode paths.
            runner = web.ServerRunner(web.Server(answer))
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
            # Its standard input ends with the process that started it, however that dies.
            await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], Path(sys.argv[2])))
