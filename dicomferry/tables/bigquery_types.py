"""Columns as fields of a BigQuery schema, and the limits of such a schema."""

from collections.abc import Iterable

from google.cloud import bigquery

from dicomferry.tables.errors import TableError
from dicomferry.tables.schema import NULLABLE, Field, Schema

# "Quotas and limits" of BigQuery's documentation.
_MAX_COLUMNS = 10_000
_MAX_DEPTH = 15
_STANDARD_NAMES = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "STRUCT": "RECORD"}


def to_schema_fields(schema: Schema) -> list[bigquery.SchemaField]:
    """Return columns as BigQuery's client takes them."""
    return [
        bigquery.SchemaField(
            field.name, field.type, field.mode, fields=to_schema_fields(field.fields)
        )
        for field in schema
    ]


def from_schema_fields(fields: Iterable[bigquery.SchemaField]) -> Schema:
    """Return the columns of a table, its types by the names that loads use."""
    return tuple(
        Field(
            field.name,
            _STANDARD_NAMES.get(field.field_type, field.field_type),
            field.mode or NULLABLE,
            from_schema_fields(field.fields),
        )
        for field in fields
    )


def refuse_unloadable(schema: Schema) -> None:
    """Refuse columns that no load job takes.

    Raises:
        TableError: they are too many, or nested too deep.
    """
    columns, depth = _columns(schema), _depth(schema)
    if columns > _MAX_COLUMNS or depth > _MAX_DEPTH:
        raise TableError(
            f"the rows need {columns} columns, nested {depth} deep; BigQuery takes {_MAX_COLUMNS}"
            f" and {_MAX_DEPTH}. Use the json schema, or export fewer kinds of instances."
        )


def _columns(schema: Iterable[Field]) -> int:
    return sum(1 + _columns(field.fields) for field in schema)


def _depth(schema: Iterable[Field]) -> int:
    return max((1 + _depth(field.fields) for field in schema if field.fields), default=0)
