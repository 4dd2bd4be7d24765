"""bq:// — tables of BigQuery, loaded by one of its load jobs."""

import dataclasses
import re
from typing import ClassVar

from dicomferry.tables.destination import (
    Destination,
    Load,
    Place,
    WriteDisposition,
    register,
)
from dicomferry.tables.limits import Limits
from dicomferry.tables.schema import Schema

BIGQUERY = Limits(sequence_depth=13, sequence_size=1 << 20)
"""BigQuery nests 15 RECORDs, and the service leaves out sequences of about 1 MiB.

Two levels stay free, because a person name in the deepest item takes two.
"""

_PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")
_TABLE = re.compile(r"[\w -]{1,1024}")
_PART = re.compile(rf"({_PROJECT.pattern})(?:\.({_DATASET.pattern})(?:\.({_TABLE.pattern}))?)?")


@register
@dataclasses.dataclass(frozen=True)
class BigQueryTable(Destination):
    """bq://project.dataset.table."""

    prefix: ClassVar[str] = "bq://"
    extra: ClassVar[str] = "bigquery"
    form: ClassVar[str] = "bq://project.dataset.table"
    limits: ClassVar[Limits] = BIGQUERY
    # A load job takes 10,000 files and 15 TB: so many of this size, and the last one of each of the
    # 4,000 parts of an export, are fewer.
    shard_bytes: ClassVar[int] = 3 << 30

    project: str
    dataset: str
    table: str

    @classmethod
    def parse(cls, text: str) -> "BigQueryTable":
        """Return the table that bq://project.dataset.table names."""
        # Legacy projects contain a dot ("example.com:project"), datasets and tables never do.
        parts = text.removeprefix(cls.prefix).rsplit(".", 2)
        if len(parts) != 3:
            raise ValueError(f"{text!r} does not have three parts. Give {cls.form}.")
        for part, pattern, what, rule in (
            (parts[0], _PROJECT, "project id", "6 to 30 of a-z, 0-9 and '-', a letter first"),
            (parts[1], _DATASET, "dataset id", "letters, digits and '_'"),
            (parts[2], _TABLE, "table id", "letters, digits, '_', '-' and space"),
        ):
            if not pattern.fullmatch(part):
                raise ValueError(f"{part!r} in {text!r} is not a {what}: it has {rule}.")
        return cls(*parts)

    @classmethod
    def place(cls, text: str) -> Place:
        """Return bq://project/dataset/table."""
        table = cls.parse(text)
        names = (table.project, table.dataset, table.table)
        return Place(cls.prefix + "/".join(names), in_service=True)

    @property
    def uri(self) -> str:
        """The canonical spelling, equal for equal destinations."""
        return f"{self.prefix}{self.project}.{self.dataset}.{self.table}"

    @property
    def is_local(self) -> bool:
        """False: workers anywhere reach it."""
        return False

    def check(self, disposition: WriteDisposition, schema: Schema = ()) -> None:
        """Refuse what `load` would refuse; see `Destination.check`."""
        from dicomferry.tables import bigquery_load

        bigquery_load.check(self, disposition, schema)

    def load(self, load: Load) -> None:
        """Put the rows in by one load job; see `Destination.load`."""
        from dicomferry.tables import bigquery_load

        bigquery_load.load(self, load)


def part_of_bigquery(text: str) -> str:
    """Return what bq://project, bq://project.dataset or bq://project.dataset.table names.

    Returns:
        The names as in `BigQueryTable.place`.

    Raises:
        ValueError: it is none of these.
    """
    match = _PART.fullmatch(text.removeprefix(BigQueryTable.prefix))
    if match is None:
        raise ValueError("give bq://project, bq://project.dataset or bq://project.dataset.table")
    return BigQueryTable.prefix + "/".join(filter(None, match.groups()))
