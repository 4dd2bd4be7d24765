"""A Delta table: Parquet files that anything reads, changed by one atomic commit.

Delta has neither TIME nor JSON: both are strings there, a TIME as HH:MM:SS[.ffffff].
"""

import os
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.schema import ArrayType, PrimitiveType, StructType
from deltalake.transaction import AddAction

from dicomferry.storage.retries import with_retries
from dicomferry.tables.destination import DeltaTablePath, WriteDisposition
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
from dicomferry.tables.shards import Shards

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

    A table that did not exist is there, empty, before the commit, and new columns are there,
    empty, before their rows. Loads of others that come between are met by looking again; rows that
    they appended stay, except under WRITE_TRUNCATE.

    Raises:
        TableNotEmptyError, SchemaConflictError, TableBusyError, TableError: no row was added.
    """
    table = _opened(destination, storage_options)
    if table is not None and _has(destination, table, job):
        return
    _refuse(table, destination, disposition, schema)
    if table is None:
        # Of two that create a table with their rows at the same time both succeed, and the
        # rows of both are there. So it is created empty and then met like any other.
        _create(destination, schema, storage_options)
    ordered = schema if table is None else _in_order_of(_columns(table), schema)
    with ParquetFiles(destination.location, storage_options) as files:
        for effort in MEMORY_BUDGETS:
            try:
                files.write(shards, ordered, _TYPES, effort)
                break
            except duckdb.Error as error:
                if not is_out_of_memory(error):
                    if isinstance(error, UNFIT_ROW_ERRORS):
                        raise unfit_row(destination.uri) from None
                    raise
        else:
            raise too_large(destination.uri)
        _commit(destination, files, schema, disposition, job, storage_options)


def _commit(
    destination: DeltaTablePath,
    files: ParquetFiles,
    schema: Schema,
    disposition: WriteDisposition,
    job: str,
    storage_options: Mapping[str, str] | None,
) -> None:
    def try_once() -> bool:
        """Return whether the rows are in, by this commit or an earlier one."""
        table = DeltaTable(destination.location, storage_options=_options(storage_options))
        if table.transaction_version(job) is not None:
            # Of a commit whose answer was lost they are; of another process's load they are not.
            files.keep(pa.table(table.get_add_actions()).column("path").to_pylist())
            return True
        files.keep(())
        _refuse(table, destination, disposition, schema)
        try:
            if is_bucket:
                files.keep()  # until it is known: a commit that fails may have got through
            _add(table, files.added, schema, disposition, job)
        except CommitFailedError:
            return False
        files.keep()
        return True

    is_bucket = _is_bucket(destination)
    for attempt in range(_ATTEMPTS):
        if _answered(destination, try_once):
            return
        time.sleep(random.uniform(0.0, 0.1 * (attempt + 1)))
    raise TableBusyError(
        f"{_ATTEMPTS} times another load was faster than the one into {destination.uri}. Try"
        " again when fewer run."
    )


def _add(
    table: DeltaTable,
    files: list[AddAction],
    schema: Schema,
    disposition: WriteDisposition,
    job: str,
) -> None:
    # Delta fails a commit if one of the same application came after the version that `table`
    # is; the number that is given means nothing. The job's own application tells whether it
    # ran already.
    ours, done = Transaction(_APP, 1), Transaction(job, 1)
    columns = _arrow_schema(parser(), schema)
    if disposition is WriteDisposition.WRITE_TRUNCATE:
        mode, schema_after = "overwrite", DeltaSchema.from_arrow(columns)
    else:
        existing = _columns(table)
        if widened(existing, tuple(map(_in_delta, schema))) != existing:
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
    """Return columns in the order, at every level, in which a table has them."""
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
        return _answered(
            destination, lambda: DeltaTable(location, storage_options=_options(storage_options))
        )
    except TableNotFoundError:
        return None


def _create(
    destination: DeltaTablePath, schema: Schema, storage_options: Mapping[str, str] | None
) -> None:
    """Make an empty table, unless another is faster."""
    columns = _arrow_schema(parser(), schema)

    def create() -> None:
        try:
            DeltaTable.create(
                destination.location,
                columns,
                mode="error",
                storage_options=_options(storage_options),
            )
        except DeltaError:
            if _opened(destination, storage_options) is None:
                raise

    _answered(destination, create)


def _has(destination: DeltaTablePath, table: DeltaTable, job: str) -> bool:
    return _answered(destination, lambda: table.transaction_version(job)) is not None


def _is_bucket(destination: DeltaTablePath) -> bool:
    return "://" in destination.location


def _answered(destination: DeltaTablePath, call: Callable[[], T]) -> T:
    """Call what may be called any number of times until the table's bucket answers in full."""

    def call_bucket() -> T:
        try:
            return call()
        except TableNotFoundError:
            raise
        except DeltaError as error:
            # A listing that broke off, or a version that it was told of and then could not read.
            raise OSError(str(error)) from error

    return with_retries(call_bucket) if _is_bucket(destination) else call()


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


def _options(storage_options: Mapping[str, str] | None) -> dict[str, str] | None:
    return dict(storage_options) if storage_options else None
