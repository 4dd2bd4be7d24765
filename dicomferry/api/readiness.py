"""Whether a server can do its work: the storage below it answers."""

import threading
import time

from dicomferry.storage.base import Storage

# An answer serves all who ask within this time.
_FRESH_SECONDS = 2.0


class Readiness:
    """Asks the storage of a server, at most one question at a time."""

    def __init__(self, root: Storage) -> None:
        """Keep the root of the stores."""
        self._root = root
        self._asking = threading.Lock()
        self._asked, self._is_ready = float("-inf"), False

    def check(self) -> bool:
        """Return whether the storage answers; blocks until it does, or fails.

        While another thread waits for the storage, the answer is no.
        """
        if not self._asking.acquire(blocking=False):
            return self._is_fresh() and self._is_ready
        try:
            if not self._is_fresh():
                self._is_ready = self._answers()
                self._asked = time.monotonic()
            return self._is_ready
        finally:
            self._asking.release()

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._asked < _FRESH_SECONDS

    def _answers(self) -> bool:
        try:
            next(iter(self._root.folders("projects/")), None)
        except Exception:  # whatever a storage raises, it cannot be used
            return False
        return True
