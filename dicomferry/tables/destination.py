"""Where rows go: the protocol of a table, the registry of its kinds, and the write dispositions.

BigQueryDestination of the API reference names bq:// and the dispositions.
"""

import abc
import dataclasses
import enum
from typing import ClassVar, NamedTuple, Self, TypeVar

from dicomferry.storage.registry import reserve
from dicomferry.tables.limits import Limits
from dicomferry.tables.schema import Field, Schema
from dicomferry.tables.shards import Shards

MAX_URI_CHARACTERS = 2000
# What every instance has: the columns of a flattened table without rows.
_IDENTITY: Schema = (
    Field("SOPInstanceUID", "STRING"),
    Field("StudyInstanceUID", "STRING"),
    Field("SeriesInstanceUID", "STRING"),
)


class WriteDisposition(enum.StrEnum):
    """What a load does with rows that the table already has."""

    WRITE_EMPTY = "WRITE_EMPTY"
    """Refuse a table that has rows."""
    WRITE_TRUNCATE = "WRITE_TRUNCATE"
    """Replace rows and schema, atomically."""
    WRITE_APPEND = "WRITE_APPEND"
    """Add rows, and the columns that they need."""


class Place(NamedTuple):
    """Where a table is, for rules about which places a caller may name.

    Attributes:
        location: a local path or a bucket's URI, as the user spells it; of a service, its names,
            the outermost first, with '/' between them.
        is_folder: whether every file below it belongs to the table.
        in_bucket: whether a bucket can hold such a table.
        in_service: whether it has no files, but is in a service.
    """

    location: str
    is_folder: bool = False
    in_bucket: bool = False
    in_service: bool = False


@dataclasses.dataclass(frozen=True)
class Load:
    """Rows for a table, to be put in all or none.

    Attributes:
        shards: the rows; no shards make the table as a load without rows does.
        schema: of the rows; if empty, the columns that every instance has.
        disposition: what becomes of rows that are there.
        job: names this load for ever, like an operation's ID.
    """

    shards: Shards
    schema: Schema
    disposition: WriteDisposition
    job: str

    def __post_init__(self) -> None:
        if not self.schema:
            object.__setattr__(self, "schema", _IDENTITY)


class Destination(abc.ABC):
    """A table that rows are loaded into: an immutable value that can be pickled.

    A kind is one class, a frozen dataclass in a module of its own, under the decorator
    `register`. Its module imports quickly: command lines and worker processes hold destinations
    and load nothing, so what `check` and `load` need is imported by them.
    """

    prefix: ClassVar[str]
    """What the URIs of this kind begin with, such as "duckdb:"."""
    form: ClassVar[str]
    """How the URIs of this kind are spelled, for messages."""
    limits: ClassVar[Limits]
    """What it takes of one instance."""
    extra: ClassVar[str] = ""
    """The extra of the package that it needs; '' for none."""
    shard_bytes: ClassVar[int] = 256 << 20
    """Size of the shards that it is loaded from; most kinds copy those of a bucket to a disk."""

    @classmethod
    @abc.abstractmethod
    def parse(cls, text: str) -> Self:
        """Return the destination that a URI with this kind's prefix names.

        Raises:
            ValueError: the rest of the URI is malformed; the message says the rule and the remedy.
        """

    @classmethod
    @abc.abstractmethod
    def place(cls, text: str) -> Place:
        """Return where a table is, by its URI, which may be malformed.

        Raises:
            ValueError: it is malformed, so that it has no place.
        """

    @property
    @abc.abstractmethod
    def uri(self) -> str:
        """The canonical spelling, equal for equal destinations."""

    @property
    @abc.abstractmethod
    def is_local(self) -> bool:
        """Whether it is on this machine's disk, which workers of a remote runner do not reach."""

    @abc.abstractmethod
    def check(self, disposition: WriteDisposition, schema: Schema = ()) -> None:
        """Refuse before any work what `load` would refuse, as far as it can be known.

        Changes nothing.

        Args:
            disposition: of the load to come.
            schema: of its rows, as far as it is known.

        Raises:
            TableError: and its subclasses; the message says what is wrong and the remedy.
        """

    @abc.abstractmethod
    def load(self, load: Load) -> None:
        """Put the rows in, atomically.

        Called again with the same job it appends nothing twice. The shards are files of
        newline-delimited JSON, whose rows `tables.row_writer` made within `limits`.

        Raises:
            TableError: and its subclasses; the table is as it was.
        """

    def __str__(self) -> str:
        return self.uri


_KINDS: list[type[Destination]] = []
_Kind = TypeVar("_Kind", bound=type[Destination])


def register(kind: _Kind) -> _Kind:
    """Let URIs with a kind's prefix name tables of that kind; a class decorator."""
    reserve(kind.prefix)
    _KINDS[:] = [known for known in _KINDS if known.prefix != kind.prefix] + [kind]
    return kind


def parse_destination(text: str) -> Destination:
    """Return the destination that a user or an API request names.

    Raises:
        ValueError: `text` names no table; the message says the rule and the remedy.
    """
    if len(text) > MAX_URI_CHARACTERS:
        raise ValueError(
            f"the table's URI has {len(text)} characters; at most {MAX_URI_CHARACTERS} fit"
        )
    kind = kind_of(text)
    if kind is None:
        raise ValueError(f"{text!r} names no table. Give {uri_forms()}.")
    return kind.parse(text)


def kind_of(text: str) -> type[Destination] | None:
    """Return the kind of table that a URI has the prefix of, None if it has none's."""
    return next((kind for kind in _KINDS if text.startswith(kind.prefix)), None)


def uri_forms() -> str:
    """Return how the URIs of all registered kinds are spelled, for a message."""
    *forms, last = [kind.form for kind in _KINDS]
    return f"{', '.join(forms)}, or {last}"


def refuse_local_table(destination: Destination) -> None:
    """Refuse, for a remote runner, a table that its workers would write on their own disks.

    Raises:
        ValueError: with the remedy.
    """
    if destination.is_local:
        raise ValueError(
            f"{destination.uri} is on a local disk, which the workers of a remote runner cannot "
            "reach: use bq:// or delta:gs://"
        )


def parse_disposition(name: str | None, *, force: bool | None = None) -> WriteDisposition:
    """Return the disposition of a request; `force` counts only where `name` says nothing.

    Raises:
        ValueError: `name` is not a WriteDisposition.
    """
    if name in (None, "", "WRITE_DISPOSITION_UNSPECIFIED"):
        return WriteDisposition.WRITE_TRUNCATE if force else WriteDisposition.WRITE_EMPTY
    try:
        return WriteDisposition(str(name))
    except ValueError:
        choices = ", ".join(WriteDisposition)
        raise ValueError(f"{name!r} is not a write disposition. Choose one of {choices}.") from None
