"""Local sources, read by ranges as they were when they were listed."""

import os
from typing import Self

from dicomferry.errors import InstanceError, Reason
from dicomferry.sources.allowed_folders import AllowedFolders
from dicomferry.sources.source import Source
from dicomferry.sources.uri import local_path


class LocalSourceFile:
    """A local file, which must be the one that was listed when it is opened and when closed."""

    def __init__(self, source: Source, allowed_folders: AllowedFolders | None) -> None:
        """Name a file, and the folders that it must be in."""
        self._source = source
        self._allowed_folders = allowed_folders
        self._fd = -1

    @property
    def size(self) -> int:
        """Length in bytes, as listed."""
        return self._source.size

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer at the end of the file."""
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        data = os.pread(self._fd, length, offset)
        # Linux reads at most 2 GiB at a time.
        while len(data) < length and (
            more := os.pread(self._fd, length - len(data), offset + len(data))
        ):
            data += more
        return data

    def __enter__(self) -> Self:
        try:
            # O_NONBLOCK: the file can be a pipe by now, whose opening would wait for a writer.
            self._fd = os.open(
                local_path(self._source.uri), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except (FileNotFoundError, NotADirectoryError):
            raise InstanceError(Reason.SOURCE_GONE) from None
        except PermissionError:
            raise InstanceError(Reason.UNREADABLE) from None
        if code := self._refusal():
            os.close(self._fd)
            raise InstanceError(code)
        return self

    def __exit__(self, kind: object = None, *_: object) -> None:
        unchanged = self._is_as_listed()
        os.close(self._fd)
        if kind is None and not unchanged:
            raise InstanceError(Reason.SOURCE_CHANGED)

    def _refusal(self) -> Reason | None:
        # Checks the open file, not its name, which can be another file's since the listing, even
        # one of the same size and time.
        if self._allowed_folders and not self._allowed_folders.contains_open(self._fd):
            return Reason.LINK_LEADS_OUT
        return None if self._is_as_listed() else Reason.SOURCE_CHANGED

    def _is_as_listed(self) -> bool:
        # Without the ctime: a new owner or mode is not a reason to fail.
        status = os.fstat(self._fd)
        mtime = self._source.version.partition(".")[0]
        return status.st_size == self._source.size and str(status.st_mtime_ns) == mtime
