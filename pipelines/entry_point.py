"""Entry point shared by both pipelines: runs the job, logs errors, returns the exit code."""

import functools
import json
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from apache_beam.options.pipeline_options import PipelineOptions

from dicomferry.operations.folder import adopt_operation
from dicomferry.operations.ownership import ProgressCallback
from dicomferry.operations.record import OperationRecord
from dicomferry.pipelines import engine, exit_codes, log_format
from dicomferry.pipelines.job import Job, JobError, message_of
from dicomferry.pipelines.log_format import LogFormat
from dicomferry.pipelines.options import dataflow_job, parse, remote_runner
from dicomferry.pipelines.requests import Request
from dicomferry.pipelines.summary_file import SummaryFile
from dicomferry.places.confinement import confine_writes
from dicomferry.transforms.worker_pool import close_shared_pools

_LOGGER = logging.getLogger(__name__)

R = TypeVar("R", bound=Request)


def run_job(
    request: Request,
    options: PipelineOptions,
    work: Callable[[Any, Job], OperationRecord],
    on_progress: ProgressCallback | None = None,
) -> OperationRecord:
    """Run a job to its end, under a new operation or the one that the request names.

    Args:
        request: the job.
        options: Beam's.
        work: does the job, given the result of `request.resolve` and the operation's owner.
        on_progress: called with the progress twice a second.

    Raises:
        JobError: the job broke; the operation says so too.
        ValueError, LookupError: the request is wrong; no operation was started or touched.
    """
    summary = SummaryFile(request)
    try:
        record = _run_owned(request, options, work, on_progress, summary)
    except BaseException as error:
        summary.end_with(error)
        raise
    summary.end(record)
    return record


def _run_owned(
    request: Request,
    options: PipelineOptions,
    work: Callable[[Any, Job], OperationRecord],
    on_progress: ProgressCallback | None,
    summary: SummaryFile,
) -> OperationRecord:
    runner, adopted, resolved = remote_runner(options), None, None
    if request.operation:
        parent, owner = request.store.parent, dataflow_job(options)
        adopted = adopt_operation(request.root, parent, request.operation, owner)
    else:
        resolved = request.resolve(runner)
    with Job(request, on_progress, adopted) as job:
        summary.begin(job.folder)
        job.before_exit = functools.partial(_before_exit, summary)
        if adopted:
            try:
                resolved = request.resolve(runner)
            except (ValueError, LookupError) as error:
                # The process that recorded it took a quick look alone, and things change.
                raise JobError(exit_codes.rpc_code(error), str(error)) from error
        return work(resolved, job)
    return job.reload()


def _before_exit(summary: SummaryFile) -> None:
    """Free what a cancelled job holds, and write its summary."""
    close_shared_pools()
    engine.stop_services()
    summary.end_cancelled()


def main(
    kind: type[R],
    run: Callable[[R, PipelineOptions], OperationRecord],
    argv: Sequence[str] | None = None,
) -> int:
    """Run a pipeline by its command line; return the process exit code.

    Args:
        kind: of the pipeline's requests.
        run: runs the pipeline.
        argv: the arguments; default: those of this process.
    """
    argv = sys.argv[1:] if argv is None else argv
    if log_format.is_requested(argv):
        log_format.set_up(LogFormat.JSON)
    try:
        request, options = parse(kind, argv)
        is_dataflow = dataflow_job(options) is not None
        if log_format.choose(request.log_format, is_dataflow=is_dataflow) == LogFormat.JSON:
            log_format.set_up(LogFormat.JSON)
        if request.operation and not is_dataflow:
            _wait_for_record()
            _confine(request)
        operation = run(request, options)
    except KeyboardInterrupt as error:
        _LOGGER.error("%s", str(error) or "interrupted; what was committed stays, run it again")
        return exit_codes.of_error(error)
    except Exception as error:
        _LOGGER.error("%s", message_of(error))
        return exit_codes.of_error(error)
    summary = operation.summary()
    _LOGGER.info("%s", summary, extra={"payload": json.loads(summary)})
    return exit_codes.of_record(operation, request.max_failures)


def _wait_for_record() -> None:
    """Wait until the parent has recorded this process as the operation's owner, or has died.

    The record has this process's id, so the process starts first. The parent closes our standard
    input after writing the record, or when it dies; then read the record.
    """
    if not sys.stdin.isatty():
        sys.stdin.buffer.read()


def _confine(request: Request) -> None:
    """Let the kernel hold a job of a server to its bounds, whatever links lead to by then."""
    folders = request.writable_folders()
    if folders is not None and not confine_writes(folders):
        _LOGGER.warning(
            "this kernel has no Landlock: where a job may write is checked only before it starts"
        )


def exit_with(main: Callable[[], int]) -> NoReturn:
    """Run a program as this process, and exit with its code."""
    log_format.set_up(LogFormat.TEXT)
    sys.exit(main())
