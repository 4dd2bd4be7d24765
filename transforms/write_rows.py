"""Write rows of the index as rows of a table, into shards. No Beam here: workers import it."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from dicomferry.errors import InstanceError
from dicomferry.operations.faults import fails_alone
from dicomferry.operations.folder import OperationFolder
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.store.index_files import row_group_batches
from dicomferry.store.index_schema import schema_of
from dicomferry.tables.columns import order_of
from dicomferry.tables.destination import Destination
from dicomferry.tables.row_writer import RowWriter, row_writer
from dicomferry.tables.rows import WARNINGS, RowWarning
from dicomferry.tables.schema import Schema, merge
from dicomferry.tables.shards import Shards
from dicomferry.tables.stream import StreamRows
from dicomferry.transforms.records import FileOutcome, instance_path, to_line

# Of the index, from which rows are made.
_SCHEMA = schema_of(
    [
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
        "Metadata",
        "StructuredStorageSize",
        "BlobStorageSize",
        "LastUpdated",
    ]
)
# Rows in memory at once, and bytes of their uncompressed Metadata.
_BATCH_ROWS = 256
_BATCH_BYTES = 16 << 20

ROW_TOO_LARGE = "ROW_TOO_LARGE"
"""Code of a row that is larger than a stream takes."""


class TableTarget(NamedTuple):
    """The table that rows are written for.

    Attributes:
        destination: the table.
        flattened: SchemaFlattened, else SchemaJSON.
        source_store: the store's name for the column SourceDicomStore; no such column if ''.
        stream: names an append to the table of a stream_config; '' for an export.
    """

    destination: Destination
    flattened: bool = True
    source_store: str = ""
    stream: str = ""


class RowGroupSelection(NamedTuple):
    """Rows of one row group of an index.

    Attributes:
        file: one of `Index.files`.
        row_group: its number in the file.
        mask: a Boolean for each of its rows; None selects all.
    """

    file: str
    row_group: int
    mask: pa.Array | None = None


class SkippedRow(NamedTuple):
    """An instance without a row.

    Attributes:
        sop_instance_uid: (0008,0018).
        code: ROW_TOO_LARGE, or a `Reason`.
        fault: kind and place of an INTERNAL_ERROR.
    """

    sop_instance_uid: str
    code: str
    fault: str = ""


class WrittenRows(NamedTuple):
    """Shards of a table.

    Attributes:
        shards: their paths below the operation's folder.
        schema: the columns of all of them.
        rows: number of rows.
        warnings: number of values that did not fit their columns; warnings-*.jsonl lists them.
        size: bytes of the shards.
        failed: number of instances whose rows could not be made; outcomes-*.jsonl lists those of
            an export, `skipped` those of a stream.
        skipped: instances that a stream leaves out.
    """

    shards: tuple[str, ...] = ()
    schema: Schema = ()
    rows: int = 0
    warnings: int = 0
    size: int = 0
    failed: int = 0
    skipped: tuple[SkippedRow, ...] = ()


def writer_for(target: TableTarget) -> RowWriter:
    """Return a writer of rows for a table; before the first row its schema has fixed columns."""
    if target.stream:
        return StreamRows(target.destination, target.flattened, target.source_store)
    return row_writer(
        target.destination, flattened=target.flattened, source_store=target.source_store
    )


def warning_line(uid: str, warning: RowWarning) -> dict[str, str]:
    """Return a warning as a line of warnings-*.jsonl, without the value that it is about."""
    tag, code = warning
    return {"sopInstanceUid": uid, "tag": tag, "code": code, "reason": WARNINGS[code]}


def write_parts(
    parts: Sequence[Sequence[RowGroupSelection]],
    data: Storage,
    folder: OperationFolder,
    target: TableTarget,
) -> list[WrittenRows]:
    """Write the rows of each part into shards, which its first row group names.

    A repeated part replaces its own shards. Memory: some hundred rows, and the warnings.

    Args:
        parts: rows of the index; each part gets its own shards.
        data: the store's data folder.
        folder: of the operation, where the shards go.
        target: the table.
    """
    return [_write(part, data, folder, target) for part in parts]


def combine(parts: Iterable[WrittenRows]) -> WrittenRows:
    """Return the sum of shards; associative and commutative, with the schema in tag order."""
    each = list(parts)
    return WrittenRows(
        tuple(sorted(itertools.chain.from_iterable(part.shards for part in each))),
        # Schemas of SchemaJSON are equal, so `merge` orders flattened ones only.
        merge((part.schema for part in each), order_of),
        sum(part.rows for part in each),
        sum(part.warnings for part in each),
        sum(part.size for part in each),
        sum(part.failed for part in each),
        tuple(itertools.chain.from_iterable(part.skipped for part in each)),
    )


def shards_of(folder: OperationFolder, written: WrittenRows) -> Shards:
    """Return the shards in the form that a load reads."""
    return Shards(tuple(map(folder.storage.uri, written.shards)), _read_shard)


def _read_shard(uri: str) -> Iterator[bytes]:
    folder, _, name = uri.rpartition("/")
    return open_storage(folder).chunks(name)


def _write(
    part: Sequence[RowGroupSelection], data: Storage, folder: OperationFolder, target: TableTarget
) -> WrittenRows:
    first = part[0]
    name = f"{first.file.rpartition('/')[2].removesuffix('.parquet')}-{first.row_group:05d}"
    name = f"{target.stream}-{name}" if target.stream else name
    lines = _Lines(part, data, writer_for(target))
    shards: list[str] = []
    for line in lines:
        shards.append(f"rows/{name}-{len(shards):04d}.ndjson")
        folder.storage.write(shards[-1], _limited(line, lines, target.destination.shard_bytes))
    if lines.warnings:
        about = {"table": target.destination.uri} if target.stream else {}
        kind = "stream-warnings" if target.stream else "warnings"
        warnings = ({**about, **warning_line(*warning)} for warning in lines.warnings)
        text = "".join(f"{json.dumps(warning)}\n" for warning in warnings)
        folder.storage.write(f"{kind}-{name}.jsonl", text.encode())
    if lines.failed and not target.stream:
        text = "".join(f"{to_line(outcome)}\n" for outcome in lines.failed)
        shard = hashlib.sha256(name.encode()).hexdigest()[:16]
        folder.write_outcomes(f"rows-{shard}", text.encode())
    return WrittenRows(
        tuple(shards),
        lines.schema if shards else (),
        lines.rows,
        len(lines.warnings),
        lines.size,
        len(lines.failed),
        tuple(lines.skipped) if target.stream else (),
    )


class _Lines:
    """An iterator over the rows of a part, as lines with their line breaks.

    Attributes:
        rows: number of lines so far; `size`: their bytes.
        warnings: pairs of SOP Instance UID and warning.
        failed: outcomes of the instances whose rows could not be made.
        skipped: the same, and those whose rows are too large.
    """

    def __init__(self, part: Sequence[RowGroupSelection], data: Storage, writer: RowWriter) -> None:
        self._writer = writer
        self._lines = self._write(part, data)
        self.rows = 0
        self.size = 0
        self.warnings: list[tuple[str, RowWarning]] = []
        self.failed: list[FileOutcome] = []
        self.skipped: list[SkippedRow] = []

    @property
    def schema(self) -> Schema:
        """The columns of the rows so far."""
        return self._writer.schema

    def __iter__(self) -> Iterator[bytes]:
        return self._lines

    def __next__(self) -> bytes:
        return next(self._lines)

    def _write(self, part: Sequence[RowGroupSelection], data: Storage) -> Iterator[bytes]:
        for instance in _instances(part, data):
            uid = instance["SOPInstanceUID"]
            try:
                with fails_alone():
                    row = self._writer.row(instance)
                    warnings = [(uid, warning) for warning in row.warnings] if row else []
            except InstanceError as error:
                self._fail(instance, error)
                continue
            if row is None:
                self.skipped.append(SkippedRow(uid, ROW_TOO_LARGE))
                continue
            self.warnings += warnings
            self.rows += 1
            self.size += len(row.line) + 1
            yield row.line + b"\n"

    def _fail(self, instance: Mapping[str, Any], error: InstanceError) -> None:
        uids = [instance[name] for name in _SCHEMA.names[:3]]
        outcome = FileOutcome.of_failure(instance_path(*uids), error, sop_instance_uid=uids[2])
        self.failed.append(outcome)
        self.skipped.append(SkippedRow(uids[2], outcome.code, outcome.fault))


def _instances(part: Sequence[RowGroupSelection], data: Storage) -> Iterator[dict[str, Any]]:
    """Yield the selected rows of the index."""
    for file, row_group, mask in part:
        start = 0
        for batch in row_group_batches(data, file, row_group, _SCHEMA, _BATCH_ROWS, _BATCH_BYTES):
            rows = batch
            if mask is not None:
                rows = batch.filter(mask.slice(start, batch.num_rows))
                start += batch.num_rows
            yield from rows.to_pylist()


def _limited(first: bytes, lines: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """Yield lines until a shard is full; the others remain in the iterator."""
    size = len(first)
    yield first
    while size < limit and (line := next(lines, None)) is not None:
        size += len(line)
        yield line
