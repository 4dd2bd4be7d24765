"""The command line of a pipeline: its own flags, and Beam's options."""

import argparse
import difflib
import functools
import itertools
import logging
import os
from collections.abc import Sequence
from typing import NoReturn, TypeVar, cast

from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
)

from dicomferry.extras import require
from dicomferry.operations.folder import new_operation_id
from dicomferry.operations.owner import DataflowJob
from dicomferry.pipelines import log_format
from dicomferry.pipelines.flags import add_flags, flags_of, from_namespace
from dicomferry.pipelines.requests import Request
from dicomferry.sources.uri import check_arguments

_LOGGER = logging.getLogger(__name__)

R = TypeVar("R", bound=Request)
View = TypeVar("View", bound=PipelineOptions)

# DirectRunner is a switch that downloads another runner where it can: users with and
# without internet would run different code.
_DEFAULT_RUNNER = "FnApiRunner"
_DATAFLOW = "DataflowRunner"
_LOCAL_RUNNERS = ("FnApiRunner", "DirectRunner", "PrismRunner", "BundleBasedDirectRunner")


class FlagParser(argparse.ArgumentParser):
    """A parser whose errors are one line: commands of other names use it too."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2, saying what is wrong."""
        if log_format.is_json():
            _LOGGER.error("%s", message)
            self.exit(2)
        self.exit(2, f"error: {message}\n")


def make_parser(kind: type[Request]) -> FlagParser:
    """Return a parser that has all flags of a pipeline."""
    parser = FlagParser(
        prog=f"python -m dicomferry.pipelines.{kind.pipeline}",
        description=f"{kind.description} Flags not listed go to Beam.",
        allow_abbrev=False,
    )
    add_flags(parser, kind)
    return parser


def parse(kind: type[R], argv: Sequence[str]) -> tuple[R, PipelineOptions]:
    """Split a command line into a request and Beam's options; exit with 2 if one is wrong."""
    parser = make_parser(kind)
    known, beam_args = parser.parse_known_args(argv)
    try:
        # A pattern that a shell has expanded comes before any flag of Beam.
        expanded = itertools.takewhile(lambda arg: not arg.startswith("-"), beam_args)
        if source := getattr(known, "source", ""):
            check_arguments([source, *expanded])
        request = from_namespace(kind, known)
        request.check()
        options = beam_options(beam_args)
        _refuse_unknown(kind, beam_args, options)
        _check_dataflow(options)
    except ValueError as error:
        parser.error(str(error))
    return request, options


def _refuse_unknown(kind: type[Request], beam_args: list[str], options: PipelineOptions) -> None:
    """Refuse flags unknown to both us and Beam: Beam drops them, so a typo would do nothing.

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
        typed = [each for each in flags_of(kind) if each.flag.in_commands]
        names = [f"--{each.name}" if "_" in flag else each.option for each in typed]
        close = difflib.get_close_matches(flag, names, n=1, cutoff=0.8)
        hint = f"did you mean {close[0]}?" if close else "--help lists them"
        raise ValueError(f"{flag} is neither a flag of this command nor of Beam: {hint}")


class _Options(PipelineOptions):
    """Options that parse the flags once for each kind of view; all views share their values.

    Beam asks for a view at each step of a graph, and each one parses the flags anew.
    """

    @functools.cached_property
    def _views(self) -> dict[type[PipelineOptions], PipelineOptions]:
        return {}

    def view_as(self, cls: type[View]) -> View:
        """Return the view; see `PipelineOptions.view_as`."""
        if cls not in self._views:
            self._views[cls] = super().view_as(cls)
        return cast(View, self._views[cls])


def beam_options(beam_args: Sequence[str] = ()) -> PipelineOptions:
    """Return Beam's options from flags that are not ours; the default runner is FnApiRunner."""
    options = _Options(list(beam_args))
    standard = options.view_as(StandardOptions)
    if standard.runner is None:
        standard.runner = _DEFAULT_RUNNER
    cloud = options.view_as(GoogleCloudOptions)
    if remote_runner(options) == _DATAFLOW and not cloud.job_name:
        # A job is found again by its name alone, so the name must be unique.
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
        require("gcp", "DataflowRunner")
        for flag, value in (("--project", job.project), ("--region", job.region)):
            if not value:
                raise ValueError(f"DataflowRunner needs {flag}: name the one that the job runs in")


def worker_count(workers: int | None, options: PipelineOptions) -> int:
    """How many processes a stage may start beside the runner's own."""
    if workers is not None:
        return workers
    return 0 if is_remote(options) else os.cpu_count() or 1
