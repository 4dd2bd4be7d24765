"""duckdb: — tables in a duckdb file: no server and no cloud."""

import dataclasses
import os
import re
from typing import ClassVar

from dicomferry.tables.destination import (
    Destination,
    Load,
    Place,
    WriteDisposition,
    register,
)
from dicomferry.tables.limits import EMBEDDED, Limits
from dicomferry.tables.schema import Schema

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


@register
@dataclasses.dataclass(frozen=True)
class DuckDBTable(Destination):
    """duckdb:path#schema.table."""

    prefix: ClassVar[str] = "duckdb:"
    form: ClassVar[str] = "duckdb:path/to/file.duckdb#schema.table"
    limits: ClassVar[Limits] = EMBEDDED

    path: str
    schema: str
    table: str

    @classmethod
    def parse(cls, text: str) -> "DuckDBTable":
        """Return the table that duckdb:path#schema.table names; the schema is main if left out."""
        path, separator, name = text.removeprefix(cls.prefix).rpartition("#")
        if not separator or not path:
            raise ValueError(f"{text!r} names no file or no table. Give duckdb:file.duckdb#table.")
        if "://" in path or path == ":memory:":
            raise ValueError(f"{path!r} is not a local file, as DuckDB needs.")
        schema, _, table = name.rpartition(".")
        schema = schema or "main"
        for part in (schema, table):
            if not _IDENTIFIER.fullmatch(part):
                raise ValueError(
                    f"{part!r} in {text!r} is not a table or schema name: a letter or '_' first,"
                    " then letters, digits and '_'. Give duckdb:file.duckdb#schema.table."
                )
        return cls(path, schema, table)

    @classmethod
    def place(cls, text: str) -> Place:
        """Return the file."""
        return Place(text.removeprefix(cls.prefix).rpartition("#")[0])

    @property
    def uri(self) -> str:
        """The canonical spelling, equal for equal destinations."""
        return f"{self.prefix}{os.path.abspath(self.path)}#{self.schema}.{self.table}"

    @property
    def is_local(self) -> bool:
        """True: duckdb writes local files only."""
        return True

    def check(self, disposition: WriteDisposition, schema: Schema = ()) -> None:
        """Refuse what `load` would refuse; see `Destination.check`."""
        from dicomferry.tables import duckdb_load

        duckdb_load.check(self, disposition, schema)

    def load(self, load: Load) -> None:
        """Put the rows in by one transaction; see `Destination.load`."""
        from dicomferry.tables import duckdb_load

        duckdb_load.load(self, load)
