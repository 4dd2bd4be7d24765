"""What both pipelines take from their command lines, and from Beam's options."""

import argparse
import difflib
import os
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
)

from dicomferry.operations.folder import new_operation_id
from dicomferry.operations.owner import DataflowJob
from dicomferry.pipelines.log_format import FORMATS
from dicomferry.pipelines.requests import Request
from dicomferry.resource_names import parse_store
from dicomferry.storage.registry import open_storage

R = TypeVar("R", bound=Request)

ROOT_VARIABLE = "DICOMFERRY_ROOT"
DEFAULT_ROOT = "./dicomferry-data"
# DirectRunner is a switch that downloads another runner where it can: users with and
# without internet would run different code.
_DEFAULT_RUNNER = "FnApiRunner"
_DATAFLOW = "DataflowRunner"
_LOCAL_RUNNERS = ("FnApiRunner", "DirectRunner", "PrismRunner", "BundleBasedDirectRunner")


class FlagParser(argparse.ArgumentParser):
    """A parser whose errors are one line: people call it by other commands than its own."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2, saying what is wrong."""
        self.exit(2, f"error: {message}\n")


def parse(
    parser: FlagParser,
    argv: Sequence[str],
    to_request: Callable[[argparse.Namespace, list[str]], R],
) -> tuple[R, PipelineOptions]:
    """Split argv into a request and Beam's options; exits with 2 if the request is wrong.

    Args:
        parser: has all flags of one pipeline.
        argv: the command line.
        to_request: makes the request of the known flags and of the arguments that are not ours.
    """
    known, beam_args = parser.parse_known_args(argv)
    try:
        request = to_request(known, beam_args)
        request.check()
        options = beam_options(beam_args)
        _refuse_unknown(parser, beam_args, options)
        _check_dataflow(options)
    except ValueError as error:
        parser.error(str(error))
    return request, options


def _refuse_unknown(parser: FlagParser, beam_args: list[str], options: PipelineOptions) -> None:
    """Refuse what neither we nor Beam know: Beam drops it, and a mistyped flag does nothing.

    Raises:
        ValueError: an argument is unknown.
    """
    if remote_runner(options) not in ("", _DATAFLOW):
        return  # job servers have flags of their own
    beam = FlagParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for each in PipelineOptions.__subclasses__():
        each._add_argparse_args(beam)
    _, unknown = beam.parse_known_args(beam_args)
    if unknown:
        flag = unknown[0].partition("=")[0]
        ours = [name for action in parser._actions for name in action.option_strings]
        meant = difflib.get_close_matches(flag, ours, n=1, cutoff=0.8)
        hint = f"did you mean {meant[0]}?" if meant else "--help lists them"
        raise ValueError(f"{flag} is a flag neither of this command nor of Beam: {hint}")


def add_common_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that both pipelines have."""
    parser.add_argument("--store", required=True, help="id or full resource name of the store")
    parser.add_argument(
        "--root",
        default=os.environ.get(ROOT_VARIABLE, DEFAULT_ROOT),
        help=f"where stores live: a folder or gs://bucket/prefix (default: ${ROOT_VARIABLE}, "
        f"else {DEFAULT_ROOT})",
    )
    parser.add_argument(
        "--max-failures",
        "--max_failures",
        type=int,
        default=0,
        help="exit with 0 if no more than this many files failed (default 0)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=None,
        help="processes that read and write (default: one a core; on a remote runner 0, "
        "the runner's own)",
    )
    parser.add_argument(
        "--operation",
        default="",
        metavar="ID",
        help="run the operation that was recorded for this process, once standard input ends, "
        "instead of a new one; for programs that start jobs",
    )
    parser.add_argument(
        "--log-format",
        "--log_format",
        choices=FORMATS,
        default="",
        help="of the lines on standard error: text, or json as Cloud Logging parses it (default: "
        "json where a job is launched on Dataflow by no person at a terminal, else text)",
    )


def is_true(text: str) -> bool:
    """The value of a flag that may stand alone: templates cannot but give one.

    Raises:
        ValueError: it is neither true nor false.
    """
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def common_fields(known: argparse.Namespace) -> dict[str, Any]:
    """The fields of `Request` from the flags that both pipelines have.

    Raises:
        ValueError: a store or root that is none.
    """
    return {
        "root": open_storage(known.root),
        "store": parse_store(known.store),
        "max_failures": known.max_failures,
        "workers": known.workers,
        "operation": known.operation,
        "log_format": known.log_format,
    }


def beam_options(beam_args: Sequence[str]) -> PipelineOptions:
    """Beam's options from the flags that are not ours; the default runner is FnApiRunner."""
    options = PipelineOptions(list(beam_args))
    standard = options.view_as(StandardOptions)
    if standard.runner is None:
        standard.runner = _DEFAULT_RUNNER
    cloud = options.view_as(GoogleCloudOptions)
    if remote_runner(options) == _DATAFLOW and not cloud.job_name:
        # By its name alone a job is found again, so no other may have it.
        cloud.job_name = f"dicomferry-{new_operation_id()}"
    return options


def remote_runner(options: PipelineOptions) -> str:
    """The name of a runner whose work happens on other machines, '' for a local one."""
    runner: str = options.view_as(StandardOptions).runner.rpartition(".")[2]
    return "" if runner in _LOCAL_RUNNERS else runner


def is_remote(options: PipelineOptions) -> bool:
    """Whether the work happens on other machines."""
    return bool(remote_runner(options))


def dataflow_job(options: PipelineOptions) -> DataflowJob | None:
    """The job that runs the pipeline on Dataflow; None with another runner."""
    if remote_runner(options) != _DATAFLOW:
        return None
    cloud = options.view_as(GoogleCloudOptions)
    return DataflowJob(cloud.project, cloud.region, cloud.job_name)


def _check_dataflow(options: PipelineOptions) -> None:
    if job := dataflow_job(options):
        for flag, value in (("--project", job.project), ("--region", job.region)):
            if not value:
                raise ValueError(f"DataflowRunner needs {flag}: name the one that the job runs in")


def worker_count(workers: int | None, options: PipelineOptions) -> int:
    """How many processes a stage may start beside the runner's own."""
    if workers is not None:
        return workers
    return 0 if is_remote(options) else os.cpu_count() or 1
