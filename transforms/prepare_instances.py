"""Prepare a commit: dedupe a bucket, look its UIDs up, write the new rows, sorted, into files."""

import dataclasses
import itertools
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam
import pyarrow as pa
import zstandard
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from dicomferry.errors import InstanceError
from dicomferry.operations.faults import fails_alone
from dicomferry.operations.outcomes import Outcome
from dicomferry.storage.base import Storage
from dicomferry.store.index import Index
from dicomferry.store.index_commit import PreparedFile
from dicomferry.store.index_schema import SCHEMA, Column, fit
from dicomferry.store.index_writing import IMPORTED, write_files
from dicomferry.store.purged_files import repeat_where_purged
from dicomferry.transforms.batch_by_size import batch_by_size
from dicomferry.transforms.dedupe import Verdict, resolve_copies
from dicomferry.transforms.records import FileOutcome, Instance
from dicomferry.transforms.renewals import Renewals
from dicomferry.transforms.sorted_copies import SortedCopies

# Rows of a bucket, and with them of most files of a large job.
BUCKET_ROWS = 100_000
# Rows whose Metadata is uncompressed in memory at the same time, and its bytes.
_SLICE_ROWS = 1024
_SLICE_BYTES = 16 << 20
# Verdicts that go on together.
_CHUNK = 1000


@dataclasses.dataclass
class PrepareInstances(beam.PTransform):
    """Write the new rows of buckets into files of the index that are not committed yet.

    Input: (bucket number, instances), all copies of a UID in one bucket. Output: under "files", a
    `PreparedFile` per file; under "outcomes", a FileOutcome per instance whose row cannot be made;
    main: a `JudgedCopies` for some others at a time. Memory does not grow with Metadata, only by
    1.2 KB with each instance of a bucket.

    Distribution, in namespace "commit", per bucket: lookup_ms.
    """

    data: Storage
    operation: str
    dry_run: bool = False

    def expand(self, buckets: beam.PCollection[tuple[int, Iterable[Instance]]]) -> Any:
        """Prepare each bucket."""
        prepare = beam.ParDo(_PrepareFn(self.data, self.operation, self.dry_run))
        return buckets | "Prepare" >> prepare.with_outputs("files", "outcomes", main="judged")


@dataclasses.dataclass(frozen=True)
class JudgedCopies:
    """Verdicts on some copies of a bucket, which hold unless one of its files lost rows.

    Attributes:
        files: paths of the files of the bucket.
        verdicts: on the copies, which lack what only rows need.
    """

    files: tuple[str, ...]
    verdicts: list[Verdict]


class Prepared:
    """A bucket whose new rows are written.

    Attributes:
        files: not yet committed.
        failed: the instances whose rows cannot be made, each with its outcome.
    """

    def __init__(self, bucket: "_Bucket", files: list[PreparedFile]) -> None:
        """Keep what the verdicts follow from."""
        self.files = files
        self.failed = bucket.failed
        self._bucket = bucket

    def judged(self) -> Iterator[JudgedCopies]:
        """Yield the verdicts on all other instances."""
        files = tuple(prepared.file.path for prepared in self.files)
        verdicts = self._bucket.all_verdicts()
        while some := list(itertools.islice(verdicts, _CHUNK)):
            yield JudgedCopies(files, some)


def prepare(
    data: Storage, instances: Iterable[Instance], operation: str, *, dry_run: bool = False
) -> Prepared:
    """Write the new rows of instances into files that are not committed yet.

    Args:
        data: the data folder of a store.
        instances: all copies of some UIDs, in any order.
        operation: id of the running import.
        dry_run: write nothing.

    Raises:
        LookupError: the store was deleted meanwhile.
    """
    with tempfile.TemporaryFile(prefix="dicomferry-rows-") as spool:
        bucket = _Bucket(Index(data), SortedCopies(instances, spool), operation)
        try:
            files = bucket.write(data, dry_run=dry_run)
        except Exception:
            if not bucket.leave_out_failures():
                raise
            files = bucket.write(data, dry_run=dry_run)
        return Prepared(bucket, files)


class _Bucket:
    def __init__(self, index: Index, copies: SortedCopies, operation: str) -> None:
        started = time.monotonic()
        uids = copies.uids()
        rows = repeat_where_purged(index, lambda: index.lookup(uids)).to_pylist()
        milliseconds = round((time.monotonic() - started) * 1000)
        Metrics.distribution("commit", "lookup_ms").update(milliseconds)
        self.failed: list[FileOutcome] = []
        self._gone: list[Verdict] = []
        self._index = index
        self._stored = {row[Column.SOP_INSTANCE_UID]: row for row in rows}
        self._copies = copies
        self._operation = operation

    def write(self, data: Storage, *, dry_run: bool) -> list[PreparedFile]:
        if dry_run:
            for _ in self._verdicts():  # or what it raises would come too late
                pass
            return []
        renewals = Renewals(data)
        while renewals.lose(self._new(), self._index.cutoff):
            self._leave_out_gone(renewals.lost)
        oldest = min((renewals.time_of(copy) for copy in self._new()), default=0.0)
        files = write_files(data, self._rows(), IMPORTED)
        return [PreparedFile(file, self._index.version, oldest) for file in files]

    def all_verdicts(self) -> Iterator[Verdict]:
        yield from self._verdicts()
        yield from self._gone

    def _verdicts(self) -> Iterator[Verdict]:
        """Yield a verdict on each of the copies, in their order."""
        for uid, copies in itertools.groupby(self._copies, key=_uid_of):
            yield from resolve_copies(copies, self._stored.get(uid), self._operation)

    def _new(self) -> Iterator[Instance]:
        return (verdict.copy for verdict in self._verdicts() if verdict.is_new)

    def _rows(self) -> Iterator[pa.Table]:
        new = (n for n, verdict in enumerate(self._verdicts()) if verdict.is_new)
        slices = batch_by_size(map(self._copies.whole, new), _size_of, _SLICE_ROWS, _SLICE_BYTES)
        return (fit(rows_of(some, self._operation), self._index.schema) for some in slices)

    def _leave_out_gone(self, blobs: set[str]) -> None:
        gone = {n: copy for n, copy in enumerate(self._copies) if copy.blob in blobs}
        self._gone += [Verdict(copy, Outcome.FAILED, "", is_new=False) for copy in gone.values()]
        self._copies = self._copies.without(gone)

    def leave_out_failures(self) -> bool:
        """Find the copies that have no verdict or no row; return whether there are any."""
        failed = {}
        for number in range(len(self._copies)):
            copy = self._copies.whole(number)
            try:
                with fails_alone():
                    list(resolve_copies([copy], None, ""))
                    rows_of([copy], "")
            except InstanceError as error:
                failed[number] = FileOutcome.of_failure(
                    copy.source_uri,
                    error,
                    sop_instance_uid=copy.sop_instance_uid,
                    size=copy.size,
                    version=copy.source_version,
                )
        self.failed += failed.values()
        self._copies = self._copies.without(failed)
        return bool(failed)


def rows_of(instances: Sequence[Instance], operation: str) -> pa.Table:
    """Return the index rows of instances, with the columns of `SCHEMA`."""
    now = datetime.now(UTC)
    decompress = zstandard.ZstdDecompressor().decompress
    columns: Mapping[str, list[Any]] = {
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


def _uid_of(copy: Instance) -> str:
    return copy.sop_instance_uid


def _size_of(copy: Instance) -> int:
    return copy.structured_size


class _PrepareFn(beam.DoFn):
    def __init__(self, data: Storage, operation: str, dry_run: bool) -> None:
        self._data = data
        self._operation = operation
        self._dry_run = dry_run

    def process(self, bucket: tuple[int, Iterable[Instance]]) -> Iterator[Any]:
        prepared = prepare(self._data, bucket[1], self._operation, dry_run=self._dry_run)
        for file in prepared.files:
            yield TaggedOutput("files", file)
        for outcome in prepared.failed:
            yield TaggedOutput("outcomes", outcome)
        yield from prepared.judged()
