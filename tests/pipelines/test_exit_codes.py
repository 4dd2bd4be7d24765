"""Exit codes by the records of jobs."""

import pytest
from google.api_core.exceptions import ServiceUnavailable
from google.rpc.code_pb2 import (
    ABORTED,
    CANCELLED,
    DATA_LOSS,
    FAILED_PRECONDITION,
    INTERNAL,
    INVALID_ARGUMENT,
    NOT_FOUND,
    PERMISSION_DENIED,
    UNAVAILABLE,
)

from dicomferry.operations.folder import start_operation
from dicomferry.operations.outcomes import OutcomeCounts
from dicomferry.operations.record import Method, SampleError
from dicomferry.pipelines import exit_codes
from dicomferry.pipelines.import_request import ImportRequest
from dicomferry.pipelines.job import JobError, message_of
from dicomferry.storage.errors import MissingBucketError, NoCredentialsError, StorageError
from dicomferry.tables.errors import TableError, TableOutOfReachError
from tests.pipelines.jobs import STORE, new_store


@pytest.fixture
def ended(root):
    """Let an import end by the code of its error and its number of failures."""
    new_store(root)

    def end(code, failed=0):
        folder = start_operation(root, STORE, Method.IMPORT)
        record = folder.read()
        record.set_counts(OutcomeCounts(imported=2, failed=failed), 2 + failed)
        if code == DATA_LOSS:
            record.metadata.lagging = (SampleError("delta:/table", "GONE: why", DATA_LOSS),)
        record.finish(code, "why")
        folder.write(record)
        return record

    return end


@pytest.mark.parametrize(
    ("code", "failed", "exit_code"),
    [
        (0, 0, 0),
        (INVALID_ARGUMENT, 1, 0),
        (INVALID_ARGUMENT, 2, 1),
        (INVALID_ARGUMENT, 0, 2),  # the request of an operation that was recorded before
        (DATA_LOSS, 0, 1),
        (FAILED_PRECONDITION, 0, 2),
        (NOT_FOUND, 0, 2),
        (UNAVAILABLE, 0, 3),
        (UNAVAILABLE, 1, 3),
        (INTERNAL, 0, 3),
        (CANCELLED, 0, 3),
    ],
)
def test_a_record_tells_the_exit_code_with_one_failure_allowed(ended, code, failed, exit_code):
    assert exit_codes.of_record(ended(code, failed), max_failures=1) == exit_code


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (JobError(ABORTED, "x"), ABORTED, 3),
        (TableError("x"), FAILED_PRECONDITION, 2),
        (TableOutOfReachError("x"), UNAVAILABLE, 3),
        (TableOutOfReachError("x", PERMISSION_DENIED), PERMISSION_DENIED, 2),
        (NoCredentialsError("x"), UNAVAILABLE, 3),
        (StorageError("x"), INVALID_ARGUMENT, 2),
        (MissingBucketError("x"), NOT_FOUND, 2),
        (ServiceUnavailable("x"), UNAVAILABLE, 3),  # its own code is 503
        (OSError(28, "x"), UNAVAILABLE, 3),
        (ValueError("x"), INVALID_ARGUMENT, 2),
        (KeyboardInterrupt(), CANCELLED, 130),
        (AttributeError("x"), INTERNAL, 3),
    ],
)
def test_an_exception_tells_both_codes(error, code, exit_code):
    assert (exit_codes.rpc_code(error), exit_codes.of_error(error)) == (code, exit_code)


def test_the_text_of_an_exception_that_nobody_foresaw_is_not_told():
    try:
        Method.IMPORT.DOE_JANE  # noqa: B018
    except AttributeError as error:
        assert "DOE" in str(error)
        assert message_of(error).startswith("the job broke with AttributeError at ")
        assert "DOE" not in message_of(error)


@pytest.mark.parametrize(
    ("code", "failed", "is_taken"),
    [
        (0, 0, True),
        (INVALID_ARGUMENT, 1, True),
        (DATA_LOSS, 0, True),
        (INVALID_ARGUMENT, 0, False),
        (UNAVAILABLE, 1, False),
    ],
)
def test_only_what_an_import_that_reached_its_end_did_not_take_is_tried_again(
    root, ended, code, failed, is_taken
):
    request = ImportRequest(root=root, store=STORE, retry_failed=ended(code, failed).id)
    if is_taken:
        assert request.resolve().retried == []  # no list of outcomes was written
    else:
        with pytest.raises(ValueError, match="did not finish"):
            request.resolve()
