"""The columns of a table, independent of the engine that holds it.

Types and modes are those of BigQuery, which has more than the other destinations:
STRING, INTEGER, FLOAT, DATE, TIME, TIMESTAMP, JSON, RECORD; NULLABLE, REPEATED.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from dicomferry.tables.errors import SchemaConflictError

NULLABLE = "NULLABLE"
REPEATED = "REPEATED"


class Field(NamedTuple):
    """One column, or one field of a RECORD.

    Attributes:
        name: column name.
        type: STRING, INTEGER, FLOAT, DATE, TIME, TIMESTAMP, JSON or RECORD.
        mode: NULLABLE or REPEATED.
        fields: of a RECORD, which has at least one; empty for other types.
    """

    name: str
    type: str
    mode: str = NULLABLE
    # Any, because mypy does not support recursive NamedTuples.
    fields: tuple[Any, ...] = ()


Schema = tuple[Field, ...]


def merge(schemas: Iterable[Schema], key: Callable[[str, bool], Any]) -> Schema:
    """Return the union of schemas, each level sorted by `key(name, top_level)`.

    Associative and commutative; the empty schema is the identity. Equal schemas, the usual case,
    cost one comparison.

    Raises:
        SchemaConflictError: a column has two types or two modes.
    """
    merged: Schema = ()
    for schema in schemas:
        if schema == merged or not schema:
            continue
        merged = _merged(merged, schema, key, "") if merged else schema
    return merged


def widened(existing: Schema, new: Schema) -> Schema:
    """Return the columns of a table after rows of another schema are appended to it.

    Existing columns keep their places, and new ones follow, at every level.

    Raises:
        SchemaConflictError: a column exists with another type or mode.
    """
    return _merged(existing, new, None, "")


def _merged(
    left: Schema, right: Schema, key: Callable[[str, bool], Any] | None, path: str
) -> Schema:
    # Engines match names without regard to case.
    by_name = {field.name.lower(): field for field in left}
    for field in right:
        name = field.name.lower()
        known = by_name.get(name)
        if known is None:
            by_name[name] = field
        elif known != field:
            by_name[name] = _merged_field(known, field, key, path)
    fields = by_name.values()
    if key is None:
        return tuple(fields)
    order = key
    return tuple(sorted(fields, key=lambda field: order(field.name, not path)))


def _merged_field(
    left: Field, right: Field, key: Callable[[str, bool], Any] | None, path: str
) -> Field:
    name = path + left.name
    if (left.type, left.mode) != (right.type, right.mode):
        raise SchemaConflictError(name, f"{left.type} {left.mode}", f"{right.type} {right.mode}")
    return left._replace(fields=_merged(left.fields, right.fields, key, name + "."))
