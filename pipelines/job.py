"""A job as a program: it owns an operation, and every way in which it can end is recorded."""

import logging
import shlex
import traceback
from contextlib import suppress
from types import TracebackType

import grpc
from google.rpc.code_pb2 import CANCELLED, INTERNAL, NOT_FOUND, UNAVAILABLE

from dicomferry.extras import MissingExtraError, missing_extra
from dicomferry.operations.completion import OutcomeCountMismatchError
from dicomferry.operations.faults import fault_of
from dicomferry.operations.folder import OperationFolder, new_operation_id
from dicomferry.operations.ownership import OwnedOperation, ProgressCallback
from dicomferry.pipelines import engine, log_format
from dicomferry.pipelines.requests import Request
from dicomferry.storage.base import Storage
from dicomferry.storage.failures import storage_errors, storage_message
from dicomferry.store.deletion import purge
from dicomferry.store.dicom_store import StoreNotFoundError, get_store
from dicomferry.store.formats import StoreFormatError
from dicomferry.transforms.worker_pool import close_shared_pools

_LOGGER = logging.getLogger(__name__)
engine.keep_text_from_log()


class JobError(Exception):
    """A job that ended without doing its work; its operation has the same code and message.

    Attributes:
        code: a google.rpc.Code.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class JobGoesOn(KeyboardInterrupt):
    """The program that started a job on other machines was interrupted, not the job.

    Attributes:
        next: the command that waits for the job.
    """

    def __init__(self, folder: OperationFolder) -> None:
        super().__init__(f"interrupted; the job goes on: {folder.name}")
        root = shlex.quote(folder.root.root)
        self.next = f"dicomferry operations wait {folder.id} --root {root}"


def message_of(error: BaseException) -> str:
    """Return what to say of an exception that has ended or prevented a job; no patient data."""
    if isinstance(error, (JobError, MissingExtraError, ValueError, LookupError, KeyboardInterrupt)):
        return str(error)
    if isinstance(error, storage_errors()):
        return storage_message(error)
    if missing := missing_extra(error):
        return str(missing)
    return f"the job broke with {fault_of(error)}; please report this"


class Job(OwnedOperation):
    """An operation that this process owns, and the work on it, as a context manager.

    Leaving it finishes the operation: well after `finish`, with an error otherwise. Every
    exception that ended the job leaves as a `JobError`.
    """

    def __init__(
        self,
        request: Request,
        show: ProgressCallback | None,
        adopted: OperationFolder | None = None,
    ) -> None:
        """Record the operation, unless one was adopted.

        Args:
            request: what the job is to do.
            show: called with the progress twice a second.
            adopted: an operation that is recorded already, with this process or its Dataflow
                job as the owner.
        """
        folder = adopted or OperationFolder(request.root, request.store.parent, new_operation_id())
        if not adopted:
            folder.start(request.store, request.method, asked=request.asked())
        log_format.name_operation(folder.name)
        results = folder.storage.uri("outcomes-*.jsonl")
        _LOGGER.info("Operation: %s. Results: %s", folder.name, results)
        super().__init__(folder, on_progress=show, before_exit=close_shared_pools)
        self._root = request.root
        self._store = request.store
        if adopted:
            self._write()  # no longer queued: see `writers`
        self._data = self._data_folder()
        self._record.data_folder = self._data.root.rpartition("/")[2] if self._data else ""

    def __enter__(self) -> "Job":
        super().__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        super().__exit__(kind, error, trace)
        if error is None or self.is_done:
            return False
        if self.is_handed_over:
            if isinstance(error, KeyboardInterrupt):
                raise JobGoesOn(self.folder) from error
            # Its last step may have written the record before it let the job fail.
            if self.reload().done:
                return True
        if not self.is_handed_over:
            self.stop_work()
        code, message = self._explain(error)
        try:
            message = self.fail(code, message)
        except storage_errors() as failure:
            # Whatever ended the job: its record has no end, and readers find no heartbeat.
            code, message = UNAVAILABLE, storage_message(failure)
        if code == INTERNAL:
            # The places, not the message: exception texts can hold patient data.
            _LOGGER.error("".join(traceback.format_tb(trace)))
        if code == CANCELLED:
            raise KeyboardInterrupt(message) from error
        if isinstance(error, Exception) and not isinstance(error, JobError):
            raise JobError(code, f"{message} ({self.folder.name})") from error
        return False

    def refuse_other_data(self, data: Storage) -> None:
        """Refuse a store that was looked up before the operation was recorded, if it is gone.

        Raises:
            JobError: it was deleted meanwhile.
        """
        if data != self._data:
            raise JobError(NOT_FOUND, f"{self._store} was deleted meanwhile")

    def _explain(self, error: BaseException) -> tuple[int, str]:
        """Return a google.rpc.Code and a message for what ended the job."""
        if isinstance(error, JobError):
            return error.code, str(error)
        if isinstance(error, OutcomeCountMismatchError):
            return INTERNAL, str(error)
        code, message = explain(error)
        if code != CANCELLED and self._is_store_deleted():
            self._purge()
            return NOT_FOUND, f"{self._store} was deleted meanwhile"
        return code, message

    def _is_store_deleted(self) -> bool:
        """Whether the store is certainly gone, which can break a job in many places.

        Another of the same name may be there by now.
        """
        try:
            data = self._data_folder()
        except StoreFormatError:
            return False
        except storage_errors():
            return False
        return data is None or data != self._data

    def _purge(self) -> None:
        """Delete what this job has written into the deleted store."""
        if self._data is not None:
            close_shared_pools()
            with suppress(*storage_errors()):
                purge(self._data)

    def _data_folder(self) -> Storage | None:
        try:
            return get_store(self._root, self._store).data
        except StoreNotFoundError:
            return None


def _chain(error: BaseException) -> list[BaseException]:
    """Return an exception and its causes, the first cause last.

    Beam raises an exception again, with another type if need be, in the context of the first.
    """
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    # Private ones only carry the text of a traceback from a worker process; those of gRPC are all
    # private.
    return [
        link
        for link in chain
        if isinstance(link, grpc.RpcError) or not type(link).__name__.startswith("_")
    ] or [error]


def explain(error: BaseException) -> tuple[int, str]:
    """Return a google.rpc.Code and a message for what broke a job; no patient data."""
    chain = _chain(error)
    if any(isinstance(each, KeyboardInterrupt) for each in chain):
        return CANCELLED, "interrupted"
    for each in reversed(chain):
        # A bare error of gRPC comes from Beam's job service: clients of storage wrap theirs.
        if isinstance(each, storage_errors()) and not isinstance(each, grpc.RpcError):
            return UNAVAILABLE, storage_message(each)
    if told := next(filter(None, map(engine.explain, reversed(chain))), None):
        return told
    return INTERNAL, f"the job broke with {type(chain[-1]).__name__}; please report this"
