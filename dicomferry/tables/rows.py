"""Rows of tables: a line of newline-delimited JSON each, with warnings about single elements.

Lines rather than Arrow batches: a flattened table has hundreds of columns of which an instance
fills some, so a line costs what the instance holds; every kind of destination loads lines.
"""

import datetime
import json
from typing import Any, NamedTuple

from dicomferry.tables.columns import column_of

TYPE_OF_NEW_INSTANCE = "INSERT"
"""Value of the column Type in SchemaJSON of the API reference; streamed tables of the service have
been seen with CREATE."""

STORAGE_CLASS = "STANDARD"
"""Value of the column StorageClass: all blobs of a store have this class."""

WARNINGS: dict[str, str] = {
    "VALUE_UNFIT": "does not fit the column's type: NULL there, its text in OtherElements",
    "VALUES_TOO_MANY": "has several values where the dictionary allows one: NULL in its column,"
    " the text of all in OtherElements",
    "BINARY_UNEXPECTED": "holds bytes where the dictionary says otherwise: NULL in its column,"
    " the bytes are in the instance only",
    "SEQUENCE_UNEXPECTED": "is a sequence where the dictionary says otherwise: in a column that"
    " is named by its tag",
    "SEQUENCE_EXPECTED": "is not a sequence where the dictionary says so: its text in"
    " OtherElements",
    "SEQUENCE_AS_TEXT": "is nested too deep for columns: its items are DICOM JSON text in"
    " OtherElements",
    "SEQUENCE_TOO_DEEP": "is nested too deep for the table: left out, named in DroppedTags",
    "SEQUENCE_TOO_LARGE": "is too large for the table: left out, named in DroppedTags",
}
"""Codes of warnings, which are part of the interface, and what each says of the element."""


class RowWarning(NamedTuple):
    """An element of an instance that is not where a reader of the table expects it.

    Attributes:
        tag: eight hexadecimal digits; for nested elements the tags of the path, joined by '.'.
        code: a key of `WARNINGS`.
    """

    tag: str
    code: str


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        line: one JSON object in UTF-8, without a line break.
        warnings: each once, in order of occurrence.
    """

    line: bytes
    warnings: tuple[RowWarning, ...]


class Dropped(NamedTuple):
    """A sequence that the destination does not take.

    Attributes:
        name: of its column, after those of the enclosing sequences, joined by '.'.
        warning: about it.
    """

    name: str
    warning: RowWarning


def drop_large(dataset: dict[str, Any], size: int) -> tuple[Dropped, ...]:
    """Remove top-level sequences larger than `size` bytes from a data set, and return them."""
    dropped = []
    for tag, element in list(dataset.items()):
        # json, because orjson writes at most 254 levels; only huge instances get here.
        if element["vr"] == "SQ" and len(json.dumps(element, ensure_ascii=False)) > size:
            del dataset[tag]
            warning = RowWarning(tag, "SEQUENCE_TOO_LARGE")
            dropped.append(Dropped(column_of(tag, "SQ").name, warning))
    return tuple(dropped)


def timestamp_text(moment: datetime.datetime) -> str:
    """Return an instant, in UTC if it has no zone, as a value of a TIMESTAMP column."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
    return moment.isoformat() + "Z"
