"""A job and the process that owns it: heartbeat, progress, cancel, the end.

The owner alone writes operation.json. A thread of it renews the heartbeat, sums up the
workers' progress, shows it, and looks whether somebody asked to cancel.
"""

import logging
import os
import re
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from types import TracebackType

from google.api_core.exceptions import GoogleAPIError
from obstore.exceptions import BaseError as ObjectStoreError

from dicomferry.operations import operations
from dicomferry.operations.completion import OutcomeCountMismatchError, complete_from_outcomes
from dicomferry.operations.operations import Operation, OperationFolder
from dicomferry.operations.owner import DataflowJob
from dicomferry.pipelines import log_format
from dicomferry.resource_names import StoreName
from dicomferry.storage.base import Storage
from dicomferry.store.dicom_store import StoreNotFoundError, get_store
from dicomferry.transforms.worker_pool import close_shared_pools

_LOGGER = logging.getLogger(__name__)
_LOOK_SECONDS = 0.5
_HEARTBEAT_SECONDS = 5.0
# A bucket lets an object be replaced about once a second.
_TOTAL_SECONDS = 2.0
# What disks and buckets raise, once the tries are used up.
STORAGE_ERRORS = (OSError, ObjectStoreError, GoogleAPIError)
_COLOURS = re.compile("\x1b\\[[0-9;]*m")  # deltalake paints its messages
# It logs the text of whatever breaks a bundle, which can hold patient data; a job that breaks
# logs the places instead.
logging.getLogger("apache_beam.runners.common").addFilter(
    lambda record: record.levelno < logging.ERROR
)

# Shows progress: what was done so far, out of how many files (0: not known yet).
ProgressCallback = Callable[[Counter[str], int], None]


class JobError(Exception):
    """A job that ended without doing its work; the operation says the same."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Job:
    """Owns one operation, as a context manager.

    Leaving it finishes the operation: well after `finish`, with an error otherwise; whatever
    broke the job leaves as a `JobError`.
    """

    def __init__(
        self,
        root: Storage,
        store: StoreName,
        method: str,
        show: ProgressCallback | None,
        adopted: OperationFolder | None = None,
    ) -> None:
        """Record the operation, unless one was adopted.

        Args:
            root: where stores live.
            store: the store that the job works on.
            method: ImportDicomData or ExportDicomData.
            show: is told about progress twice a second.
            adopted: an operation that is recorded already, with this process or its Dataflow
                job as the owner.
        """
        self.folder = adopted or operations.start_operation(root, store, method)
        log_format.name_operation(self.folder.name)
        lists = self.folder.storage.uri("outcomes-*.jsonl")
        _LOGGER.info("operation %s; its lists: %s", self.folder.name, lists)
        self._operation: Operation = self.folder.read()
        self._operation.pop("queued", None)
        self._root = root
        self._store = store
        self._data = self._data_folder()
        self._show = show
        self.total = 0
        self._handed_over = False
        # What became of the parts that have ended, and which was the last.
        self._ended: Counter[str] = Counter()
        self._ended_part = ""
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._watch = threading.Thread(target=self._watch_over, daemon=True)

    def __enter__(self) -> "Job":
        self._watch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._over.set()
        self._watch.join()
        if error is None or self._operation["done"]:
            return False
        if self._handed_over:
            if isinstance(error, KeyboardInterrupt):
                _LOGGER.warning(
                    "the Dataflow job goes on; %s tells how far it is", self.folder.name
                )
                return False
            # Its last step may have written the record before it let the job fail.
            self._operation = self.folder.read()
            if self._operation["done"]:
                return True
        chain = _chain(error)
        code, message = _explain(chain)
        if code != operations.CANCELLED and not isinstance(error, JobError) and self._is_deleted():
            code, message = operations.NOT_FOUND, f"{self._store} was deleted meanwhile"
        try:
            counts = self.folder.counts() or self._progress()
            with self._lock:
                operations.set_counts(self._operation, counts, self.total)
                operations.finish(self._operation, code, message)
                self.folder.write(self._operation)
        except STORAGE_ERRORS as failure:
            # Whatever broke the job: its record has no end, and readers find no heartbeat.
            code, message = operations.UNAVAILABLE, storage_message(failure)
        if code == operations.INTERNAL:
            # The places, not the message: exception texts can hold patient data.
            _LOGGER.error("".join(traceback.format_tb(trace)))
        if code == operations.CANCELLED and isinstance(error, Exception):
            raise KeyboardInterrupt from error
        if isinstance(error, Exception) and not isinstance(error, JobError):
            raise JobError(code, f"{message} ({self.folder.name})") from error
        return False

    def hand_over(self, owner: DataflowJob) -> None:
        """Leave the record to a Dataflow job that is about to start, whose last step ends it."""
        with self._lock:
            self._handed_over = True
            self._operation["owner"] = owner._asdict()
            self._operation["total"] = self.total
            self.folder.write(self._operation)

    def expect(self, total: int) -> None:
        """Say how many files or instances the job has to account for."""
        self.total = total

    def end_part(self, part: str) -> None:
        """Say that a part is done: its outcomes count now, not what its workers reported."""
        counts = operations.as_progress(self.folder.part_counts(part))
        with self._lock:
            self._ended += counts
            self._ended_part = part
            self._operation["total"] = self.total
            self._operation["ended"] = {"part": part, "counts": dict(self._ended)}
            self.folder.write(self._operation)
        self.folder.forget_progress(part)

    def finish(self, failed_noun: str) -> Operation:
        """Count the outcomes and finish the operation.

        Args:
            failed_noun: what may have failed, for the message: "files" or "instances".

        Raises:
            JobError: the outcomes do not account for everything.
        """
        with self._lock:
            try:
                complete_from_outcomes(self._operation, self.folder, self.total, failed_noun)
            except OutcomeCountMismatchError as error:
                raise JobError(operations.INTERNAL, str(error)) from error
            self.folder.write(self._operation)
        return self._operation

    def _watch_over(self) -> None:
        written = 0.0
        while not self._over.wait(_LOOK_SECONDS) and not self._handed_over:
            try:
                progress = self._progress()
                if self._show:
                    self._show(progress, self.total)
                if self.folder.is_cancel_requested():
                    self._cancel(progress)
                age = time.monotonic() - written
                is_stale = self._operation["total"] != self.total and age > _TOTAL_SECONDS
                if is_stale or age > _HEARTBEAT_SECONDS:
                    self._beat()
                    written = time.monotonic()
            except STORAGE_ERRORS as error:
                # The job may well go on, and then has to be watched: the next look tries again.
                _LOGGER.warning(
                    "%s: the heartbeat failed: %s", self.folder.name, storage_message(error)
                )

    def _progress(self) -> Counter[str]:
        with self._lock:
            ended, part = self._ended.copy(), self._ended_part
        return ended + self.folder.progress(part)

    def _beat(self) -> None:
        with self._lock:
            if not self._operation["done"] and not self._handed_over:
                self._operation["total"] = self.total
                self.folder.write(self._operation)

    def _is_deleted(self) -> bool:
        """Whether the store is surely gone, which can break a job in many places.

        Another of the same name may be there by now.
        """
        try:
            found = self._data_folder()
            return found is None or found != self._data
        except STORAGE_ERRORS:
            return False

    def _data_folder(self) -> Storage | None:
        try:
            return get_store(self._root, self._store).data
        except StoreNotFoundError:
            return None

    def _cancel(self, progress: Counter[str]) -> None:
        """End this process: the pipeline that it is in cannot be interrupted otherwise."""
        with self._lock:
            if self._operation["done"] or self._handed_over:
                return
            self._operation["metadata"]["cancelRequested"] = True
            operations.set_counts(self._operation, progress, self.total)
            operations.finish(
                self._operation, operations.CANCELLED, "cancelled; what was committed stays"
            )
            self.folder.write(self._operation)
            _LOGGER.warning("%s was cancelled", self.folder.name)
            close_shared_pools()
            os._exit(1)


def storage_message(error: Exception) -> str:
    """What to tell of a storage that failed: on one line, without what is for debuggers."""
    text = _COLOURS.sub("", str(error).partition("\n\nDebug source")[0])
    return f"storage failed: {' '.join(text.split())}"


def _chain(error: BaseException) -> list[BaseException]:
    """An exception and what led to it, the first cause last.

    Beam raises an exception anew, with another type if need be, in the context of the first.
    """
    chain = [error]
    while (below := chain[-1].__cause__ or chain[-1].__context__) and below not in chain:
        chain.append(below)
    # Private ones only carry the text of a traceback from a worker process.
    return [each for each in chain if not type(each).__name__.startswith("_")] or [error]


def _explain(chain: list[BaseException]) -> tuple[int, str]:
    """A google.rpc.Code and a message without patient data."""
    error = chain[0]
    if isinstance(error, JobError):
        return error.code, str(error)
    if any(isinstance(each, KeyboardInterrupt) for each in chain):
        return operations.CANCELLED, "interrupted; what was committed stays"
    for each in reversed(chain):
        if isinstance(each, STORAGE_ERRORS):
            return operations.UNAVAILABLE, storage_message(each)
    return operations.INTERNAL, f"the job broke with {type(chain[-1]).__name__}; please report this"
