"""Exit codes of jobs and commands, 0, 1, 2, 3 and 130, and the codes that they follow from."""

from google.rpc.code_pb2 import (
    ALREADY_EXISTS,
    CANCELLED,
    FAILED_PRECONDITION,
    INTERNAL,
    INVALID_ARGUMENT,
    NOT_FOUND,
    OUT_OF_RANGE,
    PERMISSION_DENIED,
    UNAVAILABLE,
)

from dicomferry.operations.lagging import has_lost
from dicomferry.operations.record import OperationRecord
from dicomferry.operations.state import has_reached_end
from dicomferry.storage.errors import NoCredentialsError
from dicomferry.storage.failures import storage_errors

FILES_FAILED = 1
WRONG_REQUEST = 2
BROKEN = 3
INTERRUPTED = 130  # as shells report SIGINT

_OF_REQUESTS = (
    ALREADY_EXISTS,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    OUT_OF_RANGE,
    PERMISSION_DENIED,
)
_BY_KIND: tuple[tuple[type[BaseException], int], ...] = (
    (KeyboardInterrupt, CANCELLED),
    (NoCredentialsError, UNAVAILABLE),
    (LookupError, NOT_FOUND),
    (ValueError, INVALID_ARGUMENT),
)


def of_record(record: OperationRecord, max_failures: int) -> int:
    """Return the exit code of a job that has ended.

    1 if more files failed than are allowed, or a table or topic can never get what was committed;
    of a job that did not reach its end, as one on Dataflow can, 2 or 3 by the code of its error.
    """
    if record.error and not has_reached_end(record):
        return _of_code(record.error.code)
    is_well = record.counts.failures <= max_failures and not has_lost(record)
    return 0 if is_well else FILES_FAILED


def of_error(error: BaseException) -> int:
    """Return the exit code of a job or command that an exception has ended or prevented.

    2 where the request is to be corrected; 3 where a storage, a service or the machine is.
    """
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else _of_code(rpc_code(error))


def rpc_code(error: BaseException) -> int:
    """Return the google.rpc.Code of an exception that has ended or prevented a job or command."""
    is_of_storage = isinstance(error, storage_errors())
    code = getattr(error, "code", None)  # of a JobError, TableError, ApiError
    if isinstance(code, int) and isinstance(error, Exception) and not is_of_storage:
        return code  # of a storage it is that of HTTP
    known = (code for kind, code in _BY_KIND if isinstance(error, kind))
    return next(known, UNAVAILABLE if is_of_storage else INTERNAL)


def _of_code(code: int) -> int:
    return WRONG_REQUEST if code in _OF_REQUESTS else BROKEN
