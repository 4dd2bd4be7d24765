"""Check and load a Delta table, by one atomic commit.

Delta has neither TIME nor JSON: both are strings there, a TIME as HH:MM:SS[.ffffff].
"""

import os
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.schema import ArrayType, PrimitiveType, StructType
from deltalake.transaction import AddAction

from dicomferry.tables.delta_table import DeltaTablePath
from dicomferry.tables.destination import Load, WriteDisposition
from dicomferry.tables.duckdb_types import (
    DUCKDB_TYPES,
    MEMORY_BUDGETS,
    UNFIT_ROW_ERRORS,
    empty_sql,
    is_out_of_memory,
    too_large,
    unfit_row,
)
from dicomferry.tables.errors import TableBusyError, TableError, TableNotEmptyError
from dicomferry.tables.parquet_files import ParquetFiles, parser
from dicomferry.tables.schema import NULLABLE, REPEATED, Field, Schema, widened

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
T = TypeVar("T")


def check(destination: DeltaTablePath, disposition: WriteDisposition, schema: Schema) -> None:
    """Refuse what `load` would refuse, as far as it can be known; changes nothing.

    Raises:
        TableNotEmptyError, SchemaConflictError, TableError.
    """
    _refuse(_open_latest(destination), destination, disposition, schema)


def load(destination: DeltaTablePath, load: Load) -> None:
    """Put the rows in by one commit, all or none of them, and once for a `Load.job`.

    A new table appears, empty, before the commit, and so do new columns before their rows. If
    another load commits in between, this one checks the table again; the rows of the other remain,
    except under WRITE_TRUNCATE.

    Raises:
        TableNotEmptyError, SchemaConflictError, TableBusyError, TableError: no row was added.
    """
    table = _open_latest(destination)
    if table is not None and _has(destination, table, load.job):
        return
    _refuse(table, destination, load.disposition, load.schema)
    if table is None:
        # If two loads create a table with their rows at the same time, both succeed, and the rows
        # of both are in it. So it is created empty, and then handled like one that was there.
        _create(destination, load.schema)
    ordered = load.schema if table is None else _in_order_of(_columns(table), load.schema)
    with ParquetFiles(destination.storage) as files:
        for budget in MEMORY_BUDGETS:
            try:
                files.write(load.shards, ordered, _TYPES, budget)
                break
            except duckdb.Error as error:
                if not is_out_of_memory(error):
                    if isinstance(error, UNFIT_ROW_ERRORS):
                        raise unfit_row(destination.uri) from None
                    raise
        else:
            raise too_large(destination.uri)
        _commit(destination, files, load)


def _commit(destination: DeltaTablePath, files: ParquetFiles, load: Load) -> None:
    def try_once() -> bool:
        """Return whether the rows are in, by this commit or an earlier one."""
        table = _open(destination)
        if table.transaction_version(load.job) is not None:
            # The table has these files if the answer of our own commit was lost; if another process
            # ran the same load, it has others.
            files.keep(pa.table(table.get_add_actions()).column("path").to_pylist())
            return True
        files.keep(())
        _refuse(table, destination, load.disposition, load.schema)
        try:
            if destination.storage.capabilities.is_networked:
                files.keep()  # until the outcome is known: a failed commit may have got through
            _add(table, files.added, load)
        except CommitFailedError:
            return False
        files.keep()
        return True

    for attempt in range(_ATTEMPTS):
        if _retried(destination, try_once):
            return
        time.sleep(random.uniform(0.0, 0.1 * (attempt + 1)))
    raise TableBusyError(
        f"{_ATTEMPTS} times another load was faster than the one into {destination.uri}. Try"
        " again when fewer run."
    )


def _add(table: DeltaTable, files: list[AddAction], load: Load) -> None:
    # Delta refuses a commit if one of the same application came after the version of `table`; the
    # transaction's number has no effect. An application named after the job records that it ran.
    ours, done = Transaction(_APP, 1), Transaction(load.job, 1)
    columns = _arrow_schema(parser(), load.schema)
    if load.disposition is WriteDisposition.WRITE_TRUNCATE:
        mode, schema_after = "overwrite", DeltaSchema.from_arrow(columns)
    else:
        existing = _columns(table)
        if widened(existing, tuple(map(_in_delta, load.schema))) != existing:
            write_deltalake(
                table,
                columns.empty_table(),
                mode="append",
                schema_mode="merge",
                commit_properties=CommitProperties(app_transactions=[ours]),
            )
        mode, schema_after = "append", table.schema()
    table.create_write_transaction(
        list(files),
        mode,
        schema_after,
        commit_properties=CommitProperties(app_transactions=[ours, done]),
    )


def _in_order_of(existing: Schema, new: Schema) -> Schema:
    """Return columns in the order, at every level, of a table's own."""
    known = {field.name: (place, field.fields) for place, field in enumerate(existing)}
    last = len(existing), ()
    fields = sorted(new, key=lambda field: known.get(field.name, last)[0])
    return tuple(
        field._replace(fields=_in_order_of(known.get(field.name, last)[1], field.fields))
        for field in fields
    )


def _columns(table: DeltaTable) -> Schema:
    return tuple(_field_of(field.name, field.type) for field in table.schema().fields)


def _arrow_schema(connection: duckdb.DuckDBPyConnection, schema: Schema) -> pa.Schema:
    return connection.sql(empty_sql(schema, _TYPES)).to_arrow_table().schema


def _open(destination: DeltaTablePath) -> DeltaTable:
    return DeltaTable(destination.location, storage_options=_options(destination))


def _open_latest(destination: DeltaTablePath) -> DeltaTable | None:
    """Return the table at its latest version, None if it does not exist."""
    location = destination.location
    if destination.is_local:
        if not os.path.exists(location):
            return None
        is_folder = os.path.isdir(location)
        if not is_folder or (os.listdir(location) and "_delta_log" not in os.listdir(location)):
            raise TableError(
                f"{location} exists and is no Delta table. Choose another folder, or empty it."
            )
    try:
        return _retried(destination, lambda: _open(destination))
    except TableNotFoundError:
        return None


def _create(destination: DeltaTablePath, schema: Schema) -> None:
    """Create an empty table, unless another load was faster."""
    columns = _arrow_schema(parser(), schema)

    def create() -> None:
        try:
            DeltaTable.create(
                destination.location,
                columns,
                mode="error",
                storage_options=_options(destination),
            )
        except DeltaError:
            if _open_latest(destination) is None:
                raise

    _retried(destination, create)


def _has(destination: DeltaTablePath, table: DeltaTable, job: str) -> bool:
    return _retried(destination, lambda: table.transaction_version(job)) is not None


def _retried(destination: DeltaTablePath, call: Callable[[], T]) -> T:
    """Call an idempotent function until the table's storage answers in full."""

    def call_networked() -> T:
        try:
            return call()
        except TableNotFoundError:
            raise
        except DeltaError as error:
            # A listing that broke off, or a version that it listed and then could not read.
            raise OSError(str(error)) from error

    storage = destination.storage
    return storage.retry(call_networked if storage.capabilities.is_networked else call)


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
    widened(_columns(table), tuple(map(_in_delta, schema)))


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


def _options(destination: DeltaTablePath) -> dict[str, str] | None:
    return destination.storage.delta_options()
