"""Columns as types of Delta.

Delta has neither TIME nor JSON: both are strings there, a TIME as HH:MM:SS[.ffffff].
"""

from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.schema import ArrayType, PrimitiveType, StructType

from dicomferry.tables.duckdb_types import DUCKDB_TYPES, empty_sql
from dicomferry.tables.parquet_files import parser
from dicomferry.tables.schema import NULLABLE, REPEATED, Field, Schema

# TIMESTAMPTZ becomes a Delta timestamp, an instant in UTC.
DELTA_TYPES = {**DUCKDB_TYPES, "TIME": "VARCHAR", "TIMESTAMP": "TIMESTAMPTZ", "JSON": "VARCHAR"}
"""Types of duckdb by those of columns: duckdb writes the files of a Delta table."""

_SCALARS = {
    "string": "STRING",
    "long": "INTEGER",
    "double": "FLOAT",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}
_STRINGS = {"TIME": "STRING", "JSON": "STRING"}


def columns_of(table: DeltaTable) -> Schema:
    """Return the columns of a Delta table."""
    return tuple(_field_of(field.name, field.type) for field in table.schema().fields)


def in_delta(schema: Schema) -> Schema:
    """Return columns as Delta holds them."""
    return tuple(
        field._replace(type=_STRINGS.get(field.type, field.type), fields=in_delta(field.fields))
        for field in schema
    )


def in_order_of(existing: Schema, new: Schema) -> Schema:
    """Return new columns in the order, at every level, that a table has them in."""
    known = {field.name: (place, field.fields) for place, field in enumerate(existing)}
    last = len(existing), ()
    fields = sorted(new, key=lambda field: known.get(field.name, last)[0])
    return tuple(
        field._replace(fields=in_order_of(known.get(field.name, last)[1], field.fields))
        for field in fields
    )


def arrow_schema(schema: Schema) -> pa.Schema:
    """Return columns as an Arrow schema, of the types that the table's files have."""
    return parser().sql(empty_sql(schema, DELTA_TYPES)).to_arrow_table().schema


def _field_of(name: str, type_: Any) -> Field:
    mode = NULLABLE
    if isinstance(type_, ArrayType):
        mode, type_ = REPEATED, type_.element_type
    if isinstance(type_, StructType):
        fields = tuple(_field_of(field.name, field.type) for field in type_.fields)
        return Field(name, "RECORD", mode, fields)
    known = _SCALARS.get(type_.type) if isinstance(type_, PrimitiveType) else None
    return Field(name, known or f"delta {type_}", mode)
