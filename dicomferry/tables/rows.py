"""What every writer of rows gives: a line of newline-delimited JSON, and what it could not place.

Lines rather than Arrow batches: a flattened table has hundreds of columns of which an instance
fills some, so a line costs what the instance holds; all three destinations load lines.
"""

import datetime
import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from dicomferry.tables.columns import column_of
from dicomferry.tables.schema import Schema

TYPE_OF_NEW_INSTANCE = "INSERT"
"""Column Type. SchemaJSON of the API reference says INSERT; streamed tables were seen with
CREATE."""

STORAGE_CLASS = "STANDARD"
"""Column StorageClass: blobs of a store have one class here."""

WARNINGS: dict[str, str] = {
    "VALUE_UNFIT": "does not fit the column's type: NULL there, its text in OtherElements",
    "VALUES_TOO_MANY": "has several values where the dictionary allows one: NULL in its column,"
    " the text of all in OtherElements",
    "BINARY_UNEXPECTED": "holds bytes where the dictionary says otherwise: NULL in its column,"
    " the bytes are in the instance only",
    "SEQUENCE_UNEXPECTED": "is a sequence where the dictionary says otherwise: in a column that"
    " is named by its tag",
    "SEQUENCE_EXPECTED": "is no sequence where the dictionary says so: its text in OtherElements",
    "SEQUENCE_AS_TEXT": "is nested too deep for columns: its items are DICOM JSON text in"
    " OtherElements",
    "SEQUENCE_TOO_DEEP": "is nested too deep for the table: left out, named in DroppedTags",
    "SEQUENCE_TOO_LARGE": "is too large for the table: left out, named in DroppedTags",
}
"""code: what happened to the element. Codes are part of the interface."""


class RowWarning(NamedTuple):
    """One element of an instance that is not where a reader would look for it.

    Attributes:
        tag: eight hexadecimal digits; of nested elements the path, '.' between, no item numbers.
        code: a key of `WARNINGS`.
    """

    tag: str
    code: str


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        line: one JSON object in UTF-8, no line break in it or after it.
        warnings: each once, in order of occurrence.
    """

    line: bytes
    warnings: tuple[RowWarning, ...]


class Limits(NamedTuple):
    """What a destination takes of one instance.

    Attributes:
        sequence_depth: levels of nested sequences that are columns, 1 for one at the top.
        sequence_size: bytes of one top-level sequence in the DICOM JSON model; 0: any.
        drops: whether what is beyond a limit is left out; else it is kept as text.
    """

    sequence_depth: int
    sequence_size: int
    drops: bool = True


# BigQuery nests 15 RECORDs, and the service leaves out sequences of about 1 MiB. Two levels
# stay free, because a person name in the deepest item takes two.
BIGQUERY = Limits(sequence_depth=13, sequence_size=1 << 20)
# Deeper than any known IOD. duckdb holds more than a hundred levels, but Arrow hands no column
# over that nests more than 64: a sequence and its items count as two, names in an item as four.
EMBEDDED = Limits(sequence_depth=24, sequence_size=0, drops=False)


class Dropped(NamedTuple):
    """A sequence that the destination does not take.

    Attributes:
        name: of its column, behind the names of the sequences around it, '.' between.
        warning: that says so.
    """

    name: str
    warning: RowWarning


def drop_large(dataset: dict[str, Any], size: int) -> tuple[Dropped, ...]:
    """Take the top-level sequences out of a data set that are larger than `size` bytes."""
    dropped = []
    for tag, element in list(dataset.items()):
        # Not orjson: it writes no more than 254 levels, and only huge instances come here.
        if element["vr"] == "SQ" and len(json.dumps(element, ensure_ascii=False)) > size:
            del dataset[tag]
            warning = RowWarning(tag, "SEQUENCE_TOO_LARGE")
            dropped.append(Dropped(column_of(tag, "SQ").name, warning))
    return tuple(dropped)


class RowWriter(Protocol):
    """Turns index rows of instances into rows of one table."""

    @property
    def schema(self) -> Schema:
        """The columns of the rows that were written so far."""

    def row(self, instance: Mapping[str, Any]) -> Row | None:
        """Return the row of an instance, given its index row; None if the table takes none."""


def timestamp_text(moment: datetime.datetime) -> str:
    """Return an instant as a TIMESTAMP value; one without a zone is in UTC."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
    return moment.isoformat() + "Z"
