"""Files that are read by ranges: the input of every DICOM reader here."""

from typing import Protocol


class RangeReader(Protocol):
    """A file or object of known size that is read by ranges."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer at the end of the file.

        I/O errors are raised as they are: the caller's runner retries them.
        """


class BytesReader:
    """A `RangeReader` over bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length)."""
        if offset == 0 and length >= len(self.data):
            return self.data
        return self.data[offset : offset + length]
