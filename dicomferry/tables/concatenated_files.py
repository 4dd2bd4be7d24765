"""Several local files as one stream, because a load job takes one upload."""

import bisect
import io
import itertools
import os
from collections.abc import Sequence


class ConcatenatedFiles(io.RawIOBase):
    """The bytes of several files in sequence; seekable, because an upload can resume.

    Attributes:
        size: of all files together, in bytes.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = list(paths)
        # Offset of each file in the whole; an empty file has that of the next one.
        sizes = [os.path.getsize(path) for path in paths]
        self._starts = list(itertools.accumulate(sizes, initial=0))[:-1]
        self._position = 0
        self._file: io.FileIO | None = None
        self._index = -1  # of the file that is open
        self.size = sum(sizes)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in the whole."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position in the whole, and return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, fewer only at the end: an upload takes a short read for the end."""
        remaining = self.size - self._position if size < 0 else size
        parts = []
        while remaining > 0 and (part := self._read_within(remaining)):
            parts.append(part)
            remaining -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()

    def _read_within(self, size: int) -> bytes:
        """Return at most `size` bytes of the file at the position; b"" at the end of the last."""
        if self._position >= self.size:
            return b""
        index = bisect.bisect_right(self._starts, self._position) - 1
        if index != self._index or self._file is None:
            if self._file is not None:
                self._file.close()
            self._file, self._index = io.FileIO(self._paths[index]), index
        self._file.seek(self._position - self._starts[index])
        data = self._file.read(size)
        self._position += len(data)
        return data
