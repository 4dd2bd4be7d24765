"""Bound how fast callers can fill the log."""

import logging
import time

_LINES = 20
_SECONDS = 10.0


class LogRate(logging.Filter):
    """Lets 20 lines of a kind pass in 10 seconds, then says how many it left out.

    Lines are of a kind if they are logged with the same message, before its arguments are put in.
    """

    def __init__(self, lines: int = _LINES, seconds: float = _SECONDS) -> None:
        """Set the bound."""
        super().__init__()
        self._lines = lines
        self._seconds = seconds
        self._kinds: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is logged."""
        now = time.monotonic()
        kind = str(record.msg)
        since, count = self._kinds.get(kind, (now, 0))
        if now - since >= self._seconds:
            if count > self._lines:
                record.msg = f"{record.getMessage()} (and {count - self._lines} more before it)"
                record.args = None
            since, count = now, 0
            if len(self._kinds) > 1000:
                self._kinds.clear()
        self._kinds[kind] = since, count + 1
        return count < self._lines
