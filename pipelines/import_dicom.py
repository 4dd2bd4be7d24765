r"""Import DICOM files into a store.

Local:    python -m dicomferry.pipelines.import_dicom --store S --source '/data/**.dcm'
Dataflow: the same with gs:// paths, and --runner=DataflowRunner --project=P --region=R \
          --temp_location=gs://B/tmp --setup_file=./setup.py
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from google.rpc.code_pb2 import NOT_FOUND

from dicomferry.operations.ownership import ProgressCallback
from dicomferry.operations.record import OperationRecord
from dicomferry.pipelines import entry_point, memory
from dicomferry.pipelines.engine import EnginePipeline
from dicomferry.pipelines.entry_point import run_job
from dicomferry.pipelines.import_request import ImportRequest, OnConflict, ReadyImport
from dicomferry.pipelines.job import Job, JobError
from dicomferry.pipelines.options import (
    beam_options,
    dataflow_job,
    is_remote,
    parse,
    worker_count,
)
from dicomferry.pipelines.sorted_listing import sort_listing
from dicomferry.sources.listing import describe_sources, list_sources, no_match_message
from dicomferry.sources.source import Source
from dicomferry.store.formats import takes_new_columns
from dicomferry.store.index import add_columns
from dicomferry.store.kept_reads import delete_stale
from dicomferry.store.notifications import import_topics
from dicomferry.transforms.append_to_streams import begin_streams
from dicomferry.transforms.import_instances import ImportInstances, ImportJob
from dicomferry.transforms.list_sources import LISTING_FILES, DescribeSources, ListSources
from dicomferry.transforms.prepare_instances import BUCKET_ROWS
from dicomferry.transforms.publish_notifications import begin_notifications

# The local runner keeps a whole shuffle in memory; parts bound it. They are also the unit that a
# killed job keeps.
PART_FILES = 10_000

parse_args = functools.partial(parse, ImportRequest)


def run(
    request: ImportRequest,
    options: PipelineOptions | None = None,
    on_progress: ProgressCallback | None = None,
) -> OperationRecord:
    """Run an import to its end and return the finished operation.

    Args:
        request: the import.
        options: Beam's; default: the local runner.
        on_progress: called with the progress twice a second.

    Raises:
        JobError: nothing matched, or the job broke; the operation says so too.
        ValueError, LookupError: the request is wrong; no operation was started.
    """
    options = options or beam_options()

    def work(ready: ReadyImport, job: Job) -> OperationRecord:
        job.refuse_other_data(ready.store.data)
        plan = make_job(request, ready, job, options)
        if owner := dataflow_job(options):
            job.hand_over(owner)
        if plan.is_remote:
            with EnginePipeline(job, options) as pipeline:
                _ = _list(pipeline, request, ready.retried) | ImportInstances(plan)
            if owner:
                return job.folder.read()
            job.expect(job.folder.counts().done)
        else:
            _run_parts(_sources(request, ready.retried), plan, job, options)
        if not job.total and request.source:
            raise JobError(NOT_FOUND, no_match_message(request.source))
        return job.finish("files")

    return run_job(request, options, work, on_progress)


def make_job(
    request: ImportRequest, ready: ReadyImport, job: Job, options: PipelineOptions
) -> ImportJob:
    """Make the job of the graph; from now on its streams and topics follow the store."""
    store, topics = ready.store, import_topics(ready.store.resource)
    if takes_new_columns(store.format):
        add_columns(store.data)
    if not request.dry_run:
        delete_stale(store.data)
    begin_streams(ready.streams, store.data)
    begin_notifications(topics, store.data)
    return ImportJob(
        str(request.store),
        store.data,
        job.folder,
        dry_run=request.dry_run,
        fail_conflicts=request.on_conflict == OnConflict.FAIL,
        allowed_folders=request.allowed_folders(),
        streams=tuple(ready.streams),
        topics=tuple(topics),
        rules=request.rules,
        workers=worker_count(request.workers, options),
        is_remote=is_remote(options),
        ends_operation=dataflow_job(options) is not None,
        max_failures=request.max_failures,
        empty_error=no_match_message(request.source) if request.source else "",
    )


def _list(
    pipeline: beam.Pipeline, request: ImportRequest, retried: Sequence[str] | None
) -> beam.PCollection[list[Source]]:
    """List the sources on the workers."""
    if request.source:
        return pipeline | beam.Create([request.source.uri]) | ListSources()
    uris = list(retried or [])
    starts = range(0, len(uris), LISTING_FILES)
    return (
        pipeline
        | beam.Create([uris[start : start + LISTING_FILES] for start in starts])
        | DescribeSources()
    )


def _sources(request: ImportRequest, retried: Sequence[str] | None) -> Iterator[Source]:
    """List the sources in this process."""
    if request.source:
        return list_sources(request.source, request.allowed_folders())
    return describe_sources(retried or [])


def _run_parts(
    sources: Iterator[Source], plan: ImportJob, job: Job, options: PipelineOptions
) -> None:
    """Import part by part over the sorted listing."""
    memory.keep_flat()
    with sort_listing(sources, functools.partial(job.expect, is_final=False)) as listing:
        job.expect(listing.total)
        # A dry run has no store that later parts could look into.
        size = listing.total if plan.dry_run else PART_FILES
        plan = dataclasses.replace(plan, is_small=size <= BUCKET_ROWS)
        for number, listings in enumerate(listing.parts(max(size, 1))):
            part = dataclasses.replace(plan, part=f"{number:05d}")
            with EnginePipeline(job, options) as pipeline:
                created = pipeline | "Listings" >> beam.Create(listings, reshuffle=False)
                _ = created | ImportInstances(part)
            job.end_part(part.part)
            memory.give_back()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; return the process exit code."""
    return entry_point.main(ImportRequest, run, argv)


if __name__ == "__main__":
    entry_point.exit_with(main)
