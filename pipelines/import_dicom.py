r"""Import DICOM files into a store.

Local:    python -m pipelines.import_dicom --store S --source '/data/**.dcm'
Dataflow: the same with gs:// paths, and --runner=DataflowRunner --project=P --region=R \
          --temp_location=gs://B/tmp --setup_file=./setup.py
"""

import argparse
import dataclasses
import itertools
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

import apache_beam as beam
import pyarrow as pa
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
from stores.listing import Source, list_sources, no_match_message
from stores.names import StoreName, parse_store
from stores.operations import Operation, OperationFolder
from stores.relisting import describe_sources
from stores.source_uri import check_arguments, parse_source
from stores.storage import Storage
from transforms.append_to_streams import AppendToStreams, Stream, refuse_local_tables, streams_of
from transforms.commit_instances import CommitInstances
from transforms.group_by_bucket import GroupByBucket
from transforms.ingest import Target
from transforms.list_sources import LISTING_FILES, DescribeSources, ListSources
from transforms.progress import Progress
from transforms.read_and_store import ReadAndStore
from transforms.records import CONFLICT, FAILED
from transforms.skip_known import SkipKnown
from transforms.write_outcomes import WriteOutcomes

_LOGGER = logging.getLogger(__name__)
# The local runner keeps a whole shuffle in memory; parts bound it. They are also what a
# killed job has kept.
PART_FILES = 10_000


@dataclasses.dataclass(frozen=True)
class Config:
    """What to import; fields mirror the flags, see --help."""

    root: Storage
    store: StoreName
    source: str
    retry_failed: str = ""
    dry_run: bool = False
    fail_conflicts: bool = True
    max_failures: int = 0
    workers: int | None = None


def parse_args(argv: Sequence[str]) -> tuple[Config, PipelineOptions]:
    """Split argv into this job's config and Beam's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.import_dicom",
        description="Import DICOM files into a store. Flags not listed go to Beam.",
        allow_abbrev=False,
    )
    add_common_flags(parser)
    parser.add_argument("--source", default="", help="file, or pattern with *, ? or **, quoted")
    parser.add_argument(
        "--retry-failed",
        "--retry_failed",
        default="",
        metavar="OPERATION",
        help="instead of a source: read again what failed in an earlier import",
    )
    parser.add_argument(
        "--dry-run", "--dry_run", action="store_true", help="read and check, store nothing"
    )
    parser.add_argument(
        "--on-conflict",
        "--on_conflict",
        choices=["fail", "ignore"],
        default="fail",
        help="whether other bytes under a stored SOP Instance UID count as a failure; they are "
        "listed, and never stored, either way (default fail)",
    )
    known, beam_args = parser.parse_known_args(argv)
    try:
        # What a shell makes of an unquoted pattern comes before any flag of Beam's.
        expanded = itertools.takewhile(lambda arg: not arg.startswith("-"), beam_args)
        if known.source:
            check_arguments([known.source, *expanded])
        config = Config(
            root=Storage(known.root),
            store=parse_store(known.store),
            source=known.source,
            retry_failed=known.retry_failed,
            dry_run=known.dry_run,
            fail_conflicts=known.on_conflict == "fail",
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
    if bool(config.source) == bool(config.retry_failed):
        raise ValueError("name either a source or an operation to retry with --retry-failed")
    if config.source:
        parse_source(config.source)
    if config.max_failures < 0:
        raise ValueError(f"--max-failures must be 0 or more, got {config.max_failures}")
    if config.workers is not None and config.workers < 0:
        raise ValueError(f"--workers must be 0 or more, got {config.workers}")


def build(
    pipeline: beam.Pipeline,
    listings: beam.PCollection[list[Source]],
    config: Config,
    data: Storage,
    streams: Sequence[Stream],
    job: OperationFolder,
    part: str,
    options: PipelineOptions,
) -> beam.PCollection[Counter[str]]:
    """Lay out the graph; nothing is read or written here."""
    remote = is_remote(options)
    workers = worker_count(config.workers, options)
    progress = Progress(None if remote else job)
    files = listings | "CountFiles" >> beam.Map(len) | beam.CombineGlobally(sum)

    new = listings | "SkipKnown" >> SkipKnown(data)
    shares = new.shares | "Spread" >> beam.Reshuffle()  # one listing fans out to many shares
    read = shares | "ReadAndStore" >> ReadAndStore(Target(data, config.dry_run), workers, progress)
    committed = (
        read.instances
        | "GroupByBucket" >> GroupByBucket(beam.pvalue.AsSingleton(files))
        | "CommitInstances" >> CommitInstances(data, job.id, config.dry_run, rows=bool(streams))
    )
    if streams:
        _ = committed.committed | "AppendToStreams" >> AppendToStreams(streams, job)
    return (
        (new.outcomes, read.outcomes, committed.outcomes)
        | "AllOutcomes" >> beam.Flatten()
        | "WriteOutcomes"
        >> WriteOutcomes(
            job,
            part,
            shards=64 if remote else 1,
            fail_conflicts=config.fail_conflicts,
            remember=None if config.dry_run else data,
        )
    )


def run(config: Config, options: PipelineOptions, show: Show | None = None) -> Operation:
    """Run an import to its end and return the finished operation.

    Raises:
        JobError: nothing matched, or the job broke; the operation says so too.
        ValueError, LookupError: the request is wrong; no operation was started.
    """
    check(config)
    refuse_local_paths(options, root=config.root)
    if is_remote(options) and config.source and not parse_source(config.source).is_gcs:
        refuse_local_paths(options, source=Storage(config.source))
    store = get_store(config.root, config.store)
    streams = streams_of(store.resource, str(store.name))
    if is_remote(options):
        refuse_local_tables(streams)
    retried = _uris_to_retry(config) if config.retry_failed else None
    with Job(config.root, config.store, "ImportDicomData", show) as job:
        if is_remote(options):
            with beam.Pipeline(options=options) as pipeline:
                listings = _list_remotely(pipeline, config, retried)
                build(pipeline, listings, config, store.data, streams, job.folder, "00000", options)
            job.expect(sum(job.folder.counts()[name] for name in operations.OUTCOMES))
        else:
            _run_parts(config, options, store.data, streams, job, retried)
        if not job.total and retried is None:
            raise JobError(operations.NOT_FOUND, no_match_message(parse_source(config.source)))
        return job.finish("files")


def _uris_to_retry(config: Config) -> list[str]:
    """What failed in an earlier import.

    Raises:
        LookupError: there is no such operation.
        ValueError: it was no import into this store, or did not come to its end.
    """
    earlier = OperationFolder(
        config.root, config.store.parent, config.retry_failed.rpartition("/")[2]
    )
    operation = earlier.read()
    method = operation["metadata"]["apiMethodName"]
    if operation["store"] != str(config.store) or not method.endswith(".ImportDicomData"):
        raise ValueError(
            f"{earlier.name} is no import into {config.store}: "
            "`dicomferry operations list` shows which are"
        )
    code = operation.get("error", {}).get("code", 0)
    if not operation["done"] or code not in (0, operations.INVALID_ARGUMENT):
        raise ValueError(
            f"{earlier.name} did not come to its end, so there are files that it never reached: "
            "import its source again; what it took in is not read twice"
        )
    return [o["source"] for o in earlier.outcomes() if o["outcome"] in (FAILED, CONFLICT)]


def _list_remotely(
    pipeline: beam.Pipeline, config: Config, retried: list[str] | None
) -> beam.PCollection[list[Source]]:
    if retried is None:
        return pipeline | beam.Create([config.source]) | ListSources()
    step = LISTING_FILES
    uris = [retried[i : i + step] for i in range(0, len(retried), step)]
    return pipeline | beam.Create(uris) | DescribeSources()


def _run_parts(
    config: Config,
    options: PipelineOptions,
    data: Storage,
    streams: Sequence[Stream],
    job: Job,
    retried: list[str] | None,
) -> None:
    """Go part by part over the sorted listing, so that the lowest URI of a UID wins."""
    if retried is None:
        found = list_sources(parse_source(config.source))
    else:
        found = describe_sources(retried)
    sources = _sorted_listing(found)
    job.expect(len(sources))
    # A dry run has no store that later parts could look into.
    size = len(sources) if config.dry_run else PART_FILES
    for number, start in enumerate(range(0, len(sources), size or 1)):
        rows = sources.slice(start, size).to_pylist()
        part = [Source(**row) for row in rows]
        listings = [part[i : i + LISTING_FILES] for i in range(0, len(part), LISTING_FILES)]
        with beam.Pipeline(options=options) as pipeline:
            created = pipeline | "Listings" >> beam.Create(listings, reshuffle=False)
            build(pipeline, created, config, data, streams, job.folder, f"{number:05d}", options)
        # Arrow keeps what a commit took for the next one, some hundred MB.
        pa.default_memory_pool().release_unused()


def _sorted_listing(sources: Iterator[Source]) -> pa.Table:
    """A listing as an Arrow table: a million entries take about 150 MB."""
    names = Source._fields
    schema = pa.schema([(n, pa.int64() if n == "size" else pa.string()) for n in names])
    chunks = []
    batch: list[Source] = []
    for source in sources:
        batch.append(source)
        if len(batch) == LISTING_FILES:
            chunks.append(_to_record_batch(batch, schema))
            batch = []
    chunks.append(_to_record_batch(batch, schema))
    return pa.Table.from_batches(chunks, schema).sort_by("uri")


def _to_record_batch(sources: list[Source], schema: pa.Schema) -> pa.RecordBatch:
    columns = [list(column) for column in zip(*sources, strict=True)] or [[] for _ in schema]
    return pa.record_batch(
        [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
    )


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
