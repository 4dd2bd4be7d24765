"""Write index rows as rows of a table. No Beam here: worker processes import it."""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from tables.destination import Destination
from tables.loading import row_writer
from tables.rows import RowWarning
from tables.schema import Schema

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


class TableTarget(NamedTuple):
    """Which table rows are written for.

    Attributes:
        destination: the table.
        flattened: SchemaFlattened, else SchemaJSON.
        source_store: the store's name for the column SourceDicomStore; no such column if ''.
    """

    destination: Destination
    flattened: bool = True
    source_store: str = ""


class Lines(NamedTuple):
    """Rows in newline-delimited JSON.

    Attributes:
        lines: one row each, with its line end.
        schema: the columns that they need.
        warnings: (SOP Instance UID, what did not fit its column).
    """

    lines: bytes
    schema: Schema
    warnings: list[tuple[str, RowWarning]]


def write_rows(slices: Sequence[pa.Table], target: TableTarget) -> list[Lines]:
    """Write the rows of slices of an index (`COLUMNS`), each by itself."""
    return [_write(rows, target) for rows in slices]


def _write(rows: pa.Table, target: TableTarget) -> Lines:
    writer = row_writer(
        target.destination, flattened=target.flattened, source_store=target.source_store
    )
    lines: list[bytes] = []
    warnings: list[tuple[str, RowWarning]] = []
    for instance in rows.to_pylist():
        row = writer.row(instance)
        lines.append(row.line)
        warnings += [(instance["SOPInstanceUID"], warning) for warning in row.warnings]
    return Lines(b"".join(line + b"\n" for line in lines), writer.schema, warnings)
