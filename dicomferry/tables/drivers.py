"""The three kinds of table behind one face: who writes the rows, what is refused, the load."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from dicomferry.tables.destination import (
    BigQueryTable,
    DeltaTablePath,
    Destination,
    DuckDBTable,
    WriteDisposition,
)
from dicomferry.tables.flattened import FlattenedRows
from dicomferry.tables.json_schema import JsonRows
from dicomferry.tables.rows import BIGQUERY, EMBEDDED, RowWriter
from dicomferry.tables.schema import Field, Schema
from dicomferry.tables.shards import Shards

if TYPE_CHECKING:
    from google.cloud import bigquery

# What every instance has: the columns of a flattened table without rows.
_IDENTITY: Schema = (
    Field("SOPInstanceUID", "STRING"),
    Field("StudyInstanceUID", "STRING"),
    Field("SeriesInstanceUID", "STRING"),
)


class Connections(NamedTuple):
    """How the destinations are reached.

    Attributes:
        delta_storage_options: as deltalake takes them, for gs:// tables.
        bigquery_client: None makes one with application default credentials, or for the
            emulator that BIGQUERY_EMULATOR_HOST names.
    """

    delta_storage_options: Mapping[str, str] | None = None
    bigquery_client: "bigquery.Client | None" = None


def row_writer(
    destination: Destination, *, flattened: bool, source_store: str = "", stream: bool = False
) -> RowWriter:
    """Return a writer of rows that the destination takes.

    Args:
        destination: where the rows go.
        flattened: SchemaFlattened, else SchemaJSON.
        source_store: the store's name for the column SourceDicomStore; no such column if empty.
        stream: whether the rows are a stream_config's.
    """
    limits = BIGQUERY if isinstance(destination, BigQueryTable) else EMBEDDED
    if flattened:
        return FlattenedRows(limits, source_store, stream)
    return JsonRows(limits, source_store)


def check(
    destination: Destination,
    disposition: WriteDisposition,
    schema: Schema | None = None,
    connections: Connections = Connections(),  # noqa: B008 - immutable
) -> None:
    """Refuse before any work what `load` would refuse, as far as it can be known.

    Changes nothing.

    Raises:
        TableError: and its subclasses; the message says what is wrong and the remedy.
    """
    match destination:
        case DuckDBTable():
            from dicomferry.tables import duckdb_table

            duckdb_table.check(destination, disposition, schema)
        case DeltaTablePath():
            from dicomferry.tables import delta_table

            options = connections.delta_storage_options
            delta_table.check(destination, disposition, schema, options)
        case BigQueryTable():
            from dicomferry.tables import bigquery_table

            client = connections.bigquery_client or bigquery_table.client_for(destination)
            bigquery_table.check(client, destination, disposition, schema)


def load(
    destination: Destination,
    shards: Shards,
    schema: Schema,
    disposition: WriteDisposition,
    job: str,
    connections: Connections = Connections(),  # noqa: B008 - immutable
) -> None:
    """Put the rows of all shards in, atomically.

    Args:
        destination: the table.
        shards: the rows; no shards make the table as a load without rows does.
        schema: of the rows.
        disposition: what becomes of rows that are there.
        job: names this load for ever, like an operation's id. Called again with the same one
            nothing is appended twice.
        connections: how the destination is reached.

    Raises:
        TableError: and its subclasses; the table is as it was.
    """
    schema = schema or _IDENTITY
    match destination:
        case DuckDBTable():
            from dicomferry.tables import duckdb_table

            duckdb_table.load(destination, shards, schema, disposition, job)
        case DeltaTablePath():
            from dicomferry.tables import delta_table

            options = connections.delta_storage_options
            delta_table.load(destination, shards, schema, disposition, job, options)
        case BigQueryTable():
            from dicomferry.tables import bigquery_table

            client = connections.bigquery_client or bigquery_table.client_for(destination)
            bigquery_table.load(client, destination, shards, schema, disposition, job)
