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

if TYPE_CHECKING:
    from obstore import ObjectMeta

T = TypeVar("T")

_ATTEMPTS = 5
_FIRST_PAUSE = 0.1  # seconds
# Told by deltalake and pyarrow as OSError, by obstore as GenericError.
_PASSING = (GenericError, OSError)
_LASTING = (FileNotFoundError, PermissionError, NotADirectoryError)


class ShortReadError(OSError):
    """Storage gave fewer bytes than were asked for and are there."""


def again(call: Callable[[], T]) -> T:
    """Call a function that may be called any number of times until a bucket answers in full.

    Raises:
        OSError, obstore.exceptions.GenericError: it failed five times.
    """
    for attempt in range(_ATTEMPTS - 1):
        try:
            return call()
        except _LASTING:
            raise
        except _PASSING:
            _pause(attempt)
    return call()


def listed_again(
    list_after: Callable[[str | None], Iterable[Sequence["ObjectMeta"]]],
) -> "Iterator[ObjectMeta]":
    """List a bucket, in the order of names, and go on after the last of them if it breaks off.

    Args:
        list_after: lists what comes after a name, None: everything.

    Raises:
        obstore.exceptions.GenericError: it broke off five times without getting on.
    """
    last, attempt = None, 0
    while True:
        try:
            for page in list_after(last):
                for found in page:
                    yield found
                    last, attempt = found["path"], 0
        except GenericError:
            attempt += 1
            if attempt == _ATTEMPTS:
                raise
            _pause(attempt - 1)
        else:
            return


def _pause(attempt: int) -> None:
    """Wait before the next try, longer each time, and never as long as others do."""
    time.sleep(random.uniform(0.5, 1.0) * _FIRST_PAUSE * 2**attempt)
