"""The clock of a storage: the one that its files' times of last change come from."""

import functools
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dicomferry.storage.base import Storage

# Times of files are cut to a second by some kinds of storage, and a folder's clock ticks slowly.
RESOLUTION_SECONDS = 2.0


class StorageClock:
    """Reads the clock of a storage once, and the time that has passed since on this machine."""

    def __init__(self, storage: "Storage") -> None:
        """Read it."""
        moment = storage.own_clock().timestamp()
        self._offset = moment - time.monotonic()

    def now(self) -> float:
        """Return the time in seconds since the epoch, or a little earlier; never later."""
        return self._offset + time.monotonic()

    def wait_until(self, moment: float) -> None:
        """Wait until files that are written get a time that is later."""
        time.sleep(max(moment + RESOLUTION_SECONDS - self.now(), 0))


@functools.lru_cache(maxsize=64)
def clock_of(storage: "Storage") -> StorageClock:
    """Return the clock of a storage, read once in each process."""
    return StorageClock(storage)
