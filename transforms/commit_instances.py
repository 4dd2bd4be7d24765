"""Commit rows to the index: dedupe, look up, append; repeat if another writer was faster."""

import dataclasses
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import zstandard
from apache_beam.metrics import Metrics

from dicomferry.errors import InstanceError, Reason
from dicomferry.operations.faults import fails_alone
from dicomferry.operations.outcomes import Outcome, ProgressCounts
from dicomferry.storage.base import Storage
from dicomferry.storage.retries import repeat_until_committed
from dicomferry.store.commit_conflicts import CommitConflictError
from dicomferry.store.index import Index
from dicomferry.store.index_schema import SCHEMA, Column
from dicomferry.transforms.dedupe import Verdict, resolve_copies
from dicomferry.transforms.progress import ProgressReporter
from dicomferry.transforms.records import FileOutcome, Instance
from dicomferry.transforms.renewals import Renewals

# At most in one commit; bytes of uncompressed Metadata.
BATCH_ROWS = 50_000
_BATCH_BYTES = 64 << 20
# Rows whose Metadata is uncompressed in memory at the same time.
_SLICE_ROWS = 256


@dataclasses.dataclass
class CommitInstances(beam.PTransform):
    """Commit instances; outputs one FileOutcome per instance.

    Input: (bucket number, instances), all copies of a UID in one bucket. At least once; a second
    attempt finds its own rows and returns the same. Memory: one bucket.

    Counters, in namespace "commit": commits, retries, instances. Distributions, per commit: rows,
    lookup_ms, append_ms.
    """

    data: Storage
    operation: str
    dry_run: bool = False
    progress: ProgressReporter = dataclasses.field(default_factory=ProgressReporter)

    def expand(self, buckets: beam.PCollection[tuple[int, Iterable[Instance]]]) -> Any:
        """Commit each bucket, in batches."""
        return buckets | "Commit" >> beam.ParDo(_CommitFn(self))


def batches(instances: Iterable[Instance]) -> Iterator[list[Instance]]:
    """Divide a bucket into batches for one commit each; all copies of a UID are in one batch."""
    batch: list[Instance] = []
    size = 0
    by_uid = sorted(instances, key=lambda instance: instance.sop_instance_uid)
    for _, group in itertools.groupby(by_uid, key=lambda instance: instance.sop_instance_uid):
        copies = list(group)
        copies_size = sum(copy.structured_size for copy in copies)
        if batch and (len(batch) + len(copies) > BATCH_ROWS or size + copies_size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch += copies
        size += copies_size
    if batch:
        yield batch


def commit(
    data: Storage, batch: Sequence[Instance], operation: str, *, dry_run: bool = False
) -> list[Verdict]:
    """Commit a batch, sorted by UID, and return the verdict on each copy.

    Raises:
        CommitConflictError: others kept committing first, 50 times in a row.
    """
    known: _Known | None = None
    renewals = Renewals(data)

    def try_once() -> list[Verdict]:
        nonlocal known
        # Lookup and append share this object: Delta detects a conflict by its version.
        started = time.monotonic()
        index = Index(data)
        known = _look_up(index, batch, known)
        verdicts = resolve_batch(known.rows, renewals.left(batch), operation)
        started = _record_ms("lookup_ms", started)
        while not dry_run and renewals.lose(_new(verdicts), index.cutoff):
            verdicts = resolve_batch(known.rows, renewals.left(batch), operation)
        new = _new(verdicts)
        verdicts += renewals.failed(batch)
        if not new or dry_run:
            return verdicts
        try:
            index.append(read_rows(new, operation))
        except CommitConflictError:
            Metrics.counter("commit", "retries").inc()
            raise
        Metrics.counter("commit", "commits").inc()
        Metrics.distribution("commit", "rows").update(len(new))
        _record_ms("append_ms", started)
        return verdicts

    return repeat_until_committed(try_once, CommitConflictError)


def _new(verdicts: Iterable[Verdict]) -> list[Instance]:
    """Return the copies that the index lacks a row for."""
    return [verdict.copy for verdict in verdicts if verdict.is_new]


def _record_ms(name: str, started: float) -> float:
    now = time.monotonic()
    Metrics.distribution("commit", name).update(round((now - started) * 1000))
    return now


class _Known(NamedTuple):
    """The rows that a version of the index has of a batch, by SOP Instance UID."""

    version: Index
    rows: dict[str, Mapping[str, Any]]


def _look_up(index: Index, batch: Sequence[Instance], earlier: _Known | None) -> _Known:
    """Look up a batch; after a lost commit, only in the files added since.

    A lookup in a large index takes seconds. If it were repeated after each commit of another
    import, imports could only commit one after the other.
    """
    uids = sorted({instance.sop_instance_uid for instance in batch})
    since = index.files_since(earlier.version) if earlier else None
    rows = {row[Column.SOP_INSTANCE_UID]: row for row in index.lookup(uids, since).to_pylist()}
    return _Known(index, rows if earlier is None or since is None else {**earlier.rows, **rows})


def resolve_batch(
    stored: Mapping[str, Mapping[str, Any]], batch: Sequence[Instance], operation: str
) -> list[Verdict]:
    """Return the verdict on each copy, given the rows of one version of the index."""
    return [
        verdict
        for uid, copies in itertools.groupby(batch, key=lambda copy: copy.sop_instance_uid)
        for verdict in resolve_copies(copies, stored.get(uid), operation)
    ]


def read_rows(instances: Sequence[Instance], operation: str) -> pa.RecordBatchReader:
    """Return the index rows of instances in their order, read a slice at a time."""
    slices = (
        batch
        for start in range(0, len(instances), _SLICE_ROWS)
        for batch in rows_of(instances[start : start + _SLICE_ROWS], operation).to_batches()
    )
    return pa.RecordBatchReader.from_batches(SCHEMA, slices)


def rows_of(instances: Sequence[Instance], operation: str) -> pa.Table:
    """Return the index rows of instances, with the columns of `SCHEMA`."""
    now = datetime.now(UTC)
    decompress = zstandard.ZstdDecompressor().decompress
    columns: dict[str, list[Any]] = {
        Column.STUDY_INSTANCE_UID: [i.study_instance_uid for i in instances],
        Column.SERIES_INSTANCE_UID: [i.series_instance_uid for i in instances],
        Column.SOP_INSTANCE_UID: [i.sop_instance_uid for i in instances],
        Column.SOP_CLASS_UID: [i.sop_class_uid for i in instances],
        Column.TRANSFER_SYNTAX_UID: [i.transfer_syntax_uid for i in instances],
        Column.MODALITY: [i.modality for i in instances],
        Column.NUMBER_OF_FRAMES: [i.number_of_frames for i in instances],
        Column.METADATA: [decompress(i.metadata) for i in instances],
        Column.STRUCTURED_STORAGE_SIZE: [i.structured_size for i in instances],
        Column.BLOB_URI: [i.blob for i in instances],
        Column.BLOB_STORAGE_SIZE: [i.size for i in instances],
        Column.SHA256: [i.sha256 or None for i in instances],
        Column.CRC32C: [i.crc32c for i in instances],
        Column.SOURCE_URI: [i.source_uri for i in instances],
        Column.OPERATION: [operation] * len(instances),
        Column.LAST_UPDATED: [now] * len(instances),
    }
    return pa.table({name: pa.array(columns[name], SCHEMA.field(name).type) for name in columns})


class _CommitFn(beam.DoFn):
    def __init__(self, options: CommitInstances) -> None:
        self._data = options.data
        self._operation = options.operation
        self._dry_run = options.dry_run
        self._progress = options.progress
        self._instances = Metrics.counter("commit", "instances")

    def process(self, bucket: tuple[int, Iterable[Instance]]) -> Iterator[FileOutcome]:
        for batch in batches(bucket[1]):
            yield from self._commit(batch)

    def _commit(self, batch: Sequence[Instance]) -> Iterator[FileOutcome]:
        try:
            verdicts = commit(self._data, batch, self._operation, dry_run=self._dry_run)
        except Exception:
            # deltalake hides what the making of a row raised.
            failed = dict(_failures(batch))
            if not failed:
                raise
            yield from failed.values()
            sound = [copy for copy in batch if copy not in failed]
            verdicts = commit(self._data, sound, self._operation, dry_run=self._dry_run)
        self._count(verdicts)
        yield from map(_outcome, verdicts)

    def _count(self, verdicts: Sequence[Verdict]) -> None:
        stored = sum(v.outcome in (Outcome.IMPORTED, Outcome.DUPLICATE) for v in verdicts)
        if stored and not self._dry_run:
            self._instances.inc(stored)
            self._progress.add(ProgressCounts(committed=stored))
            self._progress.report()


def _failures(batch: Sequence[Instance]) -> Iterator[tuple[Instance, FileOutcome]]:
    """Yield the copies of a batch that have no verdict or no row, each with its outcome."""
    for copy in batch:
        try:
            with fails_alone():
                resolve_batch({}, [copy], "")
                rows_of([copy], "")
        except InstanceError as error:
            yield (
                copy,
                FileOutcome.of_failure(
                    copy.source_uri,
                    error,
                    sop_instance_uid=copy.sop_instance_uid,
                    size=copy.size,
                    version=copy.source_version,
                ),
            )


_CODES = {Outcome.CONFLICT: Reason.ALREADY_EXISTS, Outcome.FAILED: Reason.BLOB_DELETED}


def _outcome(verdict: Verdict) -> FileOutcome:
    copy = verdict.copy
    return FileOutcome(
        copy.source_uri,
        verdict.outcome,
        _CODES.get(verdict.outcome, ""),
        copy.sop_instance_uid,
        verdict.other,
        copy.size,
        copy.source_version,
    )
