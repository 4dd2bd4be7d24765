r"""Export the instances of a store as files.

Local:    python -m pipelines.export_dicom --store S --destination out
Dataflow: the same with gs:// paths, and --runner=DataflowRunner --project=P --region=R \
          --temp_location=gs://B/tmp --setup_file=./setup.py
"""

import argparse
import dataclasses
import logging
import sys
from collections import Counter
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.flags import (
    add_common_flags,
    beam_options,
    is_remote,
    refuse_local_paths,
    worker_count,
)
from pipelines.job import Job, JobError, Show
from stores import operations
from stores.dicom_store import get_store
from stores.index import Index
from stores.names import StoreName, parse_store
from stores.operations import Operation
from stores.storage import Storage
from transforms.export_files import ExportFiles
from transforms.progress import Progress
from transforms.read_index import ReadIndex
from transforms.write_instance import FileTarget
from transforms.write_outcomes import WriteOutcomes

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Config:
    """What to export; fields mirror the flags, see --help."""

    root: Storage
    store: StoreName
    destination: Storage
    snapshot: int | None = None
    max_failures: int = 0
    workers: int | None = None


def parse_args(argv: Sequence[str]) -> tuple[Config, PipelineOptions]:
    """Split argv into this job's config and Beam's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.export_dicom",
        description="Export the instances of a store as files. Flags not listed go to Beam.",
        allow_abbrev=False,
    )
    add_common_flags(parser)
    parser.add_argument("--destination", required=True, help="folder or gs://bucket/prefix")
    parser.add_argument("--snapshot", type=int, default=None, help="version of the store")
    known, beam_args = parser.parse_known_args(argv)
    try:
        config = Config(
            root=Storage(known.root),
            store=parse_store(known.store),
            destination=Storage(known.destination),
            snapshot=known.snapshot,
            max_failures=known.max_failures,
            workers=known.workers,
        )
        check(config)
    except ValueError as error:
        parser.error(str(error))
    return config, beam_options(beam_args)


def check(config: Config) -> None:
    """Refuse a wrong request before anything starts.

    Raises:
        ValueError: with what is wrong and what to do.
    """
    if config.max_failures < 0:
        raise ValueError(f"--max-failures must be 0 or more, got {config.max_failures}")
    if config.workers is not None and config.workers < 0:
        raise ValueError(f"--workers must be 0 or more, got {config.workers}")


def build(
    pipeline: beam.Pipeline,
    files: Sequence[str],
    config: Config,
    data: Storage,
    job: Job,
    options: PipelineOptions,
) -> beam.PCollection[Counter[str]]:
    """Lay out the graph; nothing is read or written here."""
    remote = is_remote(options)
    progress = Progress(None if remote else job.folder)
    return (
        pipeline
        | "Files" >> beam.Create(files, reshuffle=False)
        | "ReadIndex" >> ReadIndex(data)
        | "ExportFiles"
        >> ExportFiles(
            FileTarget(data, config.destination), worker_count(config.workers, options), progress
        )
        | "WriteOutcomes" >> WriteOutcomes(job.folder, "00000", shards=64 if remote else 1)
    )


def run(config: Config, options: PipelineOptions, show: Show | None = None) -> Operation:
    """Run an export to its end and return the finished operation.

    Raises:
        JobError: the job broke; the operation says so too.
        ValueError, LookupError: the request is wrong; no operation was started.
    """
    check(config)
    data = get_store(config.root, config.store).data
    refuse_local_paths(options, root=config.root, destination=config.destination)
    index = Index(data, config.snapshot)
    with Job(config.root, config.store, "ExportDicomData", show) as job:
        job.expect(index.count())
        with beam.Pipeline(options=options) as pipeline:
            build(pipeline, index.files, config, data, job, options)
        return job.finish("instances")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; return the process exit code."""
    config, options = parse_args(sys.argv[1:] if argv is None else argv)
    try:
        operation = run(config, options)
    except (JobError, ValueError, LookupError) as error:
        _LOGGER.error("%s", error)
        return 2
    _LOGGER.info("%s", operations.summary(operation))
    return 0 if operations.failures(Counter(operation["counts"])) <= config.max_failures else 1


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    sys.exit(main())
