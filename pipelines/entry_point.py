"""What both pipelines are as programs: a job around their work, messages, exit codes."""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from apache_beam.options.pipeline_options import PipelineOptions
from google.rpc.code_pb2 import INVALID_ARGUMENT, NOT_FOUND

from dicomferry.operations.folder import adopt_operation
from dicomferry.operations.owner import DataflowJob
from dicomferry.operations.ownership import ProgressCallback
from dicomferry.operations.record import Method, OperationRecord
from dicomferry.pipelines import log_format
from dicomferry.pipelines.job import (
    Job,
    JobError,
)
from dicomferry.pipelines.options import dataflow_job
from dicomferry.pipelines.requests import Request
from dicomferry.storage.failures import storage_errors, storage_message

_LOGGER = logging.getLogger(__name__)

Q = TypeVar("Q", bound=Request)
F = TypeVar("F")


def run_job(
    method: Method,
    request: Request,
    prepare: Callable[[], F],
    work: Callable[[F, Job], OperationRecord],
    show: ProgressCallback | None,
    owner: DataflowJob | None = None,
) -> OperationRecord:
    """Run a job to its end, under a new operation or the one that the request names.

    Args:
        method: ImportDicomData or ExportDicomData.
        request: what is asked for.
        prepare: refuses a wrong request, and finds what the job is about.
        work: does it.
        show: is told about progress.
        owner: the Dataflow job that `work` hands the operation over to, if there is one.

    Raises:
        JobError: the job broke; the operation says so too.
        ValueError, LookupError: the request is wrong; no operation was started or touched.
    """
    if not request.operation:
        found = prepare()
        with Job(request.root, request.store, method, show) as job:
            return work(found, job)
        return job.folder.read()
    adopted = adopt_operation(request.root, request.store.parent, request.operation, owner)
    with Job(request.root, request.store, method, show, adopted) as job:
        try:
            found = prepare()
        except (ValueError, LookupError) as error:
            # Who recorded it found nothing wrong, so this has changed since.
            is_missing = isinstance(error, LookupError)
            code = NOT_FOUND if is_missing else INVALID_ARGUMENT
            raise JobError(code, str(error)) from error
        return work(found, job)
    return job.folder.read()


def main(
    argv: Sequence[str] | None,
    parse_args: Callable[[Sequence[str]], tuple[Q, PipelineOptions]],
    run: Callable[[Q, PipelineOptions], OperationRecord],
) -> int:
    """Run a pipeline by its command line; return the process exit code."""
    request, options = parse_args(sys.argv[1:] if argv is None else argv)
    owner = dataflow_job(options)
    if log_format.choose(request.log_format, is_dataflow=owner is not None) == "json":
        log_format.set_up("json")
    try:
        if request.operation and not owner:
            _wait_for_record()
        operation = run(request, options)
    except (JobError, ValueError, LookupError) as error:
        _LOGGER.error("%s", error)
        return 2
    except storage_errors() as error:
        _LOGGER.error("%s", storage_message(error))
        return 2
    summary = operation.summary()
    _LOGGER.info("%s", summary, extra={"payload": json.loads(summary)})
    return 0 if operation.counts.failures <= request.max_failures else 1


def _wait_for_record() -> None:
    """Wait until who started this process has recorded it as the owner, or has died.

    The record needs the process's number, so the process is there first. Its standard input is
    a pipe that ends either way; then the record is there, or never will be.
    """
    if not sys.stdin.isatty():
        sys.stdin.buffer.read()


def exit_with(main: Callable[[], int]) -> NoReturn:
    """Run a program as the process that it is."""
    log_format.set_up("text")
    sys.exit(main())
