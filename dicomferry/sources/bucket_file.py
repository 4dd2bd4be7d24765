"""Sources in Cloud Storage, read by ranges, always the generation that was listed."""

import re
from typing import Self

import google_crc32c
import obstore

from dicomferry.errors import InstanceError, Reason
from dicomferry.sources.source import Source
from dicomferry.storage import gs_clients
from dicomferry.storage.errors import ShortReadError
from dicomferry.storage.range_file import StoredFile
from dicomferry.storage.retries import with_retries

# Object names that obstore 0.12 refuses or, worse, reads as another's ('x/' as 'x'): paths with an
# empty, '.' or '..' segment, or with control characters. Measured against an emulator.
_UNFIT_FOR_OBSTORE = re.compile(r"(?:^|/)(?:\.\.?)?(?:/|$)|[\x00-\x1f\x7f]")
_CHECKED_READS = 3


def open_object(source: Source) -> StoredFile:
    """Return an object for a `with` block; see `source_file.open_source`."""
    bucket, name = gs_clients.split_uri(source.uri)
    kind = _OddlyNamedObject if _UNFIT_FOR_OBSTORE.search(name) else _Object
    return kind(bucket, name, source)


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
        # A wrong checksum is read again: the bit may have been lost on the way.
        for _ in range(_CHECKED_READS):
            content = with_retries(lambda: self._get_all(offset, end))
            if self._source.is_crc32c(google_crc32c.value(content)):
                return content
        raise InstanceError(Reason.WRONG_CHECKSUM)

    def _get_all(self, offset: int, end: int) -> bytes:
        content = self._get(offset, end)
        if len(content) != end - offset:
            raise ShortReadError(f"{self._source.uri}: {len(content)} bytes of {end - offset}")
        return content

    def _get(self, offset: int, end: int) -> bytes:
        try:
            result = obstore.get(
                gs_clients.reading_store(self._bucket),
                self._name,
                options={"range": (offset, end), "version": self._source.version},
            )
            return bytes(result.bytes())
        except FileNotFoundError:
            raise InstanceError(Reason.SOURCE_GONE) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _OddlyNamedObject(_Object):
    """An object whose name is not a clean path, through Google's client."""

    def _get(self, offset: int, end: int) -> bytes:
        from google.api_core.exceptions import NotFound

        bucket = gs_clients.client().bucket(self._bucket)
        blob = bucket.blob(self._name, generation=int(self._source.version))
        try:
            # As stored: otherwise an object that is marked as compressed has no ranges.
            return bytes(
                blob.download_as_bytes(start=offset, end=end - 1, raw_download=True, checksum=None)
            )
        except NotFound:
            raise InstanceError(Reason.SOURCE_GONE) from None
