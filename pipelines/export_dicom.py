r"""Export the instances of a store, as files or as rows of a table.

Local:    python -m dicomferry.pipelines.export_dicom --store S --destination out
          the same with --table duckdb:meta.duckdb#dicom.instances instead of a destination
Dataflow: the same with gs:// paths, and --runner=DataflowRunner --project=P --region=R \
          --temp_location=gs://B/tmp --setup_file=./setup.py
"""

import functools
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from google.rpc.code_pb2 import FAILED_PRECONDITION

from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.ownership import ProgressCallback
from dicomferry.operations.record import OperationRecord
from dicomferry.pipelines import entry_point
from dicomferry.pipelines.entry_point import run_job
from dicomferry.pipelines.export_request import ExportRequest, ReadyExport, TableSchema
from dicomferry.pipelines.job import Job, JobError
from dicomferry.pipelines.options import (
    beam_options,
    dataflow_job,
    is_remote,
    parse,
    worker_count,
)
from dicomferry.storage.base import Storage
from dicomferry.store.instance_filter import InstanceFilter
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

parse_args = functools.partial(parse, ExportRequest)


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
        rows = TableTarget(request.table, request.schema == TableSchema.FLATTENED, source_store)
        done = index_files | ExportTable(data, job, rows, workers, progress, paths)
        if dataflow_job(options):
            done |= "LoadTable" >> LoadTable(job, request.table, request.write_disposition)
            done |= "FinishOperation" >> FinishOperation(
                job, total, "instances", request.max_failures
            )
        return done
    assert request.destination is not None
    target = FileTarget(data, request.destination, request.mime_type, request.quality)
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
    request: ExportRequest,
    options: PipelineOptions | None = None,
    on_progress: ProgressCallback | None = None,
) -> OperationRecord:
    """Run an export to its end and return the finished operation.

    Raises:
        JobError: the job broke; the operation says so too.
        ValueError, LookupError: the request is wrong; no operation was started.
    """

    options = options or beam_options()

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

    return run_job(request, options, work, on_progress)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; return the process exit code."""
    return entry_point.main(ExportRequest, run, argv)


if __name__ == "__main__":
    entry_point.exit_with(main)
