"""Writers of rows: instances in, lines that one destination takes out."""

from collections.abc import Mapping
from typing import Any, Protocol

from dicomferry.tables.destination import Destination
from dicomferry.tables.flattened import FlattenedRows
from dicomferry.tables.json_schema import JsonRows
from dicomferry.tables.rows import Row
from dicomferry.tables.schema import Schema


class RowWriter(Protocol):
    """Turns index rows of instances into rows of one table."""

    @property
    def schema(self) -> Schema:
        """The columns of the rows that were written so far."""

    def row(self, instance: Mapping[str, Any]) -> Row | None:
        """Return the row of an instance, given its index row; None if it is left out."""


def row_writer(
    destination: Destination, *, flattened: bool, source_store: str = "", stream: bool = False
) -> RowWriter:
    """Return a writer of rows that a destination takes.

    Args:
        destination: where the rows go.
        flattened: SchemaFlattened, else SchemaJSON.
        source_store: the store's name for the column SourceDicomStore; no such column if empty.
        stream: whether the rows are a stream_config's.
    """
    if flattened:
        return FlattenedRows(destination.limits, source_store, stream)
    return JsonRows(destination.limits, source_store)
