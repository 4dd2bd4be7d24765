"""Files of a storage that are read by ranges."""

import io
from contextlib import AbstractContextManager, closing
from typing import IO, TYPE_CHECKING, Any, Protocol, Self, cast

import obstore

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from dicomferry.storage.base import Storage

# What a read of an object fetches at least: the footer of most Parquet files, a column of a row
# group.
_BUFFER_BYTES = 1 << 20


class StoredFile(Protocol):
    """A `dicomferry.dicom.range_reader.RangeReader` that is closed by its `with` block."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer at the end of the file."""

    def __enter__(self) -> Self:
        """Open it."""

    def __exit__(self, *_: object) -> None:
        """Close it."""


class RangeFile:
    """A `StoredFile` of any storage: one request per read."""

    def __init__(self, storage: "Storage", path: str, size: int) -> None:
        """Name a file of known size."""
        self.size = size
        self._storage = storage
        self._path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer at the end of the file."""
        length = max(min(length, self.size - offset), 0)
        return self._storage.read_range(self._path, offset, length)


class SeekableObject(io.RawIOBase):
    """An object of a bucket as a file: pyarrow cannot read from obstore's reader."""

    def __init__(self, store: "ObjectStore", key: str) -> None:
        """Open an object."""
        self._reader = obstore.open_reader(store, key)

    @classmethod
    def buffered(cls, store: "ObjectStore", key: str) -> AbstractContextManager[IO[bytes]]:
        """Open an object for few and large requests."""
        return closing(cast("IO[bytes]", io.BufferedReader(cls(store, key), _BUFFER_BYTES)))

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; return how many bytes."""
        content = self._reader.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset and return it."""
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        """Return the current offset."""
        return self._reader.tell()
