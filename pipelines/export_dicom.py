r"""Export the instances of a store, as files or as rows of a table.

Local:    python -m dicomferry.pipelines.export_dicom --store S --destination out
          the same with --table duckdb:meta.duckdb#dicom.instances instead of a destination
Dataflow: the same with gs:// paths, and --runner=DataflowRunner --project=P --region=R \
          --temp_location=gs://B/tmp --setup_file=./setup.py
"""

import functools
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from dicomferry.operations.ownership import ProgressCallback
from dicomferry.operations.record import OperationRecord
from dicomferry.pipelines import entry_point
from dicomferry.pipelines.engine import EnginePipeline
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
from dicomferry.places.overwriting import PlaceTakenError, claim_folder
from dicomferry.store.instance_filter import StoredFilter
from dicomferry.tables.errors import TableError
from dicomferry.transforms.export_instances import ExportInstances, ExportJob
from dicomferry.transforms.load_table import load_table
from dicomferry.transforms.worker_pool import close_shared_pools
from dicomferry.transforms.write_instance import FileTarget
from dicomferry.transforms.write_outcomes import report_unmatched
from dicomferry.transforms.write_rows import TableTarget

parse_args = functools.partial(parse, ExportRequest)


def run(
    request: ExportRequest,
    options: PipelineOptions | None = None,
    on_progress: ProgressCallback | None = None,
) -> OperationRecord:
    """Run an export to its end and return the finished operation.

    Args:
        request: the export.
        options: Beam's; default: the local runner.
        on_progress: called with the progress twice a second.

    Raises:
        JobError: the job broke; the operation says so too.
        ValueError, LookupError: the request is wrong; no operation was started.
    """
    options = options or beam_options()

    def work(ready: ReadyExport, job: Job) -> OperationRecord:
        claim_destination(request, ready)
        expect_instances(ready, job, options)
        if owner := dataflow_job(options):
            job.hand_over(owner)
        with EnginePipeline(job, options) as pipeline:
            files = pipeline | "Files" >> beam.Create(ready.snapshot.files, reshuffle=False)
            planned = make_job(request, ready, job, options)
            _ = files | ExportInstances(planned)
        if owner:
            return job.folder.read()
        finish_rows(request, planned, job)
        return job.finish("instances")

    return run_job(request, options, work, on_progress)


def claim_destination(request: ExportRequest, ready: ReadyExport) -> None:
    """Find that the export may write its files, before the first.

    Raises:
        JobError: others have files there.
    """
    if request.destination is not None:
        try:
            claim_folder(request.destination, request.store, ready.data, request.overwrite)
        except PlaceTakenError as error:
            raise JobError(error.code, str(error)) from error


def expect_instances(ready: ReadyExport, job: Job, options: PipelineOptions) -> None:
    """Count the instances to export, and list the paths of a filter that match none.

    Of an export by a filter on other machines these do it, in the graph.
    """
    index, instances = ready.snapshot, ready.instances
    if instances and is_remote(options):
        return
    total, unmatched = instances.find(index.uids()) if instances else (index.count(), [])
    job.expect(total + len(unmatched))
    report_unmatched(unmatched, job.folder)


def make_job(
    request: ExportRequest, ready: ReadyExport, job: Job, options: PipelineOptions
) -> ExportJob:
    """Make the job of the graph."""
    instances = ready.instances and StoredFilter.store(ready.instances, job.folder.storage)
    finds_paths = bool(instances) and is_remote(options)
    return ExportJob(
        ready.data,
        job.folder,
        _target(request, ready),
        instances=instances,
        workers=worker_count(request.workers, options),
        is_remote=is_remote(options),
        ends_operation=dataflow_job(options) is not None,
        disposition=request.write_disposition,
        total=ready.snapshot.count() if finds_paths else job.total,
        finds_paths=finds_paths,
        max_failures=request.max_failures,
        version=ready.snapshot.version,
        rules=request.rules,
    )


def _target(request: ExportRequest, ready: ReadyExport) -> FileTarget | TableTarget:
    if request.table is not None:
        source_store = str(request.store) if request.include_source_store else ""
        return TableTarget(request.table, request.schema == TableSchema.FLATTENED, source_store)
    assert request.destination is not None
    return FileTarget(
        ready.data,
        request.destination,
        request.mime_type,
        request.quality,
        request.derive_uids,
        request.skip_without_pixels,
    )


def finish_rows(request: ExportRequest, planned: ExportJob, job: Job) -> None:
    """Do what is left when the graph has run: load its rows into the table, if it wrote any."""
    if request.table is not None:
        _load_rows(request, planned)
    if planned.finds_paths:
        job.expect(job.folder.counts().done)


def _load_rows(request: ExportRequest, job: ExportJob) -> None:
    assert request.table is not None
    close_shared_pools()  # their work is done, and the load has use for their memory
    try:
        load_table(job.folder, request.table, request.write_disposition, job.covered, job.rules)
    except TableError as error:
        raise JobError(error.code, str(error)) from error
    finally:
        job.folder.storage.subfolder("rows").remove_all()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; return the process exit code."""
    return entry_point.main(ExportRequest, run, argv)


if __name__ == "__main__":
    entry_point.exit_with(main)
