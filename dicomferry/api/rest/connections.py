"""Connections of HTTP: how many, and how long a request may take to arrive.

A stranger can open connections and send nothing, or send a request byte by byte. Each connection
has a descriptor and memory, so their number is bounded, in all and by address, and each step of a
request has a time limit.
"""

import asyncio
import logging
import resource
from collections import Counter
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from dicomferry.api.rest.localhost_guard import is_loopback

MAX_CONNECTIONS = 1000
# A proxy on this machine brings everybody: loopback addresses may have all.
MAX_CONNECTIONS_OF_AN_ADDRESS = 200
# By what the client has to do next.
LIMIT_SECONDS = {"request": 10.0, "body": 60.0, "reading": 60.0}
_DESCRIPTORS = 1 << 16
_LOGGER = logging.getLogger(__name__)


def raise_descriptor_limit() -> None:
    """Allow this process as many open files as the system lets it have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with bounds; idle connections end by uvicorn's keep-alive timeout."""

    _open: ClassVar[Counter[str]] = Counter()
    _address: str | None = None
    _step = ""
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit a connection, or close it at once."""
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        limit = MAX_CONNECTIONS if is_loopback(address) else MAX_CONNECTIONS_OF_AN_ADDRESS
        if self._open[address] >= limit or self._open.total() >= MAX_CONNECTIONS:
            _LOGGER.warning("too many connections: one more was closed")
            transport.abort()
            return
        self._address = address
        self._open[address] += 1
        self._expect("request")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        if self._address is not None:
            self._open[self._address] -= 1
            if not self._open[self._address]:
                del self._open[self._address]
            self._address = None
        self._expect("")
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, and see what has to come next."""
        super().data_received(data)
        self._expect_next()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        # Until its first byte comes, the keep-alive timeout holds.
        self._expect("")

    def pause_writing(self) -> None:
        """Wait for the client to read what was written."""
        super().pause_writing()
        self._expect("reading")

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        self._expect_next()

    def _expect_next(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._expect("request")
        else:
            self._expect("body" if self.cycle.more_body else "")

    def _expect(self, step: str) -> None:
        """Begin a step of the client; one that goes on keeps its deadline."""
        if step == self._step:
            return
        self._step = step
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if step:
            self._timer = self.loop.call_later(LIMIT_SECONDS[step], self.transport.abort)
