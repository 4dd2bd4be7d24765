"""Rows of new instances for the tables of a store's stream_configs (StreamConfig of the API)."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dicomferry.tables.destination import Destination, parse_destination
from dicomferry.tables.flattened import merge_flattened
from dicomferry.tables.row_writer import row_writer
from dicomferry.tables.rows import Row
from dicomferry.tables.schema import Schema

MAX_ROW_BYTES = 1 << 20
"""A larger row is not streamed."""

# No row of a smaller Metadata is larger than MAX_ROW_BYTES: it is never eight times its size.
_SMALL = MAX_ROW_BYTES // 8


class Stream(NamedTuple):
    """One of a store's stream_configs.

    Attributes:
        table_uri: the table as the resource names it.
        flattened: SchemaFlattened, else SchemaJSON.
        source_store: the store's name for the column SourceDicomStore; no such column if ''.
    """

    table_uri: str
    flattened: bool
    source_store: str

    @property
    def destination(self) -> Destination:
        """The table."""
        return parse_destination(self.table_uri)

    @property
    def log_name(self) -> str:
        """What identifies the table in the names of files and loads."""
        return hashlib.sha256(self.destination.uri.encode()).hexdigest()[:16]


def streams_of(resource: dict[str, object], store: str) -> list[Stream]:
    """Return the streams of a DicomStore.

    Args:
        resource: the DicomStore in proto JSON form.
        store: its name, for streams that have the column SourceDicomStore.
    """
    configs = resource.get("streamConfigs", [])
    assert isinstance(configs, list)
    destinations = [config["bigqueryDestination"] for config in configs]
    return [
        Stream(
            destination["tableUri"],
            "schemaJson" not in destination,
            store if destination.get("includeSourceStore") else "",
        )
        for destination in destinations
    ]


def refuse_local_tables(streams: Sequence[Stream]) -> None:
    """Refuse, for a remote runner, tables that its workers would write on their own disks.

    Raises:
        ValueError: with the table and the remedy.
    """
    for stream in streams:
        if stream.destination.is_local:
            raise ValueError(
                f"the store streams to {stream.table_uri}, which the workers of a remote runner "
                "cannot reach: use bq:// or delta:gs:// in its stream_configs, or a local runner"
            )


class StreamRows:
    """Writer of a stream's rows, which are not larger than `MAX_ROW_BYTES`."""

    def __init__(self, destination: Destination, flattened: bool, source_store: str = "") -> None:
        """Create a writer for one table.

        Args:
            destination: the table.
            flattened: SchemaFlattened, else SchemaJSON.
            source_store: the store's name for the column SourceDicomStore; no such column if ''.
        """
        self._writer = functools.partial(
            row_writer, destination, flattened=flattened, source_store=source_store, stream=True
        )
        self._usual = self._writer()
        self._schema: Schema = ()

    @property
    def schema(self) -> Schema:
        """The columns of the rows that were written so far."""
        return merge_flattened(self._schema, self._usual.schema)

    def row(self, instance: Mapping[str, Any]) -> Row | None:
        """Return the row of an instance, given its index row; None if it is too large."""
        if len(instance["Metadata"]) < _SMALL:
            return self._usual.row(instance)
        own = self._writer()  # a row that is left out adds no columns to the table
        row = own.row(instance)
        if row is None or len(row.line) > MAX_ROW_BYTES:
            return None
        self._schema = merge_flattened(self._schema, own.schema)
        return row
