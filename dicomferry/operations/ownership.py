"""The process that owns an operation: progress, heartbeat and cancellation.

Only the owner writes operation.json. A thread of it renews the heartbeat, sums up the progress of
the workers, and ends the process once cancellation was requested.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType

from google.rpc.code_pb2 import CANCELLED, INTERNAL, UNAVAILABLE

from dicomferry import tracing
from dicomferry.operations.completion import complete_from_outcomes
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.outcomes import EndedPart, OutcomeCounts, ProgressCounts, Total
from dicomferry.operations.owner import DataflowJob, EngineJob
from dicomferry.operations.record import OperationRecord
from dicomferry.storage.failures import storage_errors, storage_message

_LOGGER = logging.getLogger(__name__)
# Ends of a job in the middle of its work, which says then what it has done.
_CUT_SHORT = (CANCELLED, INTERNAL, UNAVAILABLE)
_LOOK_SECONDS = 0.5
_HEARTBEAT_SECONDS = 5.0
# A bucket lets an object be replaced about once per second.
_TOTAL_SECONDS = 2.0

# Shows progress: counts so far, and the number of files or instances.
ProgressCallback = Callable[[ProgressCounts, Total], None]


class OwnedOperation:
    """An operation that this process owns; a context manager that watches it.

    Attributes:
        folder: files of the operation.
        total: files or instances that the job has to account for.
        is_handed_over: whether a Dataflow job writes the record now.
        stop_work: ends the work on other machines, before the record says that it has ended.
    """

    def __init__(
        self,
        folder: OperationFolder,
        on_progress: ProgressCallback | None = None,
        before_exit: Callable[[], None] | None = None,
        cancel_message: str = "cancelled",
        is_queued: bool = False,
    ) -> None:
        """Read the record.

        Args:
            folder: the operation's, with this process or its Dataflow job as the owner.
            on_progress: called twice a second with the progress, and once at the end.
            before_exit: frees what the process holds before cancellation ends it.
            cancel_message: message of an operation that was cancelled.
            is_queued: whether the operation waits for other jobs to end.
        """
        self.folder = folder
        self.total = 0
        self._is_final = False
        self._on_progress = on_progress
        self.before_exit = before_exit
        self.stop_work: Callable[[], None] = lambda: None
        self._cancel_message = cancel_message
        self._record = folder.read()
        self._record.queued = is_queued
        self._record.place = 0
        self._place = 0
        # What waits becomes another process, which has the span of the whole.
        self._span = tracing.Span() if is_queued else _span_of(self._record)
        self._ended = EndedPart()
        self.is_handed_over = False
        self._written = -math.inf  # the first look writes
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._watch_over, daemon=True)

    def __enter__(self) -> "OwnedOperation":
        self._watch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        self._stop.set()
        self._watch.join()
        counts = self._record.counts
        if self._on_progress and self.is_done and isinstance(counts, OutcomeCounts):
            self._on_progress(counts.as_progress(), Total(self._record.total))
        return None

    @property
    def is_done(self) -> bool:
        """Whether the operation has ended."""
        return self._record.done

    def reload(self) -> OperationRecord:
        """Read the record that another owner has written."""
        self._record = self.folder.read()
        if self._record.done:
            _end(self._span, self._record)
        return self._record

    def expect(self, total: int, *, is_final: bool = True) -> None:
        """Set the number of files or instances that the job has to account for.

        Args:
            total: the number.
            is_final: False while they are listed: it grows.
        """
        self.total, self._is_final = total, is_final

    def show_place(self, place: int) -> None:
        """Show at which place an operation waits; 1: it is next."""
        self._place = place

    def hand_over(self, owner: DataflowJob) -> None:
        """Leave the record to a Dataflow job that is about to start; its last step ends it."""
        with self._lock:
            self.is_handed_over = True
            self._record.owner = owner
            self._record.total = self.total
            self._write()

    def run_on(self, engine: EngineJob) -> None:
        """Record which job of an engine is about to start: if this process dies, it goes on."""
        with self._lock:
            self._record.engine = engine
            self._record.total = self.total
            self._write()

    def end_part(self, part: str) -> None:
        """End a part: from now on its outcomes count, instead of the progress of its workers."""
        counts = self.folder.part_counts(part).as_progress()
        with self._lock:
            self._ended = EndedPart(part, self._ended.counts + counts)
            self._record.total = self.total
            self._record.ended = self._ended
            self._write()
        self.folder.forget_progress(part)

    def finish(self, noun: str) -> OperationRecord:
        """Count the outcomes and finish the operation; some files may have failed.

        Args:
            noun: "files" or "instances", for the message.

        Raises:
            OutcomeCountMismatchError: the outcomes do not account for everything.
        """
        with self._lock:
            complete_from_outcomes(self._record, self.folder, self.total, noun)
            self._write()
        return self._record

    def fail(self, code: int, message: str) -> str:
        """Finish the operation with an error that ended the job; return the message of its record.

        Args:
            code: a google.rpc.Code.
            message: the reason; no patient data.
        """
        progress, counts = self._progress(), self.folder.counts()
        # Outcomes tell more, unless the part that broke off has committed something.
        is_all = counts.committed + counts.failures >= progress.committed + progress.failures
        with self._lock:
            self._record.set_counts(counts if is_all else progress, self.total)
            end = self._record.cut_short if code in _CUT_SHORT else self._record.finish
            end(code, message)
            self._write()
        return self._record.error.message if self._record.error else message

    def _watch_over(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS) and not self.is_handed_over:
            try:
                self._look()
            except storage_errors() as error:
                # The job may well go on, and must be watched then: the next look tries again.
                message = storage_message(error)
                _LOGGER.warning("%s: the heartbeat failed: %s", self.folder.name, message)

    def _look(self) -> None:
        progress = self._progress()
        if self._on_progress:
            self._on_progress(progress, Total(self.total, self._is_final))
        if self.folder.is_cancel_requested():
            self._cancel(progress)
        age = time.monotonic() - self._written
        is_current = self._record.total == self.total and self._record.place == self._place
        is_stale = not is_current and age > _TOTAL_SECONDS
        if is_stale or age > _HEARTBEAT_SECONDS:
            self._beat()

    def _progress(self) -> ProgressCounts:
        ended = self._ended
        return ended.counts + self.folder.progress(ended.part)

    def _beat(self) -> None:
        with self._lock:
            if not self._record.done and not self.is_handed_over:
                self._record.total = self.total
                self._record.place = self._place
                self._write()

    def _cancel(self, progress: ProgressCounts) -> None:
        """End this process: a pipeline that runs in it cannot be interrupted otherwise."""
        self.stop_work()
        with self._lock:
            if self._record.done or self.is_handed_over:
                return
            # Sent before the record says that the job has ended: it still works meanwhile.
            self._span.end(CANCELLED, _attributes(progress, self.total), is_fault=True)
            tracing.flush()
            self._record.metadata.cancel_requested = True
            self._record.set_counts(self._progress(), self.total)
            end = self._record.finish if self._record.queued else self._record.cut_short
            end(CANCELLED, self._cancel_message)
            self._write()
            _LOGGER.warning("%s was cancelled", self.folder.name)
            if self.before_exit:
                self.before_exit()
            os._exit(1)

    def _write(self) -> None:
        self.folder.write(self._record)
        self._written = time.monotonic()
        if self._record.done:
            _end(self._span, self._record)


def _span_of(record: OperationRecord) -> tracing.Span:
    """Begin the span of an operation, at the time at which it was recorded."""
    names = {"dicomferry.operation": record.name, "dicomferry.store": str(record.store)}
    return tracing.operation(record.metadata.method, names, record.metadata.create_time)


def _end(span: tracing.Span, record: OperationRecord) -> None:
    code = record.error.code if record.error else 0
    span.end(code, _attributes(record.counts, record.total), is_fault=bool(code))


def _attributes(counts: ProgressCounts | OutcomeCounts, total: int) -> dict[str, int]:
    """Return how far an operation came, as attributes of its span."""
    named = {f"dicomferry.{name}": number for name, number in counts.to_json().items()}
    return {"dicomferry.total": total, **named}
