r"""Export the instances of a store, as files or as rows of a table.

Local:    python -m pipelines.export_dicom --store S --destination out
          python -m pipelines.export_dicom --store S --table duckdb:meta.duckdb#dicom.instances
Dataflow: the same with gs:// paths, and --runner=DataflowRunner --project=P --region=R \
          --temp_location=gs://B/tmp --setup_file=./setup.py
"""

import argparse
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import program
from pipelines.export_request import ExportRequest, ReadyExport, prepare
from pipelines.flags import common_fields, is_remote, parse, remote_runner, worker_count
from pipelines.job import Job, JobError, Show
from pipelines.program import run_job
from stores import gcs, operations
from stores.operations import Operation, OperationFolder
from stores.resource_paths import ResourcePaths
from stores.storage import Storage
from tables.destination import parse_destination, parse_disposition
from tables.errors import TableError
from tables.loading import Connections, load
from tables.shards import Shards
from transcode.formats import parse_format
from transcode.quality import DEFAULT_QUALITY, Quality
from transforms.export_files import ExportFiles
from transforms.export_table import ExportTable, read_written, record_loaded
from transforms.progress import Progress
from transforms.read_index import ReadIndex
from transforms.worker_pool import close_shared_pools
from transforms.write_instance import FileTarget
from transforms.write_outcomes import WriteOutcomes, report_unmatched
from transforms.write_rows import TableTarget


def parse_args(argv: Sequence[str]) -> tuple[ExportRequest, PipelineOptions]:
    """Split argv into this job's config and Beam's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.export_dicom",
        description="Export the instances of a store, as files or as rows of a table. "
        "Flags not listed go to Beam.",
        allow_abbrev=False,
    )
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
    return parse(parser, argv, _to_request)


def _to_request(known: argparse.Namespace, beam_args: list[str]) -> ExportRequest:
    return ExportRequest(
        **common_fields(known),
        destination=Storage(known.destination) if known.destination else None,
        table=parse_destination(known.table) if known.table else None,
        write_disposition=parse_disposition(known.write_disposition or None),
        flattened=known.schema == "flattened",
        include_source_store=known.include_source_store,
        format=parse_format(known.mime_type),
        quality=Quality(known.jpeg_quality, known.j2k_ratio, known.jpegls_near, known.jxl_distance),
        filter=known.filter,
        snapshot=known.snapshot,
    )


def build(
    pipeline: beam.Pipeline,
    files: Sequence[str],
    request: ExportRequest,
    data: Storage,
    paths: ResourcePaths | None,
    job: OperationFolder,
    options: PipelineOptions,
) -> beam.PCollection[Any]:
    """Lay out the graph; nothing is read or written here."""
    remote = is_remote(options)
    progress = Progress(None if remote else job)
    workers = worker_count(request.workers, options)
    index_files = pipeline | "Files" >> beam.Create(files, reshuffle=False)
    if request.table is not None:
        source_store = str(request.store) if request.include_source_store else ""
        rows = TableTarget(request.table, request.flattened, source_store)
        return index_files | ExportTable(data, job, rows, workers, progress, paths)
    assert request.destination is not None
    target = FileTarget(data, request.destination, request.format, request.quality)
    return (
        index_files
        | "ReadIndex" >> ReadIndex(data, paths)
        | "ExportFiles" >> ExportFiles(target, workers, progress)
        | "WriteOutcomes" >> WriteOutcomes(job, "00000", shards=64 if remote else 1)
    )


def load_table(request: ExportRequest, job: OperationFolder) -> None:
    """Put the rows that the pipeline wrote into the table, by one load.

    Raises:
        TableError: the table refuses them; it is as it was.
    """
    assert request.table is not None
    written = read_written(job)
    shards = Shards(tuple(map(job.storage.uri, written.shards)), _read_shard)
    connections = Connections(gcs.delta_storage_options())
    close_shared_pools()  # their work is done, and the load has use for their memory
    load(request.table, shards, written.schema, request.write_disposition, job.id, connections)
    record_loaded(written, job)


def _read_shard(uri: str) -> Iterator[bytes]:
    folder, _, name = uri.rpartition("/")
    return Storage(folder).chunks(name)


def run(request: ExportRequest, options: PipelineOptions, show: Show | None = None) -> Operation:
    """Run an export to its end and return the finished operation.

    Raises:
        JobError: the job broke; the operation says so too.
        ValueError, LookupError: the request is wrong; no operation was started.
    """

    def work(found: ReadyExport, job: Job) -> Operation:
        data, index, paths = found
        total, unmatched = paths.find(index.uids()) if paths else (index.count(), [])
        job.expect(total + len(unmatched))
        report_unmatched(unmatched, job.folder)
        with beam.Pipeline(options=options) as pipeline:
            build(pipeline, index.files, request, data, paths, job.folder, options)
        if request.table is not None:
            try:
                load_table(request, job.folder)
            except TableError as error:
                raise JobError(operations.FAILED_PRECONDITION, str(error)) from error
            finally:
                job.folder.storage.below("rows").remove_all()
        return job.finish("instances")

    ready = functools.partial(prepare, request, remote_runner(options))
    return run_job("ExportDicomData", request, ready, work, show)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; return the process exit code."""
    return program.main(argv, parse_args, run)


if __name__ == "__main__":
    program.exit_with(main)
