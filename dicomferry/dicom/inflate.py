"""Deflated data sets, inflated from front to back (PS3.5 A.5)."""

import zlib

from dicomferry.dicom.range_reader import RangeReader
from dicomferry.errors import InstanceError, Reason

_COMPRESSED_CHUNK = 1 << 16


class Inflater:
    """The data set that a file holds deflated, read once and in order."""

    def __init__(self, file: RangeReader, offset: int, max_bytes: int) -> None:
        """Start at the deflated stream.

        Args:
            file: holds the stream.
            offset: where it starts.
            max_bytes: the most that it may inflate to.
        """
        self._file = file
        self._next = offset
        self._max_bytes = max_bytes
        self._inflated_bytes = 0
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._pending = b""

    @property
    def has_ended(self) -> bool:
        """The end of the deflated stream was met; without it the data set is cut off."""
        return self._inflater.eof

    def read(self, most: int) -> bytes:
        """Return the next bytes of the data set, up to `most`; none at the end of the stream.

        Raises:
            InstanceError: BROKEN_DEFLATE, or INFLATED_TOO_LARGE.
        """
        while not self._inflater.eof:
            if not self._pending:
                self._pending = self._file.read(self._next, _COMPRESSED_CHUNK)
                self._next += len(self._pending)
            exhausted = not self._pending
            try:
                part = self._inflater.decompress(self._pending, most)
            except zlib.error:
                raise InstanceError(Reason.BROKEN_DEFLATE) from None
            self._pending = self._inflater.unconsumed_tail
            if part or exhausted:
                self._inflated_bytes += len(part)
                if self._inflated_bytes > self._max_bytes:
                    raise InstanceError(Reason.INFLATED_TOO_LARGE)
                return part
        return b""
