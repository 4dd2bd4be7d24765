"""Files that are sent while they are made, with the boundary that pages have.

A stream that fails, or reaches a limit, has no end: the server closes the connection, and browsers
report a failure.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Generator
from contextlib import ExitStack
from threading import Lock
from typing import NamedTuple

from anyio import to_thread
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from dicomferry.api.dispatch import to_api_error
from dicomferry.console.views.layout import SECURITY_HEADERS

# Who reads slower than this falls behind, and is left once that far behind.
MIN_BYTES_PER_SECOND = 100_000
MAX_BEHIND_SECONDS = 60.0
_LOGGER = logging.getLogger(__name__)


class StreamLimitError(Exception):
    """A stream took too long, or became too large."""


class _BrokenOffError(Exception):
    """What makes the stream failed; the log has it."""


class File(NamedTuple):
    """What a browser keeps.

    Attributes:
        name: of the file, from UIDs and codes alone.
        kind: media type.
    """

    name: str
    kind: str


class Stream(StreamingResponse):
    """A file that is sent while it is made; what it holds is released however it ends."""

    def __init__(
        self,
        chunks: Generator[bytes, None, None],
        file: File,
        held: ExitStack | None = None,
        seconds: float | None = None,
    ) -> None:
        """Send chunks as a file.

        Args:
            chunks: of the file.
            file: its name and type.
            held: what the chunks need.
            seconds: for all of it; None: as long as its reader keeps up.
        """
        disposition = {"Content-Disposition": f'attachment; filename="{file.name}"'}
        headers = SECURITY_HEADERS | disposition
        super().__init__(self._body(), media_type=file.kind, headers=headers)
        self._chunks = chunks
        self._held = held or ExitStack()
        self._seconds = seconds
        self._making = Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, in limited time; of a HEAD request, nothing is made."""
        if scope.get("method") == "HEAD":
            self._chunks.close()
        try:
            async with asyncio.timeout(self._seconds):
                await super().__call__(scope, receive, _Pace(send).send)
        except (StreamLimitError, TimeoutError):
            _LOGGER.warning("a file reached its limit while it was sent, and was cut off")
        except (_BrokenOffError, ClientDisconnect):
            pass
        finally:
            # At once: this task may be cancelled while it waits.
            released = asyncio.get_running_loop().run_in_executor(None, self._release)
            await asyncio.shield(released)

    async def _body(self) -> AsyncIterator[bytes]:
        while (chunk := await to_thread.run_sync(self._next)) is not None:
            yield chunk

    def _next(self) -> bytes | None:
        with self._making:
            try:
                return next(self._chunks, None)
            except StreamLimitError:
                raise
            except Exception as error:  # the boundary: no text of it reaches the log
                to_api_error(error, "a file that was being sent")
                raise _BrokenOffError from None

    def _release(self) -> None:
        """Release everything, after a chunk that is being made."""
        try:
            with self._making, self._held:
                self._chunks.close()
        except Exception as error:  # the boundary
            to_api_error(error, "the end of a file that was being sent")


class _Pace:
    """Sends as long as the reader keeps up. The time in which chunks are made is not the reader's.

    A reader gains nothing by reading fast at first, or by reading a little now and then.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._behind = 0.0

    async def send(self, message: Message) -> None:
        """Send a part.

        Raises:
            StreamLimitError: the reader is too far behind.
        """
        due = len(message.get("body", b"")) / MIN_BYTES_PER_SECOND
        started = time.monotonic()
        try:
            async with asyncio.timeout(MAX_BEHIND_SECONDS - self._behind + due):
                await self._send(message)
        except TimeoutError:
            raise StreamLimitError from None
        self._behind = max(0.0, self._behind + time.monotonic() - started - due)
        if self._behind > MAX_BEHIND_SECONDS:
            raise StreamLimitError
