"""Where a table lives: bq://, duckdb: or delta:, and what happens to rows that are there.

BigQueryDestination of the API reference names the first and the dispositions.
"""

import enum
import os
import re
from typing import NamedTuple

from dicomferry.storage.delta_paths import unsupported_character

_PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")
_TABLE = re.compile(r"[\w -]{1,1024}")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_MAX_URI = 2000
_FORMS = (
    "bq://project.dataset.table, duckdb:path/to/file.duckdb#schema.table,"
    " or delta:path/or/gs://bucket/prefix"
)


class WriteDisposition(enum.StrEnum):
    """What a load does with rows that the table already has."""

    WRITE_EMPTY = "WRITE_EMPTY"
    """Refuse a table that has rows."""
    WRITE_TRUNCATE = "WRITE_TRUNCATE"
    """Replace rows and schema, atomically."""
    WRITE_APPEND = "WRITE_APPEND"
    """Add rows, and the columns that they need."""


class BigQueryTable(NamedTuple):
    """bq://project.dataset.table."""

    project: str
    dataset: str
    table: str

    @property
    def uri(self) -> str:
        """The canonical spelling, equal for equal destinations."""
        return f"bq://{self.project}.{self.dataset}.{self.table}"


class DuckDBTable(NamedTuple):
    """duckdb:path#schema.table."""

    path: str
    schema: str
    table: str

    @property
    def uri(self) -> str:
        """The canonical spelling, equal for equal destinations."""
        return f"duckdb:{os.path.abspath(self.path)}#{self.schema}.{self.table}"


class DeltaTablePath(NamedTuple):
    """delta:folder or delta:gs://bucket/prefix; no slash at the end."""

    location: str

    @property
    def uri(self) -> str:
        """The canonical spelling, equal for equal destinations."""
        local = "://" not in self.location
        return f"delta:{os.path.abspath(self.location) if local else self.location}"


Destination = BigQueryTable | DuckDBTable | DeltaTablePath


def parse_destination(text: str) -> Destination:
    """Return the destination that a user or an API request names.

    Raises:
        ValueError: `text` is none; the message says the rule and the remedy.
    """
    if len(text) > _MAX_URI:
        raise ValueError(f"the table's URI has {len(text)} characters; at most {_MAX_URI} fit")
    if text.startswith("bq://"):
        return _bigquery(text)
    if text.startswith("duckdb:"):
        return _duckdb(text)
    if text.startswith("delta:"):
        return _delta(text)
    raise ValueError(f"{text!r} names no table. Give {_FORMS}.")


def parse_disposition(name: str | None, *, force: bool | None = None) -> WriteDisposition:
    """Return the disposition of a request; `force` counts only where `name` says nothing.

    Raises:
        ValueError: `name` is no WriteDisposition.
    """
    if name in (None, "", "WRITE_DISPOSITION_UNSPECIFIED"):
        return WriteDisposition.WRITE_TRUNCATE if force else WriteDisposition.WRITE_EMPTY
    try:
        return WriteDisposition(str(name))
    except ValueError:
        choices = ", ".join(WriteDisposition)
        raise ValueError(f"{name!r} is no write disposition. Choose one of {choices}.") from None


def _bigquery(text: str) -> BigQueryTable:
    # Legacy projects contain a dot ("example.com:project"), datasets and tables never do.
    parts = text.removeprefix("bq://").rsplit(".", 2)
    if len(parts) != 3:
        raise ValueError(f"{text!r} has not three parts. Give bq://project.dataset.table.")
    for part, pattern, what, rule in (
        (parts[0], _PROJECT, "project id", "6 to 30 of a-z, 0-9 and '-', a letter first"),
        (parts[1], _DATASET, "dataset id", "letters, digits and '_'"),
        (parts[2], _TABLE, "table id", "letters, digits, '_', '-' and space"),
    ):
        if not pattern.fullmatch(part):
            raise ValueError(f"{part!r} in {text!r} is no {what}: it has {rule}.")
    return BigQueryTable(*parts)


def _duckdb(text: str) -> DuckDBTable:
    path, separator, name = text.removeprefix("duckdb:").rpartition("#")
    if not separator or not path:
        raise ValueError(f"{text!r} names no file or no table. Give duckdb:file.duckdb#table.")
    if "://" in path or path == ":memory:":
        raise ValueError(f"{path!r} is no local file, and duckdb writes only to one.")
    schema, _, table = name.rpartition(".")
    schema = schema or "main"
    for part in (schema, table):
        if not _IDENTIFIER.fullmatch(part):
            raise ValueError(
                f"{part!r} in {text!r} is no table or schema name: a letter or '_' first, then"
                " letters, digits and '_'. Give duckdb:file.duckdb#schema.table."
            )
    return DuckDBTable(path, schema, table)


def _delta(text: str) -> DeltaTablePath:
    location = text.removeprefix("delta:")
    scheme, separator, rest = location.partition("://")
    if separator and scheme != "gs":
        raise ValueError(f"{text!r}: a Delta table is a local folder or gs://bucket/prefix.")
    if separator and not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]/[^/].*", rest):
        raise ValueError(f"{text!r} has no bucket or no prefix. Give delta:gs://bucket/prefix.")
    location = location.rstrip("/")
    if not location:
        raise ValueError(f"{text!r} names no folder. Give delta:path/to/folder.")
    if not separator and (unfit := unsupported_character(location)):
        raise ValueError(
            f"{text!r}: the path of a Delta table cannot have {unfit!r} in it. Give another folder."
        )
    return DeltaTablePath(location)
