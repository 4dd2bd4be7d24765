r"""Import DICOM files into a store.

Local:    python -m dicomferry.pipelines.import_dicom --store S --source '/data/**.dcm'
Dataflow: the same with gs:// paths, and --runner=DataflowRunner --project=P --region=R \
          --temp_location=gs://B/tmp --setup_file=./setup.py
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from google.rpc.code_pb2 import NOT_FOUND

from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.outcomes import OutcomeCounts
from dicomferry.operations.ownership import ProgressCallback
from dicomferry.operations.record import OperationRecord
from dicomferry.pipelines import entry_point, memory
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
from dicomferry.sources.listing import describe_sources, list_sources, no_match_message
from dicomferry.sources.source import Source
from dicomferry.storage.base import Storage
from dicomferry.store.notifications import Topic, import_topics
from dicomferry.tables.stream import Stream
from dicomferry.transforms.append_to_streams import AppendToStreams, begin_streams
from dicomferry.transforms.commit_instances import CommitInstances
from dicomferry.transforms.finish_operation import FinishOperation
from dicomferry.transforms.group_by_bucket import GroupByBucket
from dicomferry.transforms.ingest import ImportTarget
from dicomferry.transforms.list_sources import LISTING_FILES, DescribeSources, ListSources
from dicomferry.transforms.progress import ProgressReporter
from dicomferry.transforms.publish_notifications import PublishNotifications, begin_notifications
from dicomferry.transforms.read_and_store import ReadAndStore
from dicomferry.transforms.skip_known import SkipKnown
from dicomferry.transforms.write_outcomes import WriteOutcomes

# The local runner keeps a whole shuffle in memory; parts bound it. They are also what a
# killed job has kept.
PART_FILES = 10_000


parse_args = functools.partial(parse, ImportRequest)


def build(
    pipeline: beam.Pipeline,
    listings: beam.PCollection[list[Source]],
    request: ImportRequest,
    data: Storage,
    streams: Sequence[Stream],
    topics: Sequence[Topic],
    job: OperationFolder,
    part: str,
    options: PipelineOptions,
) -> beam.PCollection[OutcomeCounts]:
    """Lay out the graph; nothing is read or written here."""
    remote = is_remote(options)
    workers = worker_count(request.workers, options)
    progress = ProgressReporter(None if remote else job, part)
    files = listings | "CountFiles" >> beam.Map(len) | beam.CombineGlobally(sum)

    new = listings | "SkipKnown" >> SkipKnown(data)
    shares = new.shares | "Spread" >> beam.Reshuffle()  # one listing fans out to many shares
    target = ImportTarget(data, request.dry_run, request.allowed_folders())
    read = shares | "ReadAndStore" >> ReadAndStore(target, workers, progress)
    committed = (
        read.instances
        | "GroupByBucket" >> GroupByBucket(beam.pvalue.AsSingleton(files))
        | "CommitInstances" >> CommitInstances(data, job.id, request.dry_run)
    )
    told: list[beam.PCollection[Any]] = []
    if streams and not request.dry_run:
        append = AppendToStreams(streams, data, job, workers)
        told.append(committed | "AppendToStreams" >> append)
    if topics and not request.dry_run:
        publish = PublishNotifications(topics, str(request.store), data, job)
        told.append(committed | "PublishNotifications" >> publish)
    counts = (
        (new.outcomes, read.outcomes, committed)
        | "AllOutcomes" >> beam.Flatten()
        | "WriteOutcomes"
        >> WriteOutcomes(
            job,
            part,
            shards=64 if remote else 1,
            is_remote=remote,
            fail_conflicts=request.on_conflict == OnConflict.FAIL,
            remember=None if request.dry_run else data,
        )
    )
    if dataflow_job(options):
        after = told | "AllTold" >> beam.Flatten() if told else None
        none = no_match_message(request.source) if request.source else ""
        listed = beam.pvalue.AsSingleton(files)
        end = FinishOperation(job, listed, "files", request.max_failures, none, after)
        _ = counts | "FinishOperation" >> end
    return counts


def run(
    request: ImportRequest,
    options: PipelineOptions | None = None,
    on_progress: ProgressCallback | None = None,
) -> OperationRecord:
    """Run an import to its end and return the finished operation.

    Raises:
        JobError: nothing matched, or the job broke; the operation says so too.
        ValueError, LookupError: the request is wrong; no operation was started.
    """

    options = options or beam_options()

    def work(found: ReadyImport, job: Job) -> OperationRecord:
        store, streams, retried = found
        begin_streams(streams, store.data)
        topics = import_topics(store.resource)
        begin_notifications(topics, store.data)
        if owner := dataflow_job(options):
            job.hand_over(owner)
        if is_remote(options):
            with beam.Pipeline(options=options) as pipeline:
                listings = _list_remotely(pipeline, request, retried)
                part = "00000"
                folder, data = job.folder, store.data
                build(pipeline, listings, request, data, streams, topics, folder, part, options)
            if owner:
                return job.folder.read()
            job.expect(job.folder.counts().done)
        else:
            _run_parts(request, options, store.data, streams, topics, job, retried)
        if not job.total and request.source:
            raise JobError(NOT_FOUND, no_match_message(request.source))
        return job.finish("files")

    return run_job(request, options, work, on_progress)


def _list_remotely(
    pipeline: beam.Pipeline, request: ImportRequest, retried: list[str] | None
) -> beam.PCollection[list[Source]]:
    if request.source:
        return pipeline | beam.Create([request.source.uri]) | ListSources()
    assert retried is not None
    step = LISTING_FILES
    uris = [retried[i : i + step] for i in range(0, len(retried), step)]
    return pipeline | beam.Create(uris) | DescribeSources()


def _run_parts(
    request: ImportRequest,
    options: PipelineOptions,
    data: Storage,
    streams: Sequence[Stream],
    topics: Sequence[Topic],
    job: Job,
    retried: list[str] | None,
) -> None:
    """Go part by part over the sorted listing, so that the lowest URI of a UID wins."""
    memory.keep_flat()
    if request.source:
        found = list_sources(request.source, request.allowed_folders())
    else:
        found = describe_sources(retried or [])
    sources = _sorted_listing(found, job)
    # A dry run has no store that later parts could look into.
    packed = _pack(sources, len(sources) if request.dry_run else PART_FILES)
    del sources
    for number, rows in enumerate(packed):
        part = _unpack(rows)
        listings = [part[i : i + LISTING_FILES] for i in range(0, len(part), LISTING_FILES)]
        with beam.Pipeline(options=options) as pipeline:
            created = pipeline | "Listings" >> beam.Create(listings, reshuffle=False)
            name = f"{number:05d}"
            build(pipeline, created, request, data, streams, topics, job.folder, name, options)
        job.end_part(name)
        memory.give_back()


def _sorted_listing(sources: Iterator[Source], job: Job) -> pa.Table:
    """A listing as an Arrow table; the job is told of all."""
    names = Source._fields
    schema = pa.schema([(n, pa.int64() if n == "size" else pa.string()) for n in names])
    chunks = []
    batch: list[Source] = []
    for source in sources:
        batch.append(source)
        if len(batch) == LISTING_FILES:
            chunks.append(_to_record_batch(batch, schema))
            job.expect(job.total + len(batch))
            batch = []
    chunks.append(_to_record_batch(batch, schema))
    job.expect(job.total + len(batch))
    return pa.Table.from_batches(chunks, schema).sort_by("uri")


def _pack(sources: pa.Table, size: int) -> list[pa.Buffer]:
    """A listing in compressed parts: of a million entries 10 MB stay in memory, not 150."""
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    packed = []
    for start in range(0, len(sources), size or 1):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, sources.schema, options=options) as stream:
            stream.write_table(sources.slice(start, size))
        packed.append(sink.getvalue())
    return packed


def _unpack(rows: pa.Buffer) -> list[Source]:
    return [Source(**row) for row in pa.ipc.open_stream(rows).read_all().to_pylist()]


def _to_record_batch(sources: list[Source], schema: pa.Schema) -> pa.RecordBatch:
    columns = [list(column) for column in zip(*sources, strict=True)] or [[] for _ in schema]
    return pa.record_batch(
        [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; return the process exit code."""
    return entry_point.main(ImportRequest, run, argv)


if __name__ == "__main__":
    entry_point.exit_with(main)
