"""Check and load a table in a duckdb file, by one transaction.

duckdb opens a file for writing in one process at a time. The table dicomferry.appends of the same
file lists the jobs that were appended, and changes in the same transaction.
"""

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

import duckdb

from dicomferry.storage.registry import open_file, open_storage
from dicomferry.storage.writable import is_writable
from dicomferry.tables.destination import Load, WriteDisposition
from dicomferry.tables.duckdb_types import (
    DUCKDB_TYPES,
    MEMORY_BUDGETS,
    UNFIT_ROW_ERRORS,
    MemoryBudget,
    apply_memory_budget,
    field_of,
    is_out_of_memory,
    quoted,
    rows_sql,
    sql_type,
    too_large,
    unfit_row,
)
from dicomferry.tables.errors import TableBusyError, TableError, TableNotEmptyError
from dicomferry.tables.schema import Schema, widened
from dicomferry.tables.special_files import refuse_special_files

if TYPE_CHECKING:
    from dicomferry.tables.duckdb_table import DuckDBTable

_LOGGER = logging.getLogger(__name__)

LOCK_WAIT_S = 60.0
_POLL_S = 0.2
# Connections of one process share a file; of two transactions that conflict, one fails.
_CONFLICTS = (duckdb.TransactionException, duckdb.ConstraintException)
_APPENDS_SCHEMA, _APPENDS = "dicomferry", "appends"
_APPENDS_COLUMNS = "job VARCHAR, table_name VARCHAR, PRIMARY KEY (job, table_name)"
_HOLDER = re.compile(r"lock is held in (.+?) \(PID (\d+)\)")


def check(destination: "DuckDBTable", disposition: WriteDisposition, schema: Schema) -> None:
    """Refuse what `load` would refuse, as far as it can be known; changes nothing.

    Raises:
        TableNotEmptyError, SchemaConflictError, TableBusyError, TableError.
    """
    folder = os.path.dirname(os.path.abspath(destination.path))
    if not os.path.isdir(folder):
        raise TableError(f"the folder {folder} does not exist. Create it, or choose another file.")
    if not is_writable(open_storage(folder)):
        raise TableError(
            f"the folder {folder} cannot be written: duckdb makes files beside its own there."
            " Change its permissions, or choose another file."
        )
    if not os.path.exists(destination.path):
        return
    with _connected(destination) as connection:
        _existing(connection, destination, disposition, schema)


def load(destination: "DuckDBTable", load: Load) -> None:
    """Put the rows in, all or none of them; an append happens once for a `Load.job`.

    Readers in this process see the old table until the new one is complete; other processes
    get no connection meanwhile.

    Raises:
        TableNotEmptyError, SchemaConflictError, TableBusyError, TableError: nothing changed.
    """
    deadline = time.monotonic() + LOCK_WAIT_S
    with _connected(destination) as connection:
        budgets = iter(MEMORY_BUDGETS)
        budget = next(budgets)
        while True:
            apply_memory_budget(connection, budget)
            try:
                with _transaction(connection):
                    _insert(connection, destination, load, budget)
                break
            except duckdb.Error as error:
                if is_out_of_memory(error):
                    budget = next(budgets, None) or _give_up(destination)
                elif isinstance(error, UNFIT_ROW_ERRORS):
                    raise unfit_row(destination.uri) from None
                elif not isinstance(error, _CONFLICTS):
                    raise
                elif time.monotonic() >= deadline:
                    raise TableBusyError(
                        f"other loads of this process into {destination.uri} did not end within"
                        f" {LOCK_WAIT_S:.0f} s. Try again later."
                    ) from None
                else:
                    time.sleep(_POLL_S)
    # duckdb syncs the bytes of the file, not its name.
    folder, name = open_file(os.path.abspath(destination.path))
    folder.sync([name])


def _give_up(destination: "DuckDBTable") -> NoReturn:
    raise too_large(destination.uri)


def _insert(
    connection: duckdb.DuckDBPyConnection,
    destination: "DuckDBTable",
    load: Load,
    budget: MemoryBudget,
) -> None:
    is_append = load.disposition is WriteDisposition.WRITE_APPEND
    if is_append and not _is_first(connection, destination, load.job):
        return
    _prepare(connection, destination, load)
    rows = rows_sql(load.schema, DUCKDB_TYPES, budget.max_row_bytes)
    for globs in load.shards.local_globs():
        connection.execute(f"INSERT INTO {_name(connection, destination)} BY NAME {rows}", [globs])


def _is_first(connection: duckdb.DuckDBPyConnection, destination: "DuckDBTable", job: str) -> bool:
    """List a job as appended; return False if it was listed before."""
    schema_name = _qualified(connection, _APPENDS_SCHEMA)
    appends = _qualified(connection, _APPENDS_SCHEMA, _APPENDS)
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema_name}")
    connection.execute(f"CREATE TABLE IF NOT EXISTS {appends} ({_APPENDS_COLUMNS})")
    key = [job, f"{quoted(destination.schema)}.{quoted(destination.table)}"]
    known = f"SELECT 1 FROM {appends} WHERE job = $1 AND table_name = $2"
    if connection.execute(known, key).fetchall():
        return False
    connection.execute(f"INSERT INTO {appends} VALUES ($1, $2)", key)
    return True


def _prepare(connection: duckdb.DuckDBPyConnection, destination: "DuckDBTable", load: Load) -> None:
    """Create the table, or add the columns that the rows need."""
    table = _name(connection, destination)
    existing = _existing(connection, destination, load.disposition, load.schema)
    if existing is None or load.disposition is WriteDisposition.WRITE_TRUNCATE:
        columns = ", ".join(f"{quoted(f.name)} {sql_type(f, DUCKDB_TYPES)}" for f in load.schema)
        schema_name = _qualified(connection, destination.schema)
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema_name}")
        connection.execute(f"CREATE OR REPLACE TABLE {table} ({columns})")
        return
    known = {field.name: field for field in existing}
    for field in widened(existing, load.schema):
        type_ = "" if known.get(field.name) == field else sql_type(field, DUCKDB_TYPES)
        if type_ and field.name in known:
            connection.execute(f"ALTER TABLE {table} ALTER {quoted(field.name)} TYPE {type_}")
        elif type_:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {quoted(field.name)} {type_}")


def _existing(
    connection: duckdb.DuckDBPyConnection,
    destination: "DuckDBTable",
    disposition: WriteDisposition,
    schema: Schema,
) -> Schema | None:
    """Return the table's columns, None if it does not exist.

    Raises:
        TableNotEmptyError, SchemaConflictError, TableError: the table refuses the rows.
    """
    # Results are read to their end, fetchall: an unfinished one blocks its connection.
    kinds = connection.execute(
        "SELECT table_type FROM information_schema.tables"
        " WHERE table_catalog = current_database()"
        " AND lower(table_schema) = lower($1) AND lower(table_name) = lower($2)",
        [destination.schema, destination.table],
    ).fetchall()
    if not kinds:
        return None
    ((kind,),) = kinds
    if kind != "BASE TABLE":
        raise TableError(f"{destination.uri} is not a table but a {kind.lower()}. Choose another.")
    relation = connection.sql(f"FROM {_name(connection, destination)}")
    columns = tuple(map(field_of, relation.columns, relation.types))
    if disposition is WriteDisposition.WRITE_TRUNCATE:
        return columns
    has_rows = connection.execute(
        f"SELECT 1 FROM {_name(connection, destination)} LIMIT 1"
    ).fetchall()
    if has_rows and disposition is WriteDisposition.WRITE_EMPTY:
        raise TableNotEmptyError(destination.uri)
    widened(columns, schema)
    return columns


@contextlib.contextmanager
def _connected(destination: "DuckDBTable") -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the file for writing; wait if another process has it."""
    refuse_special_files((destination.path, f"{destination.path}.wal"))
    deadline, is_told = time.monotonic() + LOCK_WAIT_S, False
    while True:
        try:
            connection = duckdb.connect(destination.path)
            break
        except duckdb.IOException as error:
            holder = _HOLDER.search(str(error))
            if holder is None:
                raise TableError(
                    f"{destination.path} cannot be opened as a DuckDB file for writing. Check what"
                    " it is and its permissions, or choose another."
                ) from error
            if not is_told:
                _LOGGER.warning(
                    "process %s (%s) has %s open: waiting up to %.0f s for it to close the file",
                    *(holder[2], holder[1], destination.path, LOCK_WAIT_S),
                )
                is_told = True
            if time.monotonic() >= deadline:
                raise TableBusyError(
                    f"process {holder[2]} ({holder[1]}) has {destination.path} open, and DuckDB"
                    f" allows one process at a time; waited {LOCK_WAIT_S:.0f} s. Close it there"
                    " and try again."
                ) from error
            time.sleep(_POLL_S)
    with connection:
        connection.execute("SET enable_progress_bar = false")  # it would be printed among our lines
        yield connection


@contextlib.contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    connection.begin()
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _name(connection: duckdb.DuckDBPyConnection, destination: "DuckDBTable") -> str:
    return _qualified(connection, destination.schema, destination.table)


def _qualified(connection: duckdb.DuckDBPyConnection, *names: str) -> str:
    """Return a name from its catalog on.

    duckdb names the catalog after the file: in dicom.duckdb it refuses `dicom.instances`, which
    could be a table of the catalog or of its schema.
    """
    ((catalog,),) = connection.execute("SELECT current_database()").fetchall()
    return ".".join(map(quoted, (catalog, *names)))
