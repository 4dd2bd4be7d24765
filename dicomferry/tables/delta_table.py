"""delta: — Delta tables in a local folder or a bucket: Parquet files that anything reads."""

import dataclasses
import os
import re
from typing import ClassVar

from dicomferry.storage.base import Storage
from dicomferry.storage.delta_paths import unsupported_character, unsupported_in_bucket
from dicomferry.storage.registry import capabilities_of, is_registered, open_storage
from dicomferry.tables.destination import (
    Destination,
    Load,
    Place,
    WriteDisposition,
    register,
)
from dicomferry.tables.limits import EMBEDDED, Limits
from dicomferry.tables.schema import Schema


@register
@dataclasses.dataclass(frozen=True)
class DeltaTablePath(Destination):
    """delta:folder or delta:gs://bucket/prefix; no slash at the end."""

    prefix: ClassVar[str] = "delta:"
    form: ClassVar[str] = "delta:path/or/gs://bucket/prefix"
    limits: ClassVar[Limits] = EMBEDDED

    location: str

    @classmethod
    def parse(cls, text: str) -> "DeltaTablePath":
        """Return the table that delta:folder or delta:gs://bucket/prefix names."""
        location = text.removeprefix(cls.prefix)
        scheme, separator, rest = location.partition("://")
        if separator and not (is_registered(scheme) and capabilities_of(location).is_shared):
            raise ValueError(f"{text!r}: a Delta table is a local folder or gs://bucket/prefix.")
        if separator and not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]/[^/].*", rest):
            raise ValueError(f"{text!r} has no bucket or no prefix. Give delta:gs://bucket/prefix.")
        location = location.rstrip("/")
        unfit = unsupported_in_bucket(rest.rstrip("/").partition("/")[2]) if separator else None
        if unfit is not None:
            raise ValueError(
                f"{text!r}: the prefix of a Delta table cannot have {unfit!r} in it. Give another."
            )
        if not location:
            raise ValueError(f"{text!r} names no folder. Give delta:path/to/folder.")
        if not separator and (unfit := unsupported_character(location)):
            raise ValueError(
                f"{text!r}: the path of a Delta table cannot have {unfit!r} in it. Give another"
                " folder."
            )
        return cls(location)

    @classmethod
    def place(cls, text: str) -> Place:
        """Return the folder: every file below it is the table's."""
        return Place(text.removeprefix(cls.prefix), is_folder=True, in_bucket=True)

    @property
    def uri(self) -> str:
        """The canonical spelling, equal for equal destinations."""
        return f"{self.prefix}{self._absolute}"

    @property
    def storage(self) -> Storage:
        """The storage whose root is the table's folder."""
        return open_storage(self._absolute).for_delta()

    @property
    def _absolute(self) -> str:
        return os.path.abspath(self.location) if self.is_local else self.location

    @property
    def is_local(self) -> bool:
        """Whether it is a local folder."""
        return not capabilities_of(self.location).is_shared

    def check(self, disposition: WriteDisposition, schema: Schema = ()) -> None:
        """Refuse what `load` would refuse; see `Destination.check`."""
        from dicomferry.tables import delta_load

        delta_load.check(self, disposition, schema)

    def load(self, load: Load) -> None:
        """Put the rows in by one commit; see `Destination.load`."""
        from dicomferry.tables import delta_load

        delta_load.load(self, load)
