"""Jobs on engines whose waiting process is gone: their operations follow the job service.

A job on an engine (Flink, Spark, Prism) does its work without the process that started it. Once
that is gone, nobody writes the record; then `reconcile` asks the engine's job service for the state
of the job, and ends the operation with it.

References:
    Beam's job API, org.apache.beam.model.job_management.v1.JobService: GetJobs, Cancel.
"""

from typing import Any

import grpc
from google.rpc.code_pb2 import CANCELLED, NOT_FOUND, UNAVAILABLE

from dicomferry.operations.completion import OutcomeCountMismatchError, complete_from_outcomes
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.owner import EngineJob
from dicomferry.operations.record import OperationRecord

_TIMEOUT_SECONDS = 5
_ENDED = ("DONE", "FAILED", "CANCELLED", "DRAINED", "UPDATED")


class EngineError(RuntimeError):
    """A job service does not answer."""


def reconcile(folder: OperationFolder) -> OperationRecord:
    """Return the current record of an operation that was left to an engine.

    It is running as long as its job is; if that has ended, the operation ends. Cancellation that
    was requested meanwhile is handed on. If the engine does not know the job, or another process
    has ended the operation, the record stays as it is.

    Raises:
        EngineError: the job service does not answer.
    """
    record = folder.read()
    if not record.is_left_to_engine or record.engine is None:
        return record
    with _JobService(record.engine.endpoint) as service:
        job = service.find(record.engine)
        if job is None:
            return record
        running = folder.read_written()
        state = service.state_of(job)
        if state not in _ENDED:
            if folder.is_cancel_requested():
                service.cancel(job)
            return running
    if not running.done:
        _end(folder, running, state)
        folder.write(running)
    return running


def cancel(engine: EngineJob) -> None:
    """Cancel a job on its engine; one that has ended, or that is unknown there, stays as it is.

    Raises:
        EngineError: the job service does not answer.
    """
    with _JobService(engine.endpoint) as service:
        if job := service.find(engine):
            service.cancel(job)


def _end(folder: OperationFolder, record: OperationRecord, state: str) -> None:
    counts = folder.counts()
    total = record.total or counts.done
    record.set_counts(counts, total)
    flags = record.asked.flags if record.asked else {}
    if state == "CANCELLED":
        record.cut_short(CANCELLED, "cancelled on its engine")
    elif state != "DONE":
        record.cut_short(UNAVAILABLE, "the engine gave the job up, and its log says why")
    elif flags.get("table"):
        record.cut_short(UNAVAILABLE, "the process that would have loaded the rows is gone")
    elif not total and flags.get("source"):
        record.finish(NOT_FOUND, f"source {flags['source']!r} matches no files")
    else:
        try:
            complete_from_outcomes(record, folder, total, f"{record.metadata.method.noun}s")
        except OutcomeCountMismatchError as error:
            record.cut_short(UNAVAILABLE, str(error))


class _JobService:
    """The job service of an engine, as a context manager."""

    def __init__(self, endpoint: str) -> None:
        # Beam takes two seconds to import, and most operations are on no engine.
        from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

        self._messages = beam_job_api_pb2
        self._endpoint = endpoint
        self._channel = grpc.insecure_channel(endpoint)
        self._stub = beam_job_api_pb2_grpc.JobServiceStub(self._channel)

    def __enter__(self) -> "_JobService":
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def find(self, engine: EngineJob) -> Any | None:
        """Return the JobInfo of a job; None if the service does not know it.

        Ids are counted anew by a service that was started anew: only the name is the job's.
        """
        request = self._messages.GetJobsRequest()
        for job in self._call("GetJobs", request).job_info:
            options = job.pipeline_options.fields
            names = (options[key].string_value for key in options if "job_name" in key)
            if engine.job_name in names:
                return job
        return None

    def state_of(self, job: Any) -> str:
        """Return the name of the state of a job."""
        return str(self._messages.JobState.Enum.Name(job.state))

    def cancel(self, job: Any) -> None:
        """Cancel a job; one that has ended stays as it is."""
        self._call("Cancel", self._messages.CancelJobRequest(job_id=job.job_id))

    def _call(self, method: str, request: Any) -> Any:
        try:
            return getattr(self._stub, method)(request, timeout=_TIMEOUT_SECONDS)
        except grpc.RpcError:
            raise EngineError(
                f"the job service at {self._endpoint} does not answer: the job may go on there"
            ) from None
