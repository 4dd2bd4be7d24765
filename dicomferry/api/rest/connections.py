"""Connections of HTTP: how many, and how long a request may take to arrive.

A stranger can open connections and send nothing, or send a request byte by byte. Each connection
has a descriptor and memory, so their number is bounded, in all and by address, and each step of a
request has a time limit. Between requests a connection may be idle for long, since a client that
sends its next one while the server closes gets a reset and no answer; idle ones end when there is
no room for a new one.
"""

import asyncio
import logging
import resource
import socket
from collections import Counter
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from dicomferry.api.rest.localhost_guard import is_loopback

MAX_CONNECTIONS = 1000
# A proxy on this machine brings everybody: loopback addresses may have all.
MAX_CONNECTIONS_OF_AN_ADDRESS = 200
# Accepted, but not known to be HTTP yet: during TLS handshakes.
MAX_GREETING = 500
MAX_GREETING_OF_AN_ADDRESS = 100
# Longer than load balancers keep connections to a server: Google Cloud's for 600 seconds.
IDLE_SECONDS = 620
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


class BoundedListener(socket.socket):
    """Listens for TLS, and bounds the connections whose handshake goes on.

    Until it ends a connection has no protocol; `tls.bound_handshakes` limits its time.
    """

    _greeting: ClassVar[dict[Any, None]] = {}

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        Raises:
            ConnectionAbortedError: there are too many, and it was closed; asyncio goes on.
        """
        connection, address = super().accept()
        limit = MAX_GREETING if is_loopback(address[0]) else MAX_GREETING_OF_AN_ADDRESS
        of_address = sum(each[0] == address[0] for each in self._greeting)
        if len(self._greeting) >= MAX_GREETING or of_address >= limit:
            connection.close()
            _LOGGER.warning("too many connections: one more was closed")
            raise ConnectionAbortedError
        self._greeting[address] = None
        return _Greeting(connection, address), address

    @classmethod
    def greeted(cls, address: Any) -> None:
        """Count a connection no longer."""
        cls._greeting.pop(address, None)


class _Greeting(socket.socket):
    """A connection that is counted until it has greeted, or is closed."""

    def __init__(self, connection: socket.socket, address: Any) -> None:
        family, kind, protocol = connection.family, connection.type, connection.proto
        super().__init__(family, kind, protocol, connection.detach())
        self._address = address

    def close(self) -> None:
        """Close it."""
        BoundedListener.greeted(self._address)
        super().close()


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with bounds; idle connections end by uvicorn's keep-alive timeout, which
    `server.http_config` sets.
    """

    _open: ClassVar[Counter[str]] = Counter()
    # The longest idle one first.
    _idle: ClassVar[dict["BoundedProtocol", None]] = {}
    _address: str | None = None
    _step = ""
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit a connection, or close it at once."""
        super().connection_made(transport)
        BoundedListener.greeted(transport.get_extra_info("peername"))
        address = self.client[0] if self.client else ""
        if not self._make_room(address):
            _LOGGER.warning("too many connections: one more was closed")
            transport.abort()
            return
        self._address = address
        self._open[address] += 1
        self._expect("request")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._forget()
        self._expect("")
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, and see what has to come next."""
        self._idle.pop(self, None)
        super().data_received(data)
        self._expect_next()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if self.cycle.response_complete:
            # Until its first byte comes, the keep-alive timeout holds.
            self._expect("")
            self._idle[self] = None
        else:  # it had come already
            self._expect_next()

    def pause_writing(self) -> None:
        """Wait for the client to read what was written."""
        super().pause_writing()
        self._expect("reading")

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        self._expect_next()

    @classmethod
    def _make_room(cls, address: str) -> bool:
        """Return whether an address can have one more; the longest idle one ends for it."""
        limit = MAX_CONNECTIONS if is_loopback(address) else MAX_CONNECTIONS_OF_AN_ADDRESS
        if cls._open[address] >= limit:
            idle = next((each for each in cls._idle if each._address == address), None)
        elif cls._open.total() >= MAX_CONNECTIONS:
            idle = next(iter(cls._idle), None)
        else:
            return True
        if idle is None:
            return False
        idle._forget()
        # With TLS a plain end would wait for a peer that may never answer.
        is_tls = idle.transport.get_extra_info("sslcontext") is not None
        (idle.transport.abort if is_tls else idle.transport.close)()
        return True

    def _forget(self) -> None:
        self._idle.pop(self, None)
        if self._address is None:
            return
        self._open[self._address] -= 1
        if not self._open[self._address]:
            del self._open[self._address]
        self._address = None

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
