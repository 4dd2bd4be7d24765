"""Whether a server can do its work: the storage below it answers."""

import threading
import time

from dicomferry.storage.base import Storage

# An answer serves all who ask within this time.
_FRESH_SECONDS = 2.0
# A question that takes longer is as bad as the answer no.
LIMIT_SECONDS = 5.0


class Readiness:
    """Asks the storage of a server, at most one question at a time."""

    def __init__(self, root: Storage) -> None:
        """Keep the root of the stores."""
        self._root = root
        self._asking = threading.Lock()
        self._asked = self._answered = float("-inf")
        self._is_ready = False

    def check(self) -> bool:
        """Return whether the storage answers; blocks until it does, or fails.

        While another thread waits for the storage, the answer is the last one, for some seconds.
        """
        if not self._asking.acquire(blocking=False):
            return self._is_ready and time.monotonic() - self._asked < LIMIT_SECONDS
        try:
            if time.monotonic() - self._answered >= _FRESH_SECONDS:
                self._asked = time.monotonic()
                self._is_ready = self._answers()
                self._answered = time.monotonic()
            return self._is_ready
        finally:
            self._asking.release()

    def _answers(self) -> bool:
        try:
            next(iter(self._root.folders("projects/")), None)
        except Exception:  # whatever a storage raises, it cannot be used
            return False
        return True
