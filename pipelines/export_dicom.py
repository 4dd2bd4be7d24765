r"""Export the instances of a store, as files or as rows of a table.

Local:    python -m dicomferry.pipelines.export_dicom --store S --destination out
          the same with --table duckdb:meta.duckdb#dicom.instances instead of a destination
Dataflow: the same with gs:// paths, and --runner=DataflowRunner --project=P --region=R \
          --temp_location=gs://B/tmp --setup_file=./setup.py
"""

import argparse
import functools
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from google.rpc.code_pb2 import FAILED_PRECONDITION

from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.ownership import ProgressCallback
from dicomferry.operations.record import Method, OperationRecord
from dicomferry.pipelines import entry_point
from dicomferry.pipelines.entry_point import run_job
from dicomferry.pipelines.export_request import ExportRequest, ReadyExport, prepare
from dicomferry.pipelines.job import Job, JobError
from dicomferry.pipelines.options import (
    FlagParser,
    add_common_flags,
    common_fields,
    dataflow_job,
    is_remote,
    is_true,
    parse,
    remote_runner,
    worker_count,
)
from dicomferry.pixels.formats import parse_format
from dicomferry.pixels.quality import DEFAULT_QUALITY, Quality
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.store.instance_filter import InstanceFilter
from dicomferry.tables.destination import parse_destination, parse_disposition
from dicomferry.tables.errors import TableError
from dicomferry.transforms.export_files import ExportFiles
from dicomferry.transforms.export_table import ExportTable
from dicomferry.transforms.finish_operation import FinishOperation
from dicomferry.transforms.load_table import LoadTable, load_table
from dicomferry.transforms.progress import ProgressReporter
from dicomferry.transforms.read_index import ReadIndex
from dicomferry.transforms.worker_pool import close_shared_pools
from dicomferry.transforms.write_instance import FileTarget
from dicomferry.transforms.write_outcomes import WriteOutcomes, report_unmatched
from dicomferry.transforms.write_rows import TableTarget


def make_parser() -> FlagParser:
    """All flags of this pipeline; the Dataflow template's parameters are made from it too."""
    parser = FlagParser(
        prog="python -m dicomferry.pipelines.export_dicom",
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
        type=is_true,
        nargs="?",
        const=True,
        default=False,
        metavar="true",
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
    for flag, default, meaning in (
        ("--jpeg-quality", quality.jpeg_quality, "of JPEG, 1 to 100"),
        ("--j2k-ratio", quality.j2k_ratio, "how much smaller lossy JPEG 2000 gets"),
        ("--jpegls-near", quality.jpegls_near, "how far a value may be off in JPEG-LS"),
        ("--jxl-distance", quality.jxl_distance, "of lossy JPEG XL; 1.0 is hard to see"),
    ):
        parser.add_argument(
            flag,
            flag[:2] + flag[2:].replace("-", "_"),
            type=type(default),
            default=default,
            help=f"{meaning} (default {default})",
        )
    return parser


def parse_args(argv: Sequence[str]) -> tuple[ExportRequest, PipelineOptions]:
    """Split argv into this job's request and Beam's options."""
    return parse(make_parser(), argv, _to_request)


def _to_request(known: argparse.Namespace, beam_args: list[str]) -> ExportRequest:
    return ExportRequest(
        **common_fields(known),
        destination=open_storage(known.destination) if known.destination else None,
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
    paths: InstanceFilter | None,
    job: OperationFolder,
    options: PipelineOptions,
    total: int,
) -> beam.PCollection[Any]:
    """Lay out the graph; nothing is read or written here."""
    remote = is_remote(options)
    progress = ProgressReporter(None if remote else job)
    workers = worker_count(request.workers, options)
    index_files = pipeline | "Files" >> beam.Create(files, reshuffle=False)
    if request.table is not None:
        source_store = str(request.store) if request.include_source_store else ""
        rows = TableTarget(request.table, request.flattened, source_store)
        done = index_files | ExportTable(data, job, rows, workers, progress, paths)
        if dataflow_job(options):
            done |= "LoadTable" >> LoadTable(job, request.table, request.write_disposition)
            done |= "FinishOperation" >> FinishOperation(
                job, total, "instances", request.max_failures
            )
        return done
    assert request.destination is not None
    target = FileTarget(data, request.destination, request.format, request.quality)
    counts = (
        index_files
        | "ReadIndex" >> ReadIndex(data, paths)
        | "ExportFiles" >> ExportFiles(target, workers, progress)
        | "WriteOutcomes"
        >> WriteOutcomes(
            job,
            "00000",
            shards=64 if remote else 1,
            is_remote=remote,
            entry="ExportDicomLogEntry",
        )
    )
    if dataflow_job(options):
        end = FinishOperation(job, total, "instances", request.max_failures)
        _ = counts | "FinishOperation" >> end
    return counts


def run(
    request: ExportRequest, options: PipelineOptions, show: ProgressCallback | None = None
) -> OperationRecord:
    """Run an export to its end and return the finished operation.

    Raises:
        JobError: the job broke; the operation says so too.
        ValueError, LookupError: the request is wrong; no operation was started.
    """

    def work(found: ReadyExport, job: Job) -> OperationRecord:
        data, index, paths = found
        total, unmatched = paths.find(index.uids()) if paths else (index.count(), [])
        job.expect(total + len(unmatched))
        report_unmatched(unmatched, job.folder)
        if owner := dataflow_job(options):
            job.hand_over(owner)
        with beam.Pipeline(options=options) as pipeline:
            build(pipeline, index.files, request, data, paths, job.folder, options, job.total)
        if owner:
            return job.folder.read()
        if request.table is not None:
            close_shared_pools()  # their work is done, and the load has use for their memory
            try:
                load_table(job.folder, request.table, request.write_disposition)
            except TableError as error:
                raise JobError(FAILED_PRECONDITION, str(error)) from error
            finally:
                job.folder.storage.subfolder("rows").remove_all()
        return job.finish("instances")

    ready = functools.partial(prepare, request, remote_runner(options))
    return run_job(Method.EXPORT, request, ready, work, show, dataflow_job(options))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; return the process exit code."""
    return entry_point.main(argv, parse_args, run)


if __name__ == "__main__":
    entry_point.exit_with(main)
