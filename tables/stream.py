"""Rows of new instances for the tables of a store's stream_configs (StreamConfig of the API)."""

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tables.destination import (
    DeltaTablePath,
    Destination,
    DuckDBTable,
    WriteDisposition,
    parse_destination,
)
from tables.flattened import merge_flattened
from tables.loading import Connections, load, row_writer
from tables.rows import RowWarning, RowWriter
from tables.schema import Schema
from tables.shards import Shards

MAX_ROW_BYTES = 1 << 20
"""A larger row is not streamed."""

# No row of a smaller Metadata is larger than MAX_ROW_BYTES: it is never eight times its size.
_SMALL = MAX_ROW_BYTES // 8


class Stream(NamedTuple):
    """One of a store's stream_configs.

    Attributes:
        table_uri: bq:, duckdb: or delta:.
        flattened: SchemaFlattened, else SchemaJSON.
        source_store: the store's name for the column SourceDicomStore; no such column if ''.
    """

    table_uri: str
    flattened: bool
    source_store: str


class Appended(NamedTuple):
    """What became of the instances of one append.

    Attributes:
        rows: how many were appended.
        skipped: SOP Instance UIDs of those whose row is larger than `MAX_ROW_BYTES`.
        warnings: (SOP Instance UID, warning) of appended rows.
    """

    rows: int
    skipped: tuple[str, ...]
    warnings: tuple[tuple[str, RowWarning], ...]


def streams_of(resource: dict[str, object], store: str) -> list[Stream]:
    """The streams of a DicomStore in proto JSON form."""
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
    """Refuse, for a remote runner, tables that its workers would make on their own disks.

    Raises:
        ValueError: with the table and the remedy.
    """
    for stream in streams:
        destination = parse_destination(stream.table_uri)
        if isinstance(destination, DuckDBTable) or (
            isinstance(destination, DeltaTablePath) and "://" not in destination.location
        ):
            raise ValueError(
                f"the store streams to {stream.table_uri}, which the workers of a remote runner "
                "cannot reach: use bq:// or delta:gs:// in its stream_configs, or a local runner"
            )


def append_rows(
    destination: Destination,
    instances: Iterable[Mapping[str, Any]],
    job: str,
    *,
    flattened: bool,
    source_store: str = "",
    connections: Connections = Connections(),  # noqa: B008 - immutable
) -> Appended:
    """Append the rows of new instances by one load; make or widen the table where needed.

    Load jobs rather than BigQuery's streaming inserts: an import comes in batches, and a load is
    atomic, is not repeated under the same `job`, and adds columns itself.

    Args:
        destination: the table.
        instances: index rows.
        job: names this append for ever: the operation's id and what tells its appends apart.
        flattened: SchemaFlattened, else SchemaJSON.
        source_store: the store's name for the column SourceDicomStore; no such column if empty.
        connections: how the destination is reached.

    Raises:
        TableError: and its subclasses; nothing was appended.
    """
    schema: Schema = ()
    rows = 0
    skipped: list[str] = []
    warnings: list[tuple[str, RowWarning]] = []

    def writer() -> RowWriter:
        return row_writer(destination, flattened=flattened, source_store=source_store, stream=True)

    usual = writer()
    with tempfile.TemporaryDirectory(prefix="dicomferry-") as folder:
        path = os.path.join(folder, "rows.ndjson")
        with open(path, "wb") as file:
            for instance in instances:
                # A skipped row must not leave its columns in the table.
                own = usual if len(instance["Metadata"]) < _SMALL else writer()
                row = own.row(instance)
                uid = str(instance["SOPInstanceUID"])
                if len(row.line) > MAX_ROW_BYTES:
                    skipped.append(uid)
                    continue
                if own is not usual:
                    schema = merge_flattened(schema, own.schema)
                file.write(row.line + b"\n")
                rows += 1
                warnings += [(uid, warning) for warning in row.warnings]
        if rows:
            schema = merge_flattened(schema, usual.schema)
            append = WriteDisposition.WRITE_APPEND
            load(destination, Shards((path,)), schema, append, job, connections)
    return Appended(rows, tuple(skipped), tuple(warnings))
