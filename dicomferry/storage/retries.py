"""Retries: how storage clients repeat requests, and what is repeated here because they do not.

obstore and deltalake repeat requests that are refused (429, 5xx) or cut off. They do not repeat one
whose answer breaks off in the middle of a listing, or is shorter than the requested range: measured
with obstore 0.8 and deltalake 1.6; tests/faults holds it.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from obstore.exceptions import GenericError

from dicomferry.storage.lost_races import Race

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import RetryConfig

    from dicomferry.storage.capabilities import Capabilities

T = TypeVar("T")

# The storage clients repeat a request that is refused (429, 5xx) or cut off for so long, with
# growing pauses; then the bundle fails. Google's client has 120 s. Time is the limit, not their
# number: pauses are random, and ten of them can be over within an outage of half a minute. A wrong
# name of a bucket is none of these, and fails at once.
MAX_RETRIES = 1000
RETRY_SECONDS = 180
_FIRST_PAUSE_SECONDS = 0.1
_MAX_PAUSE_SECONDS = 10
# No attempt starts after `RETRY_SECONDS`; one request during an outage already takes that long.
_MAX_ATTEMPTS = 8
# How long a call takes at most until a storage that is gone is given up: requests that fail one
# after the other, each repeated for so long, the last one begun just before the end.
OUTAGE_SECONDS = 2 * RETRY_SECONDS + 60
# deltalake and pyarrow raise OSError, obstore GenericError.
TRANSIENT = (GenericError, OSError)
PERMANENT = (FileNotFoundError, PermissionError, NotADirectoryError)


def patience(*storages: "Capabilities") -> float:
    """Return the seconds until a call has given up one of these storages, if it is gone."""
    return OUTAGE_SECONDS if any(storage.is_networked for storage in storages) else 0.0


def retry_config() -> "RetryConfig":
    """Return the retries of an obstore client."""
    return {
        "max_retries": MAX_RETRIES,
        "retry_timeout": timedelta(seconds=RETRY_SECONDS),
        "backoff": {
            "init_backoff": timedelta(seconds=_FIRST_PAUSE_SECONDS),
            "max_backoff": timedelta(seconds=_MAX_PAUSE_SECONDS),
            "base": 2,
        },
    }


def delta_retry_options() -> dict[str, str]:
    """Return the same retries as `storage_options` of deltalake."""
    return {
        "max_retries": str(MAX_RETRIES),
        "retry_timeout": f"{RETRY_SECONDS}s",
        "init_backoff": f"{_FIRST_PAUSE_SECONDS * 1000:.0f}ms",
        "max_backoff": f"{_MAX_PAUSE_SECONDS * 1000:.0f}ms",
    }


def with_retries(call: Callable[[], T]) -> T:
    """Call a function that is harmless to repeat until it succeeds.

    Raises:
        OSError, obstore.exceptions.GenericError: it failed eight times or for too long, or with a
            permanent error.
    """
    attempts = _Attempts()
    while True:
        try:
            return call()
        except PERMANENT:
            raise
        except TRANSIENT:
            if not attempts.pause():
                raise


def list_with_resume(
    list_after: Callable[[str | None], Iterable[Sequence["ObjectMeta"]]],
) -> "Iterator[ObjectMeta]":
    """List a bucket in the order of names, resuming after the last name if a listing breaks off.

    Args:
        list_after: lists the names after one; None lists all.

    Raises:
        obstore.exceptions.GenericError: it broke off eight times without a new name, or for too
            long.
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


def repeat_until_committed(
    commit: Callable[[], T], conflict: type[Exception], version: Callable[[], int]
) -> T:
    """Call a function that loads, changes and commits until no other writer was faster.

    Args:
        commit: loads anew at each call.
        conflict: raised where another writer committed first; with a cause, where the storage
            failed so that the commit may have happened.
        version: returns the version that the last call had loaded.

    Raises:
        conflict: the commit is refused although nobody else commits.
        Exception: the cause, if the storage failed eight times or for too long.
    """
    failures: _Attempts | None = None
    race = Race()
    while True:
        began = time.monotonic()
        try:
            return commit()
        except conflict as error:
            if error.__cause__ is not None:
                failures = failures or _Attempts()
                if not failures.pause():
                    raise error.__cause__ from None
                continue
            failures = None  # the storage has answered: a later outage is another one
            pause = race.lose(began, time.monotonic(), version())
            if pause is None:
                raise conflict(
                    f"a commit was refused {race.stalled} times although nobody else commits"
                ) from None
            time.sleep(pause)


class _Attempts:
    """Attempts at one call, bounded in number and in time."""

    def __init__(self) -> None:
        self._failed = 0
        self._until = time.monotonic() + RETRY_SECONDS

    def pause(self) -> bool:
        """Sleep before the next attempt, with exponential backoff and jitter.

        Returns:
            False, at once, when attempts or time are used up.
        """
        self._failed += 1
        if self._failed == _MAX_ATTEMPTS or time.monotonic() > self._until:
            return False
        time.sleep(random.uniform(0.5, 1.0) * _FIRST_PAUSE_SECONDS * 2 ** (self._failed - 1))
        return True
