"""A job on an engine ends there when it ends here, and here it is told why it ended there."""

import traceback

import apache_beam as beam
import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.local_job_service import LocalJobServicer
from deltalake.exceptions import DeltaError
from google.rpc.code_pb2 import CANCELLED, INTERNAL, UNAVAILABLE
from obstore.exceptions import GenericError

from dicomferry.operations.folder import OperationFolder
from dicomferry.pipelines.engine import EnginePipeline, explain
from dicomferry.pipelines.job import Job, JobError
from dicomferry.storage.errors import StorageError
from tests.pipelines.jobs import import_of, new_store

PATIENT = "DOE^JANE"
TRACEBACK = """bundle inst002 stage-002 failed:Traceback (most recent call last):
  File "/app/f.py", line 10, in f
    raise it
%s

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1512, in apache_beam.runners.common.DoFnRunner.process
%s [while running 'ImportInstances/CommitInstances/Commit']
"""


class GoneError(grpc.RpcError):
    pass


def failed(error):
    [said] = traceback.format_exception_only(error)
    return f"Pipeline job-1 failed in state FAILED: {TRACEBACK % (said.strip(), said.strip())}"


@pytest.fixture
def job(root):
    new_store(root)
    return Job(import_of(root, "/in/*.dcm"), None)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyError(PATIENT), INTERNAL, "KeyError in ImportInstances/CommitInstances/Commit;"),
        (OSError(28, "No space left"), UNAVAILABLE, "failed: [Errno 28] No space left"),
        (BrokenPipeError(32, "Broken"), UNAVAILABLE, "storage failed: [Errno 32]"),
        (GenericError("http://h/x?y: reset"), UNAVAILABLE, "storage failed: a request"),
        (DeltaError(PATIENT), UNAVAILABLE, "storage failed: DeltaError"),
        (StorageError("no bucket b"), UNAVAILABLE, "storage failed: no bucket b"),
    ],
)
def test_what_workers_raised_ends_the_operation(job, error, code, message, caplog):
    with pytest.raises(JobError), job:
        raise RuntimeError(failed(error))
    error = job.folder.read().error
    assert error.code == code
    assert message in error.message
    assert PATIENT not in error.message + caplog.text
    assert "while running" not in error.message


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("Pipeline 1 failed in state FAILED: the slots are gone"), UNAVAILABLE),
        (RuntimeError("Pipeline 1 failed in state CANCELLED: unknown error"), CANCELLED),
        (GoneError(), UNAVAILABLE),
        (grpc.FutureTimeoutError(), UNAVAILABLE),
    ],
)
def test_what_an_engine_does_is_told_apart_from_faults_of_ours(error, code):
    assert explain(error)[0] == code


@pytest.mark.parametrize("error", [RuntimeError(PATIENT), ValueError("failed in state FAILED")])
def test_other_exceptions_are_not_the_engine_s(error):
    assert explain(error) is None


def test_a_job_that_breaks_or_is_interrupted_ends_on_its_engine_before_its_operation(job):
    ends = []
    job.stop_work = lambda: ends.append(job.folder.read().done)
    with pytest.raises(KeyboardInterrupt), job:
        raise KeyboardInterrupt
    assert ends == [False]


def test_a_job_that_succeeds_stops_nothing(job):
    ends = []
    job.stop_work = lambda: ends.append(True)
    with job:
        job.finish("files")
    assert ends == []


def test_an_operation_that_is_cancelled_ends_on_its_engine_first(job, monkeypatch):
    ends = []

    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr("os._exit", leave)
    job.stop_work = lambda: ends.append(job.folder.read().done)
    OperationFolder.request_cancel(job.folder)
    with pytest.raises(SystemExit):
        job._look()
    assert ends == [False]
    assert job.folder.read().error.code == CANCELLED


class Service(LocalJobServicer):
    """A job service that notes until when each stream of a job may last, in seconds from then."""

    def __init__(self):
        super().__init__()
        self.lasts = {"states": [], "messages": []}

    def GetStateStream(self, request, context=None, timeout=None):
        self.lasts["states"].append(context.time_remaining())
        yield from super().GetStateStream(request, context, timeout)

    def GetMessageStream(self, request, context=None, timeout=None):
        self.lasts["messages"].append(context.time_remaining())
        yield from super().GetMessageStream(request, context, timeout)


def test_a_job_may_last_longer_than_the_timeout_of_a_call_of_its_job_service(job):
    service = Service()
    port = service.start_grpc_server()
    flags = [
        "--runner=PortableRunner",
        f"--job_endpoint=localhost:{port}",
        "--environment_type=beam:env:embedded_python:v1",
        "--job_server_timeout=240",
    ]
    try:
        with EnginePipeline(job, PipelineOptions(flags)) as pipeline:
            _ = pipeline | beam.Create([1])
    finally:
        service.stop()
    for lasts in service.lasts.values():
        assert max(lasts) > 10**6, "a stream that ends with the timeout"
