"""A forward view on the bytes of a file, as much of it as the header needs and no more.

A header is a few kilobytes before up to gigabytes of pixels. So ranges are fetched in chunks that
start small and grow, values that nobody needs are skipped without being read, and the bytes that a
header may use in all are bounded: a file cannot use up the memory of a worker.
"""

import sys
from abc import ABC, abstractmethod

from dicomferry.dicom.inflate import Inflater
from dicomferry.dicom.range_reader import BytesReader, RangeReader
from dicomferry.errors import InstanceError, Reason

FIRST_CHUNK = 1 << 16
MAX_CHUNK_BYTES = 1 << 20
# The largest real headers (enhanced multi-frame with tens of thousands of frames, whole slides
# that position each tile) are below; their JSON is two to three times as large.
MAX_HEADER_BYTES = 1 << 26
MAX_INFLATED_BYTES = 1 << 30
UNKNOWN_SIZE = sys.maxsize
_IN_ONE_READ = 8 << 20


class ByteWindow(ABC):
    """The bytes [base, base + limit) of a longer run.

    Attributes:
        data: the bytes at hand; may hold more than may be looked at.
        base: the offset of data[0].
        limit: how many bytes of `data` may be looked at.
        size: the length of the whole run, `UNKNOWN_SIZE` while it is being inflated.
    """

    def __init__(self, data: bytes, size: int) -> None:
        self.data = data
        self.base = 0
        self.size = size
        self.limit = 0

    @abstractmethod
    def load(self, offset: int, length: int) -> None:
        """Bring the bytes [offset, offset + length), or all up to the end, into view.

        Bytes before `offset` may go out of view.

        Raises:
            InstanceError: HEADER_TOO_LARGE, or a reason that the way of reading adds.
        """

    def require(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length).

        Raises:
            InstanceError: TRUNCATED if the run ends before them; else as `load`.
        """
        self.load(offset, length)
        start = offset - self.base
        if start + length > self.limit:
            raise InstanceError(Reason.TRUNCATED)
        return self.data[start : start + length]


class HeaderWindow(ByteWindow):
    """A view that only moves forward, in chunks that grow, over `MAX_HEADER_BYTES` in all."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data, size)
        self._chunk = FIRST_CHUNK
        self._granted = 0

    def load(self, offset: int, length: int) -> None:
        """Bring the bytes [offset, offset + length), or all up to the end, into view."""
        have = self.base + self.limit
        if offset + length <= have:
            return
        if offset >= have:
            self._chunk = FIRST_CHUNK
        end = min(offset + max(length, self._chunk), self.size)
        self._granted += max(0, end - max(offset, have))
        if self._granted > MAX_HEADER_BYTES:
            raise InstanceError(Reason.HEADER_TOO_LARGE)
        self._chunk = min(self._chunk * 2, MAX_CHUNK_BYTES)
        self._show(offset, end)

    @abstractmethod
    def _show(self, offset: int, end: int) -> None:
        """Make [offset, end) visible."""


class MemoryWindow(HeaderWindow):
    """A view on bytes in memory, which are not copied.

    It opens step by step as the others do, so that a file meets the same bounds in memory as by
    ranges.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data, len(data))

    def _show(self, offset: int, end: int) -> None:
        self.limit = max(self.limit, end)


class RangeWindow(HeaderWindow):
    """A view on a file that is read by ranges."""

    def __init__(self, file: RangeReader) -> None:
        super().__init__(b"", file.size)
        self._file = file

    def _show(self, offset: int, end: int) -> None:
        have = self.base + self.limit
        kept = self.data[offset - self.base :] if offset < have else b""
        start = offset + len(kept)
        fetched = self._file.read(start, end - start) if end > start else b""
        self.data = kept + fetched if kept else fetched
        self.base = offset
        self.limit = len(self.data)


class InflatedWindow(HeaderWindow):
    """A view on the deflated data set of a file (PS3.5 A.5), inflated as far as it is looked at."""

    def __init__(self, file: RangeReader, offset: int) -> None:
        super().__init__(b"", UNKNOWN_SIZE)
        self._inflater = Inflater(file, offset, MAX_INFLATED_BYTES)

    def reaches(self, offset: int) -> bool:
        """Inflate up to `offset`, keep nothing, and tell whether the stream goes that far.

        Raises:
            InstanceError: BROKEN_DEFLATE, or INFLATED_TOO_LARGE.
        """
        while self.base + self.limit < offset:
            self.base += self.limit
            self.data = self._inflater.read(MAX_CHUNK_BYTES)
            self.limit = len(self.data)
            if not self.limit:
                return False
        return True

    def check_end(self) -> None:
        """Inflate what is left, keep nothing, and raise if the stream has no end.

        Raises:
            InstanceError: TRUNCATED, BROKEN_DEFLATE, or INFLATED_TOO_LARGE.
        """
        while self._inflater.read(MAX_CHUNK_BYTES):
            pass
        if not self._inflater.has_ended:
            raise InstanceError(Reason.TRUNCATED)

    def _show(self, offset: int, end: int) -> None:
        if not self.reaches(offset):
            self.size = self.base
            return
        parts = [self.data[offset - self.base :]]
        missing = end - offset - len(parts[0])
        while missing > 0:
            part = self._inflater.read(missing)
            if not part:
                self.size = end - missing
                break
            parts.append(part)
            missing -= len(part)
        self.base = offset
        self.data = b"".join(parts)
        self.limit = len(self.data)


class KeepingWindow(ByteWindow):
    """A view on all bytes of a file up to the last one that was loaded; `base` stays 0.

    A small file is read at once, a large one in reads that double what is at hand.

    Attributes:
        file: the file, or the inflated data set, that is viewed.
    """

    def __init__(self, file: RangeReader, max_bytes: int) -> None:
        super().__init__(b"", file.size)
        self.file = file
        self._max_bytes = max_bytes

    def load(self, offset: int, length: int) -> None:
        """Bring the bytes [0, offset + length), or all up to the end, into view."""
        if offset + length <= self.limit:
            return
        end = min(offset + length, self.size)
        while self.limit < end:
            if end > self._max_bytes:
                raise InstanceError(Reason.HEADER_TOO_LARGE)
            least = self.size if self.size <= _IN_ONE_READ else MAX_CHUNK_BYTES
            more = self.file.read(self.limit, max(self.limit, least))
            if not more:
                return
            self.data = self.data + more if self.data else more
            self.limit = len(self.data)


def whole_window(data: bytes) -> ByteWindow:
    """Return a view on bytes whose size has been bounded before."""
    window = MemoryWindow(data)
    window.limit = len(data)
    return window


def open_window(file: RangeReader) -> ByteWindow:
    """Return a view on the file from its first byte."""
    window = MemoryWindow(file.data) if isinstance(file, BytesReader) else RangeWindow(file)
    window.load(0, min(file.size, FIRST_CHUNK))
    return window
