"""The graph of a job on an engine: it ends there when the job ends here, and says why here.

An engine is what a job service stands for: Flink, Spark, Prism. Its workers are other processes,
and what their exceptions say arrives as text.
"""

import contextlib
import copy
import functools
import logging
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
)
from apache_beam.portability.api import beam_job_api_pb2
from apache_beam.runners.portability.portable_runner import PipelineResult
from apache_beam.runners.runner import PipelineState
from apache_beam.utils.subprocess_server import SubprocessServer
from google.rpc.code_pb2 import CANCELLED, INTERNAL, UNAVAILABLE

from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.outcomes import ProgressCounts
from dicomferry.operations.owner import EngineJob
from dicomferry.operations.ownership import OwnedOperation
from dicomferry.pipelines.job_service import EngineError, JobService, what_failed
from dicomferry.pipelines.options import is_remote
from dicomferry.storage.errors import StorageError
from dicomferry.storage.failures import storage_errors, storage_message

_LOGGER = logging.getLogger(__name__)
_STOP_SECONDS = 30.0
_REPORT_SECONDS = 2.0
# The last line of a traceback: the kind of an exception, and its text.
_RAISED = re.compile(r"^(?:RuntimeError: )?([A-Za-z_][\w.]*)(?:: (.*))?$", re.MULTILINE)
_STEP = re.compile(r" \[while running '([^']*)'\]")


class EnginePipeline(beam.Pipeline):
    """A pipeline whose job on an engine ends when the process that waits for it gives up.

    The job may take any time: `--job_server_timeout` is for single answers of the job service.
    """

    def __init__(self, job: OwnedOperation, options: PipelineOptions) -> None:
        """Begin the graph of a job.

        Args:
            job: gets what stops its work, and the name of its job on a job service.
            options: Beam's.
        """
        endpoint = options.view_as(PortableOptions).job_endpoint
        self._engine = None
        if endpoint and is_remote(options):
            # All that a job service tells of a job later, and no two jobs have one name.
            options = copy.deepcopy(options)
            cloud = options.view_as(GoogleCloudOptions)
            cloud.job_name = f"{cloud.job_name or 'dicomferry'}-{job.folder.id}"
            self._engine = EngineJob(endpoint, cloud.job_name)
        super().__init__(options=options)
        self._job = job
        self._ended = threading.Event()

    def __exit__(self, *raised: Any) -> None:
        """Run the graph to its end; see `beam.Pipeline.__exit__`."""
        try:
            super().__exit__(*raised)
        finally:
            self._ended.set()

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Start the graph; see `beam.Pipeline.run`."""
        if self._engine:
            self._job.run_on(self._engine)
        result = super().run(*args, **kwargs)
        if isinstance(result, PipelineResult):
            _follow_to_the_end(result)
            self._job.stop_work = functools.partial(_stop, result)
            if self._engine:
                reporting = (self._engine, self._job.folder, self._ended)
                threading.Thread(target=_report_progress, args=reporting, daemon=True).start()
        return result


def run_to_the_end(pipeline: beam.Pipeline) -> None:
    """Run the graph of a job that belongs to no operation; it may take any time."""
    result = pipeline.run()
    if isinstance(result, PipelineResult):
        _follow_to_the_end(result)
    result.wait_until_finish()


def _follow_to_the_end(result: PipelineResult) -> None:
    """Ask for the states and messages of a job anew, without the deadline that Beam gives them.

    The job service repeats what has been since the start.
    """
    service, job = result._job_service, result._job_id
    result._state_stream = service.GetStateStream(beam_job_api_pb2.GetJobStateRequest(job_id=job))
    result._message_stream = service.GetMessageStream(
        beam_job_api_pb2.JobMessagesRequest(job_id=job)
    )


def _report_progress(engine: EngineJob, folder: OperationFolder, ended: threading.Event) -> None:
    """Report the counters of a job as those of one worker, until it has ended."""
    told, job = ProgressCounts(), None
    with JobService(engine.endpoint) as service:
        while not ended.wait(_REPORT_SECONDS):
            # It is an estimate: the next one will do.
            with contextlib.suppress(*storage_errors()):
                try:
                    job = job or service.find(engine)
                    counts = service.progress(job) if job else told
                except EngineError:
                    job = None  # a service that was started anew has other ids
                    continue
                if counts != told:
                    folder.report_progress("00000-engine", counts)
                    told = counts


def _stop(result: PipelineResult) -> None:
    """Cancel a job on its engine, and wait until it has ended; for half a minute at most."""
    thread = threading.Thread(target=_cancel, args=(result,), daemon=True)
    thread.start()
    thread.join(_STOP_SECONDS)
    if thread.is_alive():
        _LOGGER.warning("the job service does not answer: the job may still run")


def _cancel(result: PipelineResult) -> None:
    try:
        if not PipelineState.is_terminal(result.state):
            result.cancel()
        while not PipelineState.is_terminal(result.state):
            time.sleep(0.1)
    except grpc.RpcError:
        _LOGGER.warning("the job service is gone: the job may still run")


def stop_services() -> None:
    """End the job services that Beam has started for this process, which is about to exit.

    Beam leaves them to `atexit`, which the exit of a cancelled job goes past.
    """
    started = SubprocessServer._cache
    for user in list(started._live_owners):
        started.purge(user)


def keep_text_from_log() -> None:
    """Keep the text of exceptions, which can hold patient data, from this process's log.

    Beam logs it where a bundle breaks and where an engine reports it; a job that breaks logs the
    places instead.
    """
    for name in ("apache_beam.runners.common", "apache_beam.runners.worker.sdk_worker"):
        logging.getLogger(name).addFilter(lambda record: record.levelno < logging.ERROR)
    # Prism, where Beam starts it, writes lines of JSON.
    logging.getLogger("PrismJobServer").addFilter(
        lambda record: "Traceback" not in record.getMessage()
    )
    # What an engine reports is logged by the root logger itself.
    logging.getLogger().addFilter(
        lambda record: record.module != "portable_runner" or record.levelno < logging.ERROR
    )


def explain(error: BaseException) -> tuple[int, str] | None:
    """Return a google.rpc.Code and a message for what an engine raises here; None if it did not.

    For exceptions other than the storage's, only names and steps are reported: texts can hold
    patient data.
    """
    if isinstance(error, (grpc.RpcError, grpc.FutureTimeoutError)):
        said = what_failed(error)
        is_silent = said == "does not answer"
        remedy = "is it running at --job_endpoint?" if is_silent else "its log says why"
        return UNAVAILABLE, f"the job service {said}: {remedy}"
    if not isinstance(error, RuntimeError) or "failed in state" not in str(error):
        return None
    text = str(error)
    if "failed in state CANCELLED" in text:
        return CANCELLED, "cancelled on its engine"
    raised = [(name, said or "") for name, said in _RAISED.findall(text)]
    storage = dict(_named(storage_errors()))
    for name, said in raised:
        if kind := storage.get(name):
            told = StorageError(_STEP.sub("", said)) if _is_told(kind) else kind()
            return UNAVAILABLE, storage_message(told)
    if not raised:
        return UNAVAILABLE, "the engine gave up the job; its log says why; run the job again"
    steps = _STEP.findall(text)
    where = f" in {steps[0]}" if steps else ""
    return INTERNAL, f"the job broke with {raised[-1][0]}{where}; please report this"


def _is_told(kind: type[Exception]) -> bool:
    """Whether the text of a storage's exception is told; see `failure_text`."""
    from deltalake.exceptions import DeltaError

    return not issubclass(kind, DeltaError)


def _named(kinds: tuple[type[Exception], ...]) -> Iterator[tuple[str, type[Exception]]]:
    """Yield exceptions and all that derive from them, by their names in tracebacks."""
    for kind in kinds:
        is_builtin = kind.__module__ == "builtins"
        yield kind.__qualname__ if is_builtin else f"{kind.__module__}.{kind.__qualname__}", kind
        yield from _named(tuple(kind.__subclasses__()))
