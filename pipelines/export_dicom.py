r"""Export the instances of a store, as files or as rows of a table.

Local:    python -m pipelines.export_dicom --store S --destination out
          python -m pipelines.export_dicom --store S --table duckdb:meta.duckdb#dicom.instances
Dataflow: the same with gs:// paths, and --runner=DataflowRunner --project=P --region=R \
          --temp_location=gs://B/tmp --setup_file=./setup.py
"""

import argparse
import dataclasses
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

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
from stores import gcs, operations
from stores.dicom_store import get_store
from stores.index import Index
from stores.names import StoreName, parse_store
from stores.operations import Operation, OperationFolder
from stores.resource_paths import ResourcePaths, read_resource_paths
from stores.storage import Storage
from tables.destination import (
    Destination,
    DuckDBTable,
    WriteDisposition,
    parse_destination,
    parse_disposition,
)
from tables.errors import TableError
from tables.loading import Connections, load
from tables.loading import check as check_table
from tables.shards import Shards
from transcode.formats import AS_UPLOADED, Format, parse_format
from transcode.quality import DEFAULT_QUALITY, Quality
from transforms.export_files import ExportFiles
from transforms.export_table import ExportTable, read_written, record_loaded
from transforms.progress import Progress
from transforms.read_index import ReadIndex
from transforms.worker_pool import close_shared_pools
from transforms.write_instance import FileTarget
from transforms.write_outcomes import WriteOutcomes, report_unmatched
from transforms.write_rows import TableTarget

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Config:
    """What to export; fields mirror the flags, see --help. Either destination or table is set."""

    root: Storage
    store: StoreName
    destination: Storage | None = None
    table: Destination | None = None
    write_disposition: WriteDisposition = WriteDisposition.WRITE_EMPTY
    flattened: bool = True
    include_source_store: bool = False
    format: Format = AS_UPLOADED
    quality: Quality = DEFAULT_QUALITY
    filter: str = ""
    snapshot: int | None = None
    max_failures: int = 0
    workers: int | None = None


def parse_args(argv: Sequence[str]) -> tuple[Config, PipelineOptions]:
    """Split argv into this job's config and Beam's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.export_dicom",
        description="Export the instances of a store, as files or as rows of a table. "
        "Flags not listed go to Beam.",
        allow_abbrev=False,
    )
    add_common_flags(parser)
    parser.add_argument("--destination", default="", help="folder or gs://bucket/prefix")
    parser.add_argument(
        "--table",
        default="",
        help="bq://project.dataset.table, duckdb:FILE#schema.table or delta:FOLDER",
    )
    parser.add_argument(
        "--write-disposition",
        "--write_disposition",
        default="",
        help="of the table: WRITE_EMPTY (default), WRITE_TRUNCATE or WRITE_APPEND",
    )
    parser.add_argument(
        "--schema",
        choices=["flattened", "json"],
        default="flattened",
        help="of the table: a column an attribute, or one with the DICOM JSON (default flattened)",
    )
    parser.add_argument(
        "--include-source-store",
        "--include_source_store",
        action="store_true",
        help="add the column SourceDicomStore to the table",
    )
    parser.add_argument(
        "--mime-type", "--mime_type", default="", help="as `dicomferry formats` lists; as uploaded"
    )
    parser.add_argument(
        "--filter",
        default="",
        help="file, local or gs://, of /studies/UID[/series/UID[/instances/UID]], one a line",
    )
    parser.add_argument("--snapshot", type=int, default=None, help="version of the store")
    quality = DEFAULT_QUALITY
    parser.add_argument("--jpeg-quality", type=int, default=quality.jpeg_quality)
    parser.add_argument("--j2k-ratio", type=float, default=quality.j2k_ratio)
    parser.add_argument("--jpegls-near", type=int, default=quality.jpegls_near)
    parser.add_argument("--jxl-distance", type=float, default=quality.jxl_distance)
    known, beam_args = parser.parse_known_args(argv)
    try:
        config = Config(
            root=Storage(known.root),
            store=parse_store(known.store),
            destination=Storage(known.destination) if known.destination else None,
            table=parse_destination(known.table) if known.table else None,
            write_disposition=parse_disposition(known.write_disposition or None),
            flattened=known.schema == "flattened",
            include_source_store=known.include_source_store,
            format=parse_format(known.mime_type),
            quality=Quality(
                known.jpeg_quality, known.j2k_ratio, known.jpegls_near, known.jxl_distance
            ),
            filter=known.filter,
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
    if (config.destination is None) == (config.table is None):
        raise ValueError("name either a --destination for files or a --table for rows")
    config.quality.validate()
    if config.max_failures < 0:
        raise ValueError(f"--max-failures must be 0 or more, got {config.max_failures}")
    if config.workers is not None and config.workers < 0:
        raise ValueError(f"--workers must be 0 or more, got {config.workers}")


def build(
    pipeline: beam.Pipeline,
    files: Sequence[str],
    config: Config,
    data: Storage,
    paths: ResourcePaths | None,
    job: OperationFolder,
    options: PipelineOptions,
) -> beam.PCollection[Any]:
    """Lay out the graph; nothing is read or written here."""
    remote = is_remote(options)
    progress = Progress(None if remote else job)
    workers = worker_count(config.workers, options)
    index_files = pipeline | "Files" >> beam.Create(files, reshuffle=False)
    if config.table is not None:
        source_store = str(config.store) if config.include_source_store else ""
        rows = TableTarget(config.table, config.flattened, source_store)
        return index_files | ExportTable(data, job, rows, workers, progress, paths)
    assert config.destination is not None
    target = FileTarget(data, config.destination, config.format, config.quality)
    return (
        index_files
        | "ReadIndex" >> ReadIndex(data, paths)
        | "ExportFiles" >> ExportFiles(target, workers, progress)
        | "WriteOutcomes" >> WriteOutcomes(job, "00000", shards=64 if remote else 1)
    )


def load_table(config: Config, job: OperationFolder) -> None:
    """Put the rows that the pipeline wrote into the table, by one load.

    Raises:
        TableError: the table refuses them; it is as it was.
    """
    assert config.table is not None
    written = read_written(job)
    shards = Shards(tuple(map(job.storage.uri, written.shards)), _read_shard)
    connections = Connections(gcs.delta_storage_options())
    close_shared_pools()  # their work is done, and the load has use for their memory
    load(config.table, shards, written.schema, config.write_disposition, job.id, connections)
    record_loaded(written, job)


def _read_shard(uri: str) -> Iterator[bytes]:
    folder, _, name = uri.rpartition("/")
    return Storage(folder).chunks(name)


def run(config: Config, options: PipelineOptions, show: Show | None = None) -> Operation:
    """Run an export to its end and return the finished operation.

    Raises:
        JobError: the job broke; the operation says so too.
        ValueError, LookupError: the request is wrong; no operation was started.
    """
    check(config)
    refuse_local_paths(options, root=config.root)
    if config.destination is not None:
        refuse_local_paths(options, destination=config.destination)
    if config.table is not None:
        _check_table(config, options)
    data = get_store(config.root, config.store).data
    paths = read_resource_paths(config.filter) if config.filter else None
    index = Index(data, config.snapshot)
    with Job(config.root, config.store, "ExportDicomData", show) as job:
        total, unmatched = paths.find(index.uids()) if paths else (index.count(), [])
        job.expect(total + len(unmatched))
        report_unmatched(unmatched, job.folder)
        with beam.Pipeline(options=options) as pipeline:
            build(pipeline, index.files, config, data, paths, job.folder, options)
        if config.table is not None:
            try:
                load_table(config, job.folder)
            except TableError as error:
                raise JobError(operations.FAILED_PRECONDITION, str(error)) from error
            finally:
                job.folder.storage.below("rows").remove_all()
        return job.finish("instances")


def _check_table(config: Config, options: PipelineOptions) -> None:
    """Refuse before any work what the load would refuse, as far as it can be known."""
    assert config.table is not None
    if is_remote(options) and isinstance(config.table, DuckDBTable):
        raise ValueError(
            "a duckdb: table is a local file, which a remote runner does not serve: "
            "use bq:// or delta:gs://"
        )
    connections = Connections(gcs.delta_storage_options())
    check_table(config.table, config.write_disposition, None, connections)


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
