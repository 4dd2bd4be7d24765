"""Reading sources by ranges, as they were when they were listed."""

import base64
import os
import re
import sys
from types import TracebackType
from typing import Protocol

import google_crc32c

from dicomferry.errors import InstanceError, Reason
from dicomferry.sources.allowed_folders import AllowedFolders
from dicomferry.sources.listing import Source
from dicomferry.sources.uri import local_path, split_gcs
from dicomferry.storage import gs_clients
from dicomferry.storage.retries import ShortReadError, with_retries

# Object names that obstore 0.12 refuses or, worse, takes for another's ('x/' for 'x'): paths with
# an empty, '.' or '..' segment, or with control characters. Measured against an emulator.
_UNFIT_FOR_OBSTORE = re.compile(r"(?:^|/)(?:\.\.?)?(?:/|$)|[\x00-\x1f\x7f]")


_CHECKED_READS = 3


class SourceFile(Protocol):
    """A `dicomferry.dicom.range_reader.RangeReader` that is closed by its `with` block."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer at the end of the file."""

    def __enter__(self) -> "SourceFile":
        """Open it."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""


def open_source(source: Source, allowed_folders: AllowedFolders | None = None) -> SourceFile:
    """Open a listed file or object for a `with` block.

    Args:
        source: which one.
        bounds: local folders in which a local file must lie, whatever links lead to by now.

    The block, at its start, in its reads or at its end, raises:
        InstanceError: SOURCE_CHANGED: other bytes are there than were listed; SOURCE_GONE: none
            are; UNREADABLE: a local file may not be read; LINK_LEADS_OUT: it is out of bounds;
            WRONG_CHECKSUM: an object that was read whole is not what Cloud Storage says it keeps,
            three times in a row.
        OSError, google.api_core.exceptions.GoogleAPIError, obstore.exceptions.BaseError: the file
            system or the service fails.
    """
    if not source.uri.startswith("gs://"):
        return _LocalFile(source, allowed_folders)
    bucket, name = split_gcs(source.uri)
    if _UNFIT_FOR_OBSTORE.search(name):
        return _OddlyNamedObject(bucket, name, source)
    return _Object(bucket, name, source)


def is_crc32c(source: Source, crc32c: int) -> bool:
    """Whether the checksum of all bytes that were read is the one that was listed, if any was."""
    return not source.crc32c or base64.b64decode(source.crc32c) == crc32c.to_bytes(4, "big")


class _LocalFile:
    def __init__(self, source: Source, allowed_folders: AllowedFolders | None) -> None:
        self._source = source
        self._bounds = allowed_folders
        self._fd = -1

    @property
    def size(self) -> int:
        return self._source.size

    def read(self, offset: int, length: int) -> bytes:
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        data = os.pread(self._fd, length, offset)
        # Linux gives 2 GiB at most at a time.
        while len(data) < length and (
            more := os.pread(self._fd, length - len(data), offset + len(data))
        ):
            data += more
        return data

    def __enter__(self) -> "_LocalFile":
        try:
            # O_NONBLOCK: what was a file may be a pipe by now, which would wait for a writer.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        unchanged = self._is_as_listed()
        os.close(self._fd)
        if error is None and not unchanged:
            raise InstanceError(Reason.SOURCE_CHANGED)

    def _refusal(self) -> Reason | None:
        # Of what was opened, not of its name: since it was listed that can be another file's, with
        # a size and time that were made the same.
        if self._bounds and not self._bounds.contains(_path_of(self._fd)):
            return Reason.LINK_LEADS_OUT
        return None if self._is_as_listed() else Reason.SOURCE_CHANGED

    def _is_as_listed(self) -> bool:
        # Not the ctime: a new owner or mode are no reason to fail.
        found = os.fstat(self._fd)
        mtime = self._source.version.partition(".")[0]
        return found.st_size == self._source.size and str(found.st_mtime_ns) == mtime


def _path_of(descriptor: int) -> str:
    """Where an open file lies, all links followed."""
    if sys.platform == "darwin":
        import fcntl

        return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{descriptor}")


class _Object:
    """An object that is read through obstore, always the generation that was listed."""

    def __init__(self, bucket: str, name: str, source: Source) -> None:
        self._bucket = bucket
        self._name = name
        self._source = source

    @property
    def size(self) -> int:
        return self._source.size

    def read(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self.size)
        if end <= offset:
            return b""
        if (offset, end) != (0, self.size):
            return with_retries(lambda: self._get_all(offset, end))
        # Read anew, for it may be the way here on which a bit was lost.
        for _ in range(_CHECKED_READS):
            content = with_retries(lambda: self._get_all(offset, end))
            if is_crc32c(self._source, google_crc32c.value(content)):
                return content
        raise InstanceError(Reason.WRONG_CHECKSUM)

    def _get_all(self, offset: int, end: int) -> bytes:
        content = self._get(offset, end)
        if len(content) != end - offset:
            raise ShortReadError(f"{self._source.uri}: {len(content)} bytes of {end - offset}")
        return content

    def _get(self, offset: int, end: int) -> bytes:
        import obstore

        try:
            result = obstore.get(
                gs_clients.reading_store(self._bucket),
                self._name,
                options={"range": (offset, end), "version": self._source.version},
            )
            return bytes(result.bytes())
        except FileNotFoundError:
            raise InstanceError(Reason.SOURCE_GONE) from None

    def __enter__(self) -> "_Object":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass


class _OddlyNamedObject(_Object):
    """An object whose name is no clean path, through Google's client."""

    def _get(self, offset: int, end: int) -> bytes:
        from google.api_core.exceptions import NotFound

        bucket = gs_clients.client().bucket(self._bucket)
        blob = bucket.blob(self._name, generation=int(self._source.version))
        try:
            # As stored: an object that is marked as compressed has no ranges otherwise.
            return bytes(
                blob.download_as_bytes(start=offset, end=end - 1, raw_download=True, checksum=None)
            )
        except NotFound:
            raise InstanceError(Reason.SOURCE_GONE) from None
