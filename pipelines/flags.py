"""What both pipelines take from their command lines, and what they refuse early."""

import argparse
import os
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from stores.storage import Storage

ROOT_VARIABLE = "DICOMFERRY_ROOT"
DEFAULT_ROOT = "./dicomferry-data"
# DirectRunner is a switch that downloads another runner where it can: users with and
# without internet would run different code.
_DEFAULT_RUNNER = "FnApiRunner"
_LOCAL_RUNNERS = ("FnApiRunner", "DirectRunner", "PrismRunner", "BundleBasedDirectRunner")


def add_common_flags(parser: argparse.ArgumentParser) -> None:
    """Add --store, --root, --max-failures and --workers."""
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


def beam_options(beam_args: Sequence[str]) -> PipelineOptions:
    """Beam's options from the flags that are not ours; the default runner is FnApiRunner."""
    options = PipelineOptions(list(beam_args))
    standard = options.view_as(StandardOptions)
    if standard.runner is None:
        standard.runner = _DEFAULT_RUNNER
    return options


def is_remote(options: PipelineOptions) -> bool:
    """Whether the work happens on other machines."""
    runner: str = options.view_as(StandardOptions).runner
    return runner.rpartition(".")[2] not in _LOCAL_RUNNERS


def refuse_local_paths(options: PipelineOptions, **storages: Storage) -> None:
    """Refuse what workers of a remote runner cannot reach.

    Raises:
        ValueError: one of the storages, named by its flag, is local.
    """
    if not is_remote(options):
        return
    for flag, storage in storages.items():
        if storage.is_local:
            raise ValueError(
                f"--{flag} {storage.root} is a local path, which the workers of "
                f"{options.view_as(StandardOptions).runner} cannot reach: use gs://bucket/prefix"
            )


def worker_count(workers: int | None, options: PipelineOptions) -> int:
    """How many processes a stage may start beside the runner's own."""
    if workers is not None:
        return workers
    return 0 if is_remote(options) else os.cpu_count() or 1
