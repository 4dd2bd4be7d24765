"""A Delta table: Parquet files that anything reads, changed by one atomic commit.

Delta has neither TIME nor JSON: both are strings there, a TIME as HH:MM:SS[.ffffff].
"""

import os
import random
import time
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import (
    CommitProperties,
    DeltaTable,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.schema import ArrayType, PrimitiveType, StructType

from tables.destination import DeltaTablePath, WriteDisposition
from tables.duckdb_types import (
    DUCKDB_TYPES,
    EFFORTS,
    UNFIT_ROW_ERRORS,
    Effort,
    asks_for_more,
    empty_sql,
    exert,
    from_arrow,
    rows_sql,
    too_large,
    unfit_row,
)
from tables.errors import TableBusyError, TableError, TableNotEmptyError
from tables.schema import NULLABLE, REPEATED, Field, Schema, widened
from tables.shards import Shards

# TIMESTAMPTZ becomes a Delta timestamp, an instant in UTC.
_TYPES = {**DUCKDB_TYPES, "TIME": "VARCHAR", "TIMESTAMP": "TIMESTAMPTZ", "JSON": "VARCHAR"}
_SCALARS = {
    "string": "STRING",
    "long": "INTEGER",
    "double": "FLOAT",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}
_LOSSY = {"TIME": "STRING", "JSON": "STRING"}
_APP = "dicomferry-load"
_ATTEMPTS = 20
_BATCH_ROWS = 1000
# A row group is made in memory; by default it has a million rows.
_WRITER = WriterProperties(compression="ZSTD", max_row_group_size=16_384)


def check(
    destination: DeltaTablePath,
    disposition: WriteDisposition,
    schema: Schema | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> None:
    """Refuse what `load` would refuse, as far as it can be known; changes nothing.

    Raises:
        TableNotEmptyError, SchemaConflictError, TableError.
    """
    _refuse(_opened(destination, storage_options), destination, disposition, schema or ())


def load(
    destination: DeltaTablePath,
    shards: Shards,
    schema: Schema,
    disposition: WriteDisposition,
    job: str,
    storage_options: Mapping[str, str] | None = None,
) -> None:
    """Put the rows in by one commit, all or none of them, and once a `job` however often called.

    A table that did not exist is there, empty, before the commit.
    Loads of others that come between are met by looking again; rows that they appended stay,
    except under WRITE_TRUNCATE.

    Raises:
        TableNotEmptyError, SchemaConflictError, TableBusyError, TableError: nothing changed.
    """
    for attempt in range(_ATTEMPTS):
        table = _opened(destination, storage_options)
        if table is not None and table.transaction_version(job) is not None:
            return
        _refuse(table, destination, disposition, schema)
        if table is None:
            # Of two that create a table with their rows at the same time both succeed, and the
            # rows of both are there. So it is created empty and then met like any other.
            _create(destination, schema, storage_options)
            continue
        try:
            for effort in EFFORTS:
                if _write(table, shards, schema, disposition, job, effort):
                    return
        except CommitFailedError:
            time.sleep(random.uniform(0.0, 0.1 * (attempt + 1)))
        except UNFIT_ROW_ERRORS:
            raise unfit_row(destination.uri) from None
        else:
            raise too_large(destination.uri)
    raise TableBusyError(
        f"{_ATTEMPTS} times another load was faster than the one into {destination.uri}. Try"
        " again when fewer run."
    )


def _write(
    table: DeltaTable,
    shards: Shards,
    schema: Schema,
    disposition: WriteDisposition,
    job: str,
    effort: Effort,
) -> bool:
    """Commit the rows; return False if they need a greater effort."""
    truncate = disposition is WriteDisposition.WRITE_TRUNCATE
    errors: list[Exception] = []
    try:
        write_deltalake(
            table,
            _batches(shards, schema, effort, errors),
            mode="overwrite" if truncate else "append",
            schema_mode="overwrite" if truncate else "merge",
            writer_properties=_WRITER,
            # Delta fails a commit if one of the same application came after the version that
            # `table` is; the number that is given means nothing. The job's own application
            # tells whether it ran already.
            commit_properties=CommitProperties(
                app_transactions=[Transaction(_APP, 1), Transaction(job, 1)]
            ),
        )
    except DeltaError:
        # It wraps what the stream raised in a text that can hold values.
        if not errors:
            raise
    if errors and not asks_for_more(errors[0]):
        raise errors[0]
    return not errors


def _batches(
    shards: Shards, schema: Schema, effort: Effort, errors: list[Exception]
) -> pa.RecordBatchReader:
    """Return the rows of all shards as one stream; what it raises is in `errors` too."""
    connection = _parser()
    exert(connection, effort)
    columns = _arrow_schema(connection, schema)
    query = rows_sql(schema, _TYPES, effort.max_row_bytes)

    def read() -> Iterator[pa.RecordBatch]:
        try:
            for globs in shards.local_globs():
                yield from connection.sql(query, params=[globs]).fetch_record_batch(_BATCH_ROWS)
        except Exception as error:  # deltalake passes on no more than its text
            errors.append(from_arrow(error))
            raise

    return pa.RecordBatchReader.from_batches(columns, read())


def _parser() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")  # else a timestamp bears the machine's zone
    return connection


def _arrow_schema(connection: duckdb.DuckDBPyConnection, schema: Schema) -> pa.Schema:
    return connection.sql(empty_sql(schema, _TYPES)).to_arrow_table().schema


def _opened(
    destination: DeltaTablePath, storage_options: Mapping[str, str] | None
) -> DeltaTable | None:
    """Return the table at its latest version, None if there is none."""
    location = destination.location
    if "://" not in location:
        if not os.path.exists(location):
            return None
        is_folder = os.path.isdir(location)
        if not is_folder or (os.listdir(location) and "_delta_log" not in os.listdir(location)):
            raise TableError(
                f"{location} exists and is no Delta table. Choose another folder, or empty it."
            )
    try:
        return DeltaTable(location, storage_options=_options(storage_options))
    except TableNotFoundError:
        return None


def _create(
    destination: DeltaTablePath, schema: Schema, storage_options: Mapping[str, str] | None
) -> None:
    """Make an empty table, unless another is faster."""
    options = _options(storage_options)
    try:
        DeltaTable.create(
            destination.location,
            _arrow_schema(_parser(), schema),
            mode="error",
            storage_options=options,
        )
    except (DeltaError, CommitFailedError):
        if _opened(destination, storage_options) is None:
            raise


def _refuse(
    table: DeltaTable | None,
    destination: DeltaTablePath,
    disposition: WriteDisposition,
    schema: Schema,
) -> None:
    if table is None or disposition is WriteDisposition.WRITE_TRUNCATE:
        return
    if disposition is WriteDisposition.WRITE_EMPTY and table.count():
        raise TableNotEmptyError(destination.uri)
    existing = tuple(_field_of(field.name, field.type) for field in table.schema().fields)
    widened(existing, tuple(map(_in_delta, schema)))


def _in_delta(field: Field) -> Field:
    """Return a column as Delta holds it."""
    return field._replace(
        type=_LOSSY.get(field.type, field.type), fields=tuple(map(_in_delta, field.fields))
    )


def _field_of(name: str, type_: Any) -> Field:
    mode = NULLABLE
    if isinstance(type_, ArrayType):
        mode, type_ = REPEATED, type_.element_type
    if isinstance(type_, StructType):
        fields = tuple(_field_of(field.name, field.type) for field in type_.fields)
        return Field(name, "RECORD", mode, fields)
    known = _SCALARS.get(type_.type) if isinstance(type_, PrimitiveType) else None
    return Field(name, known or f"delta {type_}", mode)


def _options(storage_options: Mapping[str, str] | None) -> dict[str, str] | None:
    return dict(storage_options) if storage_options else None
