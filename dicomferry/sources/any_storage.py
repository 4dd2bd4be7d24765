"""Sources of schemes that have no listing of their own, through their storage alone.

A listing takes one request per thousand objects below the folder in which the wildcards begin.
Names that are not a clean path (empty segments, control characters) cannot be read this way.
"""

from collections.abc import Iterator
from typing import Self

from dicomferry.errors import InstanceError, Reason
from dicomferry.sources.pattern import SourcePattern
from dicomferry.sources.source import Source
from dicomferry.storage.capabilities import Entry
from dicomferry.storage.errors import ChangedFileError
from dicomferry.storage.registry import open_file, open_storage


def list_objects(pattern: SourcePattern) -> Iterator[Source]:
    """List the objects that a pattern matches; see `listing.list_sources`."""
    if not pattern.has_wildcards:
        source = describe_object(f"{pattern.root}{pattern.prefix}")
        if source is not None:
            yield source
        return
    for entry in open_storage(pattern.root).list(pattern.prefix.rpartition("/")[0]):
        if pattern.matches(entry.path):
            yield _source(f"{pattern.root}{entry.path}", entry)


def describe_object(uri: str) -> Source | None:
    """Describe one object by its exact URI; None if it is gone."""
    storage, name = open_file(uri)
    entry = storage.head(name)
    return None if entry is None else _source(uri, entry)


def hint(pattern: SourcePattern) -> str:
    """Return a hint for a pattern that matches nothing, to end a sentence."""
    folder = pattern.prefix.rpartition("/")[0]
    return f": look into {f'{pattern.root}{folder}'!r} for what is there"


class SourceObject:
    """An object that is read by ranges, always the version that was listed."""

    def __init__(self, source: Source) -> None:
        """Name an object."""
        self._source = source
        self._storage, self._name = open_file(source.uri)

    @property
    def size(self) -> int:
        """Length in bytes, as listed."""
        return self._source.size

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer at the end of the object.

        Raises:
            InstanceError: SOURCE_CHANGED, SOURCE_GONE.
        """
        length = max(min(length, self.size - offset), 0)
        try:
            return self._storage.read_range(self._name, offset, length, self._source.version)
        except ChangedFileError:
            raise InstanceError(Reason.SOURCE_CHANGED) from None
        except FileNotFoundError:
            raise InstanceError(Reason.SOURCE_GONE) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _source(uri: str, entry: Entry) -> Source:
    version = entry.version or entry.modified.isoformat()
    return Source(uri, entry.size, version)
