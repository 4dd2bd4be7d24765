"""Threads of a kind of request, so that slow ones hold up no other kind.

Who waits for a thread waits without one: the number of those is that of connections, and their time
has a limit.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from google.rpc.code_pb2 import UNAVAILABLE

from dicomferry.api.errors import ApiError

T = TypeVar("T")


class OwnThreads:
    """Runs blocking functions of one kind of request."""

    def __init__(self, threads: int, wait_seconds: float = 60.0) -> None:
        """Set the bounds.

        Args:
            threads: how many run at once.
            wait_seconds: how long a request waits for its turn.
        """
        self._limiter = CapacityLimiter(threads)
        self._wait_seconds = wait_seconds

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function in a thread when it is its turn.

        Raises:
            ApiError: UNAVAILABLE: others of its kind took all the time.
        """
        borrower = object()
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._limiter.acquire_on_behalf_of(borrower)
        except TimeoutError:
            raise ApiError(
                UNAVAILABLE, "too many requests of this kind are waiting; try again later"
            ) from None
        try:
            # One token for the turn, none for the thread itself.
            return await to_thread.run_sync(function, limiter=CapacityLimiter(1))
        finally:
            self._limiter.release_on_behalf_of(borrower)
