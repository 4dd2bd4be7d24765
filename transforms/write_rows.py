"""Write index rows as rows of a table, into shards. No Beam here: worker processes import it."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from dicomferry.operations.folder import OperationFolder
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.store.index_files import row_group_batches
from dicomferry.tables.columns import order_of
from dicomferry.tables.destination import Destination
from dicomferry.tables.row_writer import RowWriter, row_writer
from dicomferry.tables.rows import WARNINGS, RowWarning
from dicomferry.tables.schema import Schema, merge
from dicomferry.tables.shards import Shards
from dicomferry.tables.stream import StreamRows

# What rows are made from.
COLUMNS = [
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "Metadata",
    "StructuredStorageSize",
    "BlobStorageSize",
    "LastUpdated",
]
# How much Metadata, uncompressed, lies in memory at once; and in how many rows.
_BATCH_BYTES = 16 << 20
_BATCH_ROWS = 256
# One load job takes 10,000 files and 15 TB, and a shard that is in a bucket lies on the disk of
# who loads it.
_SHARD_BYTES = 256 << 20


class TableTarget(NamedTuple):
    """Which table rows are written for.

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
    """Rows of an index that are written together.

    Attributes:
        file: one of `Index.files`.
        row_group: its number in the file.
        mask: which of its rows; None: all.
    """

    file: str
    row_group: int
    mask: pa.Array | None = None


class WrittenRows(NamedTuple):
    """Shards of a table.

    Attributes:
        shards: their paths below the operation's folder.
        schema: the columns of all of them.
        rows: how many.
        warnings: how many values did not fit their columns; each is in warnings-*.jsonl.
        size: bytes of the shards.
        skipped: SOP Instance UIDs whose rows are larger than a stream takes.
    """

    shards: tuple[str, ...] = ()
    schema: Schema = ()
    rows: int = 0
    warnings: int = 0
    size: int = 0
    skipped: tuple[str, ...] = ()


def writer_for(target: TableTarget) -> RowWriter:
    """A writer of rows for a table; before the first its schema is what every table has."""
    if target.stream:
        return StreamRows(target.destination, target.flattened, target.source_store)
    return row_writer(
        target.destination, flattened=target.flattened, source_store=target.source_store
    )


def warning_line(uid: str, warning: RowWarning) -> dict[str, str]:
    """What a list of warnings says of one: no value."""
    tag, code = warning
    return {"sopInstanceUid": uid, "tag": tag, "code": code, "reason": WARNINGS[code]}


def write_parts(
    parts: Sequence[Sequence[RowGroupSelection]],
    data: Storage,
    folder: OperationFolder,
    target: TableTarget,
) -> list[WrittenRows]:
    """Write the rows of each part into shards that are named by its first unit.

    The same part again replaces its own shards. Memory: some hundred rows, and the warnings.
    """
    return [_write(units, data, folder, target) for units in parts]


def combine(parts: Iterable[WrittenRows]) -> WrittenRows:
    """Sum up shards; associative and commutative, the schema in tag order."""
    total = WrittenRows()
    for part in parts:
        total = WrittenRows(
            tuple(sorted((*total.shards, *part.shards))),
            # A JSON schema is the same everywhere, so only flattened ones are ever ordered.
            merge((total.schema, part.schema), order_of),
            total.rows + part.rows,
            total.warnings + part.warnings,
            total.size + part.size,
            (*total.skipped, *part.skipped),
        )
    return total


def shards_of(folder: OperationFolder, written: WrittenRows) -> Shards:
    """The shards for a load."""
    return Shards(tuple(map(folder.storage.uri, written.shards)), _read_shard)


def _read_shard(uri: str) -> Iterator[bytes]:
    folder, _, name = uri.rpartition("/")
    return open_storage(folder).chunks(name)


def _write(
    units: Sequence[RowGroupSelection], data: Storage, folder: OperationFolder, target: TableTarget
) -> WrittenRows:
    writer = writer_for(target)
    name = f"{units[0].file.rpartition('/')[2].removesuffix('.parquet')}-{units[0].row_group:05d}"
    name = f"{target.stream}-{name}" if target.stream else name
    warnings: list[tuple[str, RowWarning]] = []
    counts: Counter[str] = Counter()
    skipped: list[str] = []
    lines = _lines(units, data, writer, warnings, counts, skipped)
    shards: list[str] = []
    for first in lines:
        shards.append(f"rows/{name}-{len(shards):04d}.ndjson")
        folder.storage.write(shards[-1], _limited(first, lines))
    if warnings:
        about = {"table": target.destination.uri} if target.stream else {}
        found = ({**about, **warning_line(*warning)} for warning in warnings)
        kind = "stream-warnings" if target.stream else "warnings"
        text = "".join(f"{json.dumps(line)}\n" for line in found)
        folder.storage.write(f"{kind}-{name}.jsonl", text.encode())
    schema = writer.schema if shards else ()
    return WrittenRows(
        tuple(shards), schema, counts["rows"], len(warnings), counts["bytes"], tuple(skipped)
    )


def _lines(
    units: Sequence[RowGroupSelection],
    data: Storage,
    writer: RowWriter,
    warnings: list[tuple[str, RowWarning]],
    counts: Counter[str],
    skipped: list[str],
) -> Iterator[bytes]:
    """The rows of units as lines, their end included; what else is found goes to the others."""
    for unit in units:
        start = 0
        limits = _BATCH_ROWS, _BATCH_BYTES
        for batch in row_group_batches(data, unit.file, unit.row_group, COLUMNS, *limits):
            rows = batch
            if unit.mask is not None:
                rows = batch.filter(unit.mask.slice(start, batch.num_rows))
                start += batch.num_rows
            for instance in rows.to_pylist():
                row = writer.row(instance)
                if row is None:
                    skipped.append(instance["SOPInstanceUID"])
                    continue
                warnings += [(instance["SOPInstanceUID"], warning) for warning in row.warnings]
                counts.update(rows=1, bytes=len(row.line) + 1)
                yield row.line + b"\n"


def _limited(first: bytes, lines: Iterator[bytes]) -> Iterator[bytes]:
    """Lines until a shard is full; the others stay."""
    size = len(first)
    yield first
    while size < _SHARD_BYTES and (line := next(lines, None)) is not None:
        size += len(line)
        yield line
