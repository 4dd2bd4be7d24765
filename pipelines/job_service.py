"""The job service of an engine: find a job there, its state and progress, cancel it.

References:
    Beam's job API, org.apache.beam.model.job_management.v1.JobService: GetJobs, GetJobMetrics,
    Cancel.
"""

from collections import Counter
from typing import Any

import grpc

from dicomferry.operations.outcomes import ProgressCounts
from dicomferry.operations.owner import EngineJob
from dicomferry.transforms.progress import COUNTERS

_TIMEOUT_SECONDS = 5
# A service tells of all of its jobs at once, with the options of each.
_ANY_SIZE = (("grpc.max_receive_message_length", -1),)
_SILENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class EngineError(RuntimeError):
    """A job service does not answer, or answers with an error."""


def what_failed(error: BaseException) -> str:
    """Return what to say of a job service that has failed a call."""
    code = error.code() if isinstance(error, grpc.Call) else None
    return "does not answer" if code is None or code in _SILENT else f"answers with {code.name}"


class JobService:
    """The job service of an engine, as a context manager.

    Its methods raise `EngineError` if the service does not answer, or with an error.
    """

    def __init__(self, endpoint: str) -> None:
        """Name the service; nothing is asked yet.

        Args:
            endpoint: host:port.
        """
        # Beam takes two seconds to import, and most operations are on no engine.
        from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

        self._messages = beam_job_api_pb2
        self._endpoint = endpoint
        self._channel = grpc.insecure_channel(endpoint, _ANY_SIZE)
        self._stub = beam_job_api_pb2_grpc.JobServiceStub(self._channel)

    def __enter__(self) -> "JobService":
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

    def progress(self, job: Any) -> ProgressCounts:
        """Return an estimate of the progress of a job, from its counters."""
        from apache_beam.runners.portability.portable_metrics import from_monitoring_infos

        request = self._messages.GetJobMetricsRequest(job_id=job.job_id)
        metrics = self._call("GetJobMetrics", request).metrics
        # What was tried includes what is done, where an engine tells of both.
        counts: Counter[str] = Counter()
        for infos in (metrics.committed, metrics.attempted):
            sums: Counter[str] = Counter()
            for key, value in from_monitoring_infos(infos, user_metrics_only=True)[0].items():
                if field := COUNTERS.get((key.metric.namespace, key.metric.name)):
                    sums[field] += value
            counts |= sums
        return ProgressCounts(**counts)

    def _call(self, method: str, request: Any) -> Any:
        try:
            return getattr(self._stub, method)(request, timeout=_TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            raise EngineError(
                f"the job service at {self._endpoint} {what_failed(error)}: the job may still run"
            ) from None
