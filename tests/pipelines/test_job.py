"""Whatever ends a job is the error of its operation, with a code and without patient data."""

import grpc
import pytest
from deltalake.exceptions import DeltaError
from google.rpc.code_pb2 import CANCELLED, FAILED_PRECONDITION, INTERNAL, NOT_FOUND, UNAVAILABLE

from dicomferry.operations.outcomes import OutcomeCounts
from dicomferry.pipelines.job import Job, JobError
from tests.pipelines.jobs import STORE, import_of, lose_store, new_store

PATIENT = "DOE^JANE"


@pytest.fixture
def job(root):
    new_store(root)
    return Job(import_of(root, "/in/*.dcm"), None)


def test_a_job_whose_outcomes_do_not_add_up_is_an_error(job):
    with (
        pytest.raises(JobError, match="3 outcomes were written for 4 files"),
        job,
    ):
        job.expect(4)
        job.folder.write_counts("00000", OutcomeCounts(imported=2, failed=1))
        job.finish("files")
    assert job.folder.read().error.code == INTERNAL


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (OSError(28, "No space left on device"), UNAVAILABLE, "storage failed: .*No space left"),
        (DeltaError(PATIENT), UNAVAILABLE, "storage failed: DeltaError"),
        (grpc.RpcError(PATIENT), UNAVAILABLE, "the job service does not answer: is it running"),
        (ZeroDivisionError(PATIENT), INTERNAL, "the job broke with ZeroDivisionError"),
    ],
)
def test_an_exception_ends_the_operation_with_its_reason(job, error, code, message, caplog):
    with pytest.raises(JobError, match=message), job:
        raise RuntimeError(PATIENT) from error
    record = job.folder.read()
    assert record.error.code == code
    assert PATIENT not in record.error.message + caplog.text


def test_a_job_error_is_the_error_of_the_operation(job):
    with pytest.raises(JobError), job:
        raise JobError(FAILED_PRECONDITION, "the table is closed")
    assert job.folder.read().error[:2] == (FAILED_PRECONDITION, "the table is closed")


def test_an_interrupted_job_is_cancelled(job):
    with pytest.raises(KeyboardInterrupt), job:
        raise KeyboardInterrupt
    assert job.folder.read().error.code == CANCELLED


def test_a_job_whose_store_was_deleted_says_so(root, job):
    with pytest.raises(JobError, match="was deleted meanwhile"), job:
        lose_store(root, STORE)
        raise ValueError
    assert job.folder.read().error.code == NOT_FOUND
