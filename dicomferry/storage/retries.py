"""Another try at what storage clients do not try again themselves.

obstore and deltalake repeat requests that are refused (429, 5xx) or cut off, ten times within
`gcs.RETRY_SECONDS`. What they pass on at once is an answer that breaks off in the midst of a
listing, or that is shorter than what was asked for: measured, tests/faults holds it.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from obstore.exceptions import GenericError

from dicomferry.storage import gcs

if TYPE_CHECKING:
    from obstore import ObjectMeta

T = TypeVar("T")

# Beyond `gcs.RETRY_SECONDS`, which one request to a bucket that is gone takes, there is none.
_ATTEMPTS = 8
_FIRST_PAUSE = 0.1  # seconds
# Told by deltalake and pyarrow as OSError, by obstore as GenericError.
_TRANSIENT = (GenericError, OSError)
_PERMANENT = (FileNotFoundError, PermissionError, NotADirectoryError)


class ShortReadError(OSError):
    """Storage gave fewer bytes than were asked for and are there."""


def with_retries(call: Callable[[], T]) -> T:
    """Call a function that may be called any number of times until a bucket answers in full.

    Raises:
        OSError, obstore.exceptions.GenericError: it failed eight times, or too long.
    """
    attempts = _Attempts()
    while True:
        try:
            return call()
        except _PERMANENT:
            raise
        except _TRANSIENT:
            if not attempts.pause():
                raise


def list_with_resume(
    list_after: Callable[[str | None], Iterable[Sequence["ObjectMeta"]]],
) -> "Iterator[ObjectMeta]":
    """List a bucket, in the order of names, and go on after the last of them if it breaks off.

    Args:
        list_after: lists what comes after a name, None: everything.

    Raises:
        obstore.exceptions.GenericError: it broke off eight times without getting on, or too long.
    """
    last, attempts = None, _Attempts()
    while True:
        try:
            for page in list_after(last):
                for found in page:
                    yield found
                    last, attempts = found["path"], _Attempts()
        except GenericError:
            if not attempts.pause():
                raise
        else:
            return


class _Attempts:
    """Tries at the same thing, bounded in number and in time."""

    def __init__(self) -> None:
        self._failed = 0
        self._until = time.monotonic() + gcs.RETRY_SECONDS

    def pause(self) -> bool:
        """Wait before the next try, longer each time and not as long as others; False: none is."""
        self._failed += 1
        if self._failed == _ATTEMPTS or time.monotonic() > self._until:
            return False
        time.sleep(random.uniform(0.5, 1.0) * _FIRST_PAUSE * 2 ** (self._failed - 1))
        return True
