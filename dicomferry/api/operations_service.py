"""google.longrunning.Operations, for the operations of DicomService."""

import threading
import time
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.rpc.code_pb2 import NOT_FOUND

from dicomferry.api.access import Principal
from dicomferry.api.access.permissions import METHOD_PERMISSIONS
from dicomferry.api.error_translation import translate_job_errors
from dicomferry.api.errors import ApiError
from dicomferry.api.operation_filter import parse_operation_filter
from dicomferry.api.paging import last_of_page_before, next_page_token, page_size
from dicomferry.api.request_fields import dataset_name, operation_folder
from dicomferry.api.resources import operation_message
from dicomferry.jobs import elsewhere
from dicomferry.operations.folder import OperationFolder, OperationNotFoundError
from dicomferry.operations.listing import operation_ids, read_operations
from dicomferry.operations.record import OperationRecord
from dicomferry.storage.base import Storage

_MAX_WAIT_SECONDS = 30.0
_LOOK_SECONDS = 0.25
# An answer of Dataflow or of an engine is used as long as this.
_ASK_SECONDS = 5.0
# Each occupies a thread of the server; further calls return at once, as the contract allows.
_MAX_WAITING = 16


class OperationsService:
    """One method per rpc: takes its request, returns its response or raises an ApiError."""

    def __init__(self, root: Storage, url: str = "") -> None:
        """Serve the operations of all datasets below a root.

        Args:
            root: where stores are.
            url: of the server, for links to its page.
        """
        self._root = root
        self._url = url
        self._stopping = threading.Event()
        self._waiting = threading.BoundedSemaphore(_MAX_WAITING)

    def get_operation(self, request: Any, principal: Principal) -> Any:
        """Return an operation."""
        folder, record = self._find(request.name, METHOD_PERMISSIONS["GetOperation"], principal)
        record = elsewhere.OperationReader().reconcile(folder, record)
        return operation_message(record, self._url)

    def list_operations(self, request: Any, principal: Principal) -> Any:
        """Return a page of a dataset's operations, the newest first.

        A page has fewer where the filter leaves some out.
        """
        parent = dataset_name(request.name)
        principal.require(METHOD_PERMISSIONS["ListOperations"], str(parent))
        matching = parse_operation_filter(request.filter)
        size = page_size(request.page_size)
        scope = ("ListOperations", str(parent), request.filter)
        after = last_of_page_before(request.page_token, *scope)
        ids = operation_ids(self._root, parent, after)
        response = operations_pb2.ListOperationsResponse()
        reader = elsewhere.OperationReader()
        for listed in read_operations(self._root, parent, ids[:size]):
            if listed:
                record = reader.reconcile(*listed)
                if matching.matches(record):
                    response.operations.append(operation_message(record, self._url))
        if len(ids) > size:
            response.next_page_token = next_page_token(ids[size - 1], *scope)
        return response

    def cancel_operation(self, request: Any, principal: Principal) -> Any:
        """Request the end of a job; one that has ended stays as it is."""
        permission = METHOD_PERMISSIONS["CancelOperation"]
        folder, record = self._find(request.name, permission, principal)
        if not elsewhere.OperationReader().reconcile(folder, record).done:
            with translate_job_errors():
                elsewhere.request_cancel(folder)
        return empty_pb2.Empty()

    def wait_operation(self, request: Any, principal: Principal) -> Any:
        """Return an operation once it has ended, or after the timeout."""
        permission = METHOD_PERMISSIONS["WaitOperation"]
        folder, record = self._find(request.name, permission, principal)
        reader = elsewhere.OperationReader(_ASK_SECONDS)
        record = reader.reconcile(folder, record)
        seconds = _MAX_WAIT_SECONDS
        if request.HasField("timeout"):
            seconds = min(request.timeout.ToNanoseconds() / 1e9, seconds)
        if self._waiting.acquire(blocking=False):
            try:
                end = time.monotonic() + seconds
                while not record.done and time.monotonic() < end:
                    if self._stopping.wait(_LOOK_SECONDS):
                        break
                    record = reader.read(folder)
            finally:
                self._waiting.release()
        return operation_message(record, self._url)

    def stop(self) -> None:
        """Return from all waiting calls: the server is about to end."""
        self._stopping.set()

    def _find(
        self, name: str, permission: str, principal: Principal
    ) -> tuple[OperationFolder, OperationRecord]:
        folder = operation_folder(self._root, name)
        try:
            record = folder.read()
        except OperationNotFoundError:
            principal.require(permission, name)
            raise ApiError(NOT_FOUND, f"{name} does not exist") from None
        # A grant on the store that it works on is enough.
        principal.require(permission, name, str(record.store))
        return folder, record
