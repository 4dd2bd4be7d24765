"""Blobs on their way out of a store: what is read is what was imported, or its instance fails.

By the CRC-32C of the index row: 25 GB/s, where the SHA-256 of the blob's name has 2.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import google_crc32c

from dicomferry.dicom.range_reader import BytesReader, RangeReader
from dicomferry.errors import InstanceError, Reason
from dicomferry.resource_names import INDEX_FOLDER
from dicomferry.storage.base import ServerSideCopy, Storage
from dicomferry.storage.retries import ShortReadError

# Up to here a blob is read whole and worked on in memory.
_WHOLE_BYTES = 32 << 20
# A wrong checksum is read again: the bit may have been lost on the way.
_NETWORK_READS = 3


class StoredBlob(NamedTuple):
    """A blob as its index row has it.

    Attributes:
        data: the data folder of its store.
        path: below it.
        size: bytes.
        crc32c: of all of them.
    """

    data: Storage
    path: str
    size: int
    crc32c: int


def copy_blob(blob: StoredBlob, destination: Storage, path: str) -> None:
    """Write a blob's bytes to another storage, replacing an earlier file at once.

    Raises:
        InstanceError: BLOB_CORRUPT, BLOB_MISSING; nothing was written, or it is gone again.
        FileNotFoundError, google.api_core.exceptions.NotFound: the store, or the bucket to write
            to, is gone.
    """
    copier = destination.copier(blob.data.uri(blob.path))
    if copier:
        _copy_server_side(blob, copier, destination, path)
        return
    attempts = _read_attempts(blob)
    for attempt in range(1, attempts + 1):
        try:
            destination.write(path, _checked_chunks(blob))
        except InstanceError:
            if attempt == attempts:
                raise
        else:
            return


@contextmanager
def open_blob(blob: StoredBlob) -> Iterator[RangeReader]:
    """Open a blob whose bytes were compared with their checksum.

    Those of a large object are compared as the bucket keeps them; what of it is read by ranges has
    no checksum of its own.

    Raises:
        InstanceError: BLOB_CORRUPT, BLOB_MISSING.
        FileNotFoundError: the whole store is gone.
    """
    if blob.size <= _WHOLE_BYTES:
        yield BytesReader(_whole(blob))
        return
    _check_content(blob)
    with blob.data.open(blob.path, blob.size) as file:
        yield file


def _whole(blob: StoredBlob) -> bytes:
    for _ in range(_read_attempts(blob)):
        try:
            with blob.data.open(blob.path, blob.size) as file:
                content = file.read(0, blob.size)
        except FileNotFoundError:
            raise _missing(blob) from None
        except ShortReadError:
            break  # a short read means damage: blobs never change length
        if google_crc32c.value(content) == blob.crc32c:
            return content
    raise InstanceError(Reason.BLOB_CORRUPT)


def _checked_chunks(blob: StoredBlob) -> Iterator[bytes]:
    crc32c = 0
    try:
        for chunk in blob.data.chunks(blob.path):
            crc32c = google_crc32c.extend(crc32c, chunk)
            yield chunk
    except FileNotFoundError:
        raise _missing(blob) from None
    if crc32c != blob.crc32c:
        raise InstanceError(Reason.BLOB_CORRUPT)


def _copy_server_side(
    blob: StoredBlob, copier: ServerSideCopy, destination: Storage, path: str
) -> None:
    try:
        crc32c = copier.replace(path)
    except FileNotFoundError:
        raise _missing(blob) from None
    if crc32c != blob.crc32c:
        destination.delete([path])
        raise InstanceError(Reason.BLOB_CORRUPT)


def _check_content(blob: StoredBlob) -> None:
    """Compare the checksum that the storage keeps, or else that of all bytes."""
    try:
        crc32c = blob.data.kept_crc32c(blob.path)
    except FileNotFoundError:
        raise _missing(blob) from None
    if crc32c is None:
        for _ in _checked_chunks(blob):
            pass
    elif crc32c != blob.crc32c:
        raise InstanceError(Reason.BLOB_CORRUPT)


def _read_attempts(blob: StoredBlob) -> int:
    return _NETWORK_READS if blob.data.capabilities.is_networked else 1


def _missing(blob: StoredBlob) -> Exception:
    """A blob that is gone is its instance's failure; a store that is gone is the job's."""
    if next(blob.data.list(INDEX_FOLDER), None) is None:
        return FileNotFoundError(blob.data.uri(blob.path))
    return InstanceError(Reason.BLOB_MISSING)
