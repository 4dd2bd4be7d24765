"""Columns as types of duckdb, which also parses rows for Delta tables."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import duckdb

from dicomferry.tables.errors import TableError
from dicomferry.tables.schema import NULLABLE, REPEATED, Field, Schema

# TIMESTAMP is an instant in UTC. TIMESTAMPTZ states that, but Python needs pytz to read it.
DUCKDB_TYPES = {
    "STRING": "VARCHAR",
    "INTEGER": "BIGINT",
    "FLOAT": "DOUBLE",
    "DATE": "DATE",
    "TIME": "TIME",
    "TIMESTAMP": "TIMESTAMP",
    "JSON": "JSON",
}
_SCALARS = {sql: name for name, sql in DUCKDB_TYPES.items()}


class MemoryBudget(NamedTuple):
    """Memory settings of one load attempt.

    Attributes:
        max_row_bytes: the largest row that read_json takes; its buffers are a multiple of it.
        memory_limit: of the database, as duckdb spells it.
    """

    max_row_bytes: int
    memory_limit: str


# The first is enough for nearly all tables, in a process below 1 GB. The second is for extremely
# wide tables and for thousands of large rows, of which duckdb compresses many at once; the third
# for rows as large as BigQuery takes (100 MB).
MEMORY_BUDGETS = (
    MemoryBudget(16 << 20, "384MB"),
    MemoryBudget(16 << 20, "80%"),
    MemoryBudget(128 << 20, "80%"),
)
UNFIT_ROW_ERRORS = (duckdb.InvalidInputException, duckdb.ConversionException)


def sql_type(field: Field, types: Mapping[str, str]) -> str:
    """Return the SQL type of a column, its scalars named by `types`."""
    if field.type == "RECORD":
        inner = ", ".join(f"{quoted(f.name)} {sql_type(f, types)}" for f in field.fields)
        name = f"STRUCT({inner})"
    else:
        name = types[field.type]
    return f"{name}[]" if field.mode == REPEATED else name


def quoted(name: str) -> str:
    """Return an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def apply_memory_budget(connection: duckdb.DuckDBPyConnection, budget: MemoryBudget) -> None:
    """Apply the memory settings of a load to a connection."""
    # With a hundred nested columns, a second thread doubles the memory and saves little time. Rows
    # come from unordered workers, so keeping their order would cost memory for nothing.
    connection.execute("SET threads = 1")
    connection.execute("SET preserve_insertion_order = false")
    connection.execute(f"SET memory_limit = '{budget.memory_limit}'")


def rows_sql(schema: Schema, types: Mapping[str, str], max_row_bytes: int) -> str:
    """Return a SELECT over the lines of files; its parameter 1 is a list of globs.

    A value that does not fit its column's type is an error, not a NULL.
    """
    columns = ", ".join(f"{_text(f.name)}: {_text(sql_type(f, types))}" for f in schema)
    return (
        f"SELECT * FROM read_json($1, format = 'newline_delimited', columns = {{{columns}}},"
        f" maximum_object_size = {max_row_bytes})"
    )


def empty_sql(schema: Schema, types: Mapping[str, str]) -> str:
    """Return a SELECT with the columns and no rows."""
    columns = ", ".join(f"NULL::{sql_type(f, types)} AS {quoted(f.name)}" for f in schema)
    return f"SELECT {columns} LIMIT 0"


def field_of(name: str, type_: Any) -> Field:
    """Return the column of a type of duckdb.

    A type that our columns do not have is named "duckdb" and its name there.

    Args:
        name: of the column.
        type_: a DuckDBPyType.
    """
    mode = NULLABLE
    if type_.id == "list":
        mode, type_ = REPEATED, type_.children[0][1]
    if type_.id == "struct":
        fields = tuple(field_of(child, inner) for child, inner in type_.children)
        return Field(name, "RECORD", mode, fields)
    return Field(name, _SCALARS.get(str(type_), f"duckdb {type_}"), mode)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether the next of `MEMORY_BUDGETS` can succeed where this one failed."""
    if isinstance(error, duckdb.OutOfMemoryException):
        return True
    if isinstance(error, duckdb.TransactionException):  # out of memory during the commit
        return "failed to pin block" in str(error)
    return isinstance(error, UNFIT_ROW_ERRORS) and "maximum_object_size" in str(error)


def too_large(uri: str) -> TableError:
    """Return the error for rows that exceed the last of `MEMORY_BUDGETS`."""
    return TableError(
        f"a row for {uri} is larger than {MEMORY_BUDGETS[-1].max_row_bytes >> 20} MiB, or all its"
        " columns together need more memory than there is. Leave instances out with a filter."
    )


def unfit_row(uri: str) -> TableError:
    """Return the error for a value that its column cannot hold; duckdb's own could show it."""
    return TableError(
        f"a row does not fit the columns of {uri}. This is a bug in dicomferry: please"
        " report it. Until it is fixed, use the json schema, which accepts every instance."
    )


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
