"""Exit codes of jobs and commands: 0, 1, 2, 3 and 130."""

from google.rpc.code_pb2 import (
    ALREADY_EXISTS,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    OUT_OF_RANGE,
    PERMISSION_DENIED,
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
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, NoCredentialsError):
        return BROKEN
    code = getattr(error, "code", None)  # of a JobError
    if isinstance(code, int) and not isinstance(error, storage_errors()):
        return _of_code(code)
    return WRONG_REQUEST if isinstance(error, (ValueError, LookupError)) else BROKEN


def _of_code(code: int) -> int:
    return WRONG_REQUEST if code in _OF_REQUESTS else BROKEN
