"""Operations whose job goes on on its engine when the process that waited for it is gone."""

import subprocess
import sys
import threading
import time
from concurrent import futures

import grpc
import pytest
from apache_beam.metrics.monitoring_infos import int64_user_counter
from apache_beam.portability.api import beam_job_api_pb2 as api
from apache_beam.portability.api import beam_job_api_pb2_grpc
from google.longrunning import operations_pb2
from google.rpc.code_pb2 import ABORTED, CANCELLED, INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE
from typer.testing import CliRunner

from dicomferry import pipelines
from dicomferry.api.access import ANYONE
from dicomferry.api.operations_service import OperationsService
from dicomferry.cli.main import app
from dicomferry.jobs import elsewhere
from dicomferry.operations.asked import asked_by
from dicomferry.operations.folder import OperationFolder, new_operation_id
from dicomferry.operations.outcomes import OutcomeCounts, ProgressCounts
from dicomferry.operations.owner import EngineJob, Owner
from dicomferry.operations.record import Method
from dicomferry.operations.state import State, state_of
from dicomferry.pipelines.engine import _report_progress
from tests.pipelines.jobs import STORE, new_store

JOB = "dicomferry-20261124193740-ac319da9"


class Engine(beam_job_api_pb2_grpc.JobServiceServicer):
    """An engine's job service with jobs by their names; cancelled ones are ending."""

    def __init__(self):
        self.states = {JOB: "RUNNING"}
        self.asked = 0
        self.option = ""
        self.error = None

    def GetJobs(self, request, context):
        self.asked += 1
        if self.error:
            context.abort(self.error, "")
        response = api.GetJobsResponse()
        for number, (name, state) in enumerate(self.states.items()):
            # Prism gives every job of a Python SDK the same name, beside its options.
            job = response.job_info.add(
                job_id=f"job-{number}", job_name="job", state=api.JobState.Enum.Value(state)
            )
            job.pipeline_options["beam:option:job_name:v1"] = name
            job.pipeline_options["beam:option:more:v1"] = self.option
        return response

    def GetJobMetrics(self, request, context):
        response = api.GetJobMetricsResponse()
        for infos, done in ((response.metrics.committed, 4), (response.metrics.attempted, 5)):
            for namespace, name, value in [("read", "files", done), ("commit", "instances", 3)]:
                for step in ("one", "two"):
                    infos.append(int64_user_counter(namespace, name, value, ptransform=step))
        return response

    def Cancel(self, request, context):
        name = list(self.states)[int(request.job_id.removeprefix("job-"))]
        self.states[name] = "CANCELLING"
        return api.CancelJobResponse()


@pytest.fixture
def engine():
    engine = Engine()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    beam_job_api_pb2_grpc.add_JobServiceServicer_to_server(engine, server)
    engine.endpoint = f"localhost:{server.add_insecure_port('localhost:0')}"
    server.start()
    engine.server = server
    yield engine
    server.stop(None)


def left_to(endpoint, root, method=Method.IMPORT, total=0, **asked):
    """An operation whose process was killed while an engine does its work."""
    new_store(root)
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    ) as process:
        owner = Owner.of(process.pid)
    folder = OperationFolder(root, STORE.parent, new_operation_id())
    folder.start(STORE, method, owner, asked=asked_by(**asked))
    record = folder.read_written()
    record.engine, record.total = EngineJob(endpoint, JOB), total
    folder.write(record)
    return folder


@pytest.fixture
def left(root, engine):
    return left_to(engine.endpoint, root)


def test_it_runs_as_long_as_the_engine_says_so(left, engine):
    assert left.read().error.code == ABORTED, "its process is gone"
    for state in ("STARTING", "RUNNING", "CANCELLING"):
        engine.states[JOB] = state
        record = elsewhere.read(left)
        assert (record.done, record.error) == (False, None)
        assert record.counts == ProgressCounts(read=10, committed=6)


def test_a_process_that_waits_reports_what_the_engine_counts(left, engine, monkeypatch):
    monkeypatch.setattr(pipelines.engine, "_REPORT_SECONDS", 0.01)
    ended = threading.Event()
    job = EngineJob(engine.endpoint, JOB)
    reporting = threading.Thread(target=_report_progress, args=(job, left, ended))
    reporting.start()
    deadline = time.monotonic() + 30
    while left.progress() != ProgressCounts(read=10, committed=6):
        assert time.monotonic() < deadline
    ended.set()
    reporting.join()
    assert engine.asked == 1, "it is looked up by its name once"


def test_a_service_may_tell_of_many_jobs(left, engine):
    engine.option = "x" * (5 << 20)
    assert not elsewhere.read(left).done


def test_a_service_that_answers_with_an_error_is_not_silent(root, left, engine):
    engine.error = grpc.StatusCode.INTERNAL
    said = str(invoke("cancel", left.id, f"--root={root.root}").exception)
    assert f"{engine.endpoint} answers with INTERNAL" in said


@pytest.mark.parametrize("counts", [OutcomeCounts(imported=3), OutcomeCounts(imported=2, failed=1)])
def test_it_ends_with_its_job_by_its_outcomes(left, engine, counts):
    engine.states[JOB] = "DONE"
    left.write_counts("00000", counts)
    record = elsewhere.read(left)
    assert record.counts == counts
    assert (record.error.code if record.error else 0) == (INVALID_ARGUMENT if counts.failed else 0)
    engine.server.stop(None)
    assert left.read().to_json() == record.to_json(), "whoever reads it next asks no engine"


@pytest.mark.parametrize(
    ("state", "code", "message"),
    [
        ("CANCELLED", CANCELLED, "cancelled on its engine"),
        ("FAILED", UNAVAILABLE, "its log says why; 1 of 2 files are in the store; run it again"),
    ],
)
def test_it_ends_as_its_job_has_ended(root, engine, state, code, message):
    left = left_to(engine.endpoint, root, total=2)
    left.write_counts("00000", OutcomeCounts(imported=1))
    engine.states[JOB] = state
    error = elsewhere.read(left).error
    assert error.code == left.read().error.code == code
    assert message in error.message


def test_an_import_that_found_nothing_says_so(root, engine):
    left = left_to(engine.endpoint, root, source="gs://b/in/**")
    engine.states[JOB] = "DONE"
    assert elsewhere.read(left).error.code == NOT_FOUND


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (OutcomeCounts(failed=1), "the table has none of the rows; 0 of 1 instances"),
        (OutcomeCounts(exported=1), None),
    ],
)
def test_rows_are_exported_once_they_are_loaded(root, engine, counts, message):
    left = left_to(engine.endpoint, root, Method.EXPORT, total=1, table="delta:gs://b/t")
    left.write_counts("table", counts)
    engine.states[JOB] = "DONE"
    error = elsewhere.read(left).error
    assert (message in error.message) if message else error is None


def test_too_few_outcomes_are_no_success(root, engine):
    left = left_to(engine.endpoint, root, Method.EXPORT, total=2)
    left.write_counts("00000", OutcomeCounts(exported=1))
    engine.states[JOB] = "DONE"
    assert "1 outcomes were written for 2 instances" in elsewhere.read(left).error.message


def invoke(*arguments):
    return CliRunner().invoke(app, ["operations", *arguments])


def test_the_commands_show_and_cancel_it(root, left, engine):
    engine.states = {"another": "RUNNING"} | engine.states
    flag = f"--root={root.root}"
    assert "running" in invoke("list", flag).output
    assert "cancellation requested" in invoke("cancel", left.id, flag).output
    assert engine.states == {"another": "RUNNING", JOB: "CANCELLING"}
    assert state_of(elsewhere.read(left)) is State.CANCELLING
    engine.states[JOB] = "CANCELLED"
    assert "cancelled on its engine" in invoke("describe", left.id, flag).output
    assert "has ended already" in invoke("cancel", left.id, flag).output


def test_the_api_shows_and_cancels_it(root, left, engine):
    service = OperationsService(root)
    assert not service.get_operation(
        operations_pb2.GetOperationRequest(name=left.name), ANYONE
    ).done
    service.cancel_operation(operations_pb2.CancelOperationRequest(name=left.name), ANYONE)
    assert engine.states[JOB] == "CANCELLING"
    engine.states[JOB] = "CANCELLED"
    request = operations_pb2.WaitOperationRequest(name=left.name)
    assert service.wait_operation(request, ANYONE).error.code == CANCELLED


def test_what_was_requested_of_a_process_that_died_is_handed_on(left, engine):
    left.storage.write("cancel", b"")
    assert state_of(elsewhere.read(left)) is State.CANCELLING
    assert engine.states[JOB] == "CANCELLING"


def test_a_job_of_another_name_is_another_s(left, engine):
    engine.states = {"another": "RUNNING"}
    assert elsewhere.read(left).error.code == ABORTED
    elsewhere.request_cancel(left)
    assert engine.states == {"another": "RUNNING"}


def test_an_engine_that_does_not_answer_is_named(root, left, engine, caplog):
    engine.server.stop(None).wait()
    flag = f"--root={root.root}"
    assert elsewhere.read(left).error.code == ABORTED
    assert f"{engine.endpoint} does not answer: the job may still run" in caplog.text
    assert "does not answer" in str(invoke("cancel", left.id, flag).exception)


def test_lists_ask_an_engine_once_that_does_not_answer(left, engine, monkeypatch):
    engine.server.stop(None).wait()
    reader, calls = elsewhere.OperationReader(), []
    real = elsewhere.engine.reconcile
    monkeypatch.setattr(
        elsewhere.engine, "reconcile", lambda folder: calls.append(1) or real(folder)
    )
    assert [reader.read(left).error.code for _ in range(3)] == [ABORTED] * 3
    assert len(calls) == 1


def test_an_engine_is_not_asked_while_the_process_waits(root, engine):
    new_store(root)
    folder = OperationFolder(root, STORE.parent, new_operation_id())
    folder.start(STORE, Method.IMPORT)
    record = folder.read_written()
    record.engine = EngineJob(engine.endpoint, JOB)
    folder.write(record)
    engine.states[JOB] = "FAILED"
    assert not elsewhere.read(folder).done
    assert engine.asked == 0
