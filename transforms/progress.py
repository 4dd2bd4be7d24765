"""Report the progress of a running job: an estimate, one small file per worker."""

import os
import socket
import time
from typing import Any

from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.outcomes import ProgressCounts

_INTERVAL_SECONDS = 1.0
# Counters of the transforms, by namespace and name, as fields of `ProgressCounts`.
COUNTERS = {
    ("read", "files"): "read",
    ("read", "failed"): "failed",
    ("commit", "instances"): "committed",
    ("export", "instances"): "read",
    ("export", "failed"): "failed",
    ("export", "written"): "committed",
    ("table", "rows"): "read",
}


class ProgressReporter:
    """Sums counts and reports them about once a second; pickled, it starts from zero.

    With no folder it reports nothing: distributed runners have metrics of their own.
    """

    def __init__(self, folder: OperationFolder | None = None, part: str = "00000") -> None:
        """Report into an operation's folder, or nowhere.

        Args:
            folder: the operation's; None: nowhere.
            part: of the job: reports of its workers count until `OwnedOperation.end_part`.
        """
        self._folder = folder
        self._part = part
        self._counts: ProgressCounts
        self._reported: float
        self._is_reported: bool
        self._worker: str
        self._reset()

    def __getstate__(self) -> dict[str, object]:
        return {"_folder": self._folder, "_part": self._part}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._folder = state["_folder"]
        self._part = state["_part"]
        self._reset()

    def add(self, counts: ProgressCounts) -> None:
        """Add to the counts so far."""
        self._counts += counts
        self._is_reported = False
        if time.monotonic() - self._reported > _INTERVAL_SECONDS:
            self.report()

    def report(self) -> None:
        """Report the counts so far at once."""
        if self._folder and not self._is_reported:
            self._folder.report_progress(self._worker, self._counts)
            self._reported, self._is_reported = time.monotonic(), True

    def _reset(self) -> None:
        self._counts = ProgressCounts()
        self._reported, self._is_reported = 0.0, True
        self._worker = f"{self._part}-{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
