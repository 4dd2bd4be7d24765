"""Bounds on open calls: by caller, and on how long one waits for its client.

A call is open until its answer has been read, and its client decides when. So each caller can have
a part of them alone, and each step of a client has a time limit, as in REST.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from google.rpc.code_pb2 import RESOURCE_EXHAUSTED

from dicomferry.api.errors import ApiError

# Open at once; further ones are refused.
CALLS = 256
CALLS_OF_A_CALLER = 100
# Of them at work; the others wait for it.
_AT_WORK = 32
_AT_WORK_OF_A_CALLER = 24
MESSAGE_SECONDS = 10.0
READING_SECONDS = 60.0


class Calls:
    """The open calls of a server."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: Counter[str] = Counter()
        self._at_work: Counter[str] = Counter()

    def admit(
        self, caller: str, context: grpc.ServicerContext, limit: int = CALLS_OF_A_CALLER
    ) -> None:
        """Count a call until it ends.

        Args:
            caller: who calls.
            context: of the call.
            limit: how many calls the caller can have open.

        Raises:
            ApiError: the caller has too many.
        """
        with self._changed:
            if self._open[caller] >= limit:
                raise ApiError(
                    RESOURCE_EXHAUSTED,
                    f"you have {limit} open calls: wait until some have ended",
                )
            self._open[caller] += 1

        def ended() -> None:
            with self._changed:
                _decrease(self._open, caller)

        if not context.add_callback(ended):  # it has ended already
            ended()

    @contextmanager
    def at_work(self, caller: str) -> Iterator[None]:
        """Wait until a call of a caller may go to work, and let it."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._at_work.total() < _AT_WORK
                    and self._at_work[caller] < _AT_WORK_OF_A_CALLER
                )
            )
            self._at_work[caller] += 1
        try:
            yield
        finally:
            with self._changed:
                _decrease(self._at_work, caller)
                self._changed.notify_all()


@contextmanager
def message_deadline(context: grpc.ServicerContext) -> Iterator[None]:
    """Cancel a call whose message does not come within the block in time."""
    timer = _cancel_later(context, MESSAGE_SECONDS)
    try:
        yield
    finally:
        timer.cancel()


def expect_end(context: grpc.ServicerContext, seconds: float | None = None) -> None:
    """Cancel a call whose answer is not read within a time from now; default: a minute."""
    timer = _cancel_later(context, READING_SECONDS if seconds is None else seconds)
    if not context.add_callback(timer.cancel):
        timer.cancel()


def _cancel_later(context: grpc.ServicerContext, seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, context.cancel)
    timer.daemon = True
    timer.start()
    return timer


def _decrease(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
