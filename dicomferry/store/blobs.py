"""Blobs: the bytes of instances as uploaded, immutable, named by UIDs and content.

What is read is what was imported, or its instance fails: compared by the CRC-32C of the index row,
at 25 GB/s where the SHA-256 of the blob's name has 2.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

import google_crc32c

from dicomferry.dicom.range_reader import BytesReader, RangeReader
from dicomferry.errors import InstanceError, Reason
from dicomferry.storage.base import Storage
from dicomferry.storage.capabilities import ServerSideCopy
from dicomferry.storage.errors import ShortReadError
from dicomferry.store.index_files import index_folder

FOLDER = "instances"
# Large blobs until they are complete.
INCOMING = "incoming"
# Up to this size a blob is read whole.
_WHOLE_BYTES = 32 << 20
# A wrong checksum is read again: the bit may have been lost on the way.
_NETWORK_READS = 3


class StoredBlob(NamedTuple):
    """A blob as its index row describes it.

    Attributes:
        data: the data folder of its store.
        path: below that folder.
        size: bytes.
        crc32c: of all bytes.
    """

    data: Storage
    path: str
    size: int
    crc32c: int


def blob_path(study: str, series: str, sop_instance: str, digest: str) -> str:
    """Return the path of a blob below the data folder; the UIDs are checked by `dicom.header`."""
    return f"{FOLDER}/{study}/{series}/{sop_instance}/{digest}.dcm"


def write_blob(data: Storage, path: str, content: bytes, crc32c: int) -> None:
    """Write a blob; one of the same bytes that is there already is renewed."""
    if not data.create(path, content) and not _renew(data, path, len(content), crc32c):
        with data.sparing(path):
            data.write(path, content)


def copy_into_blob(data: Storage, path: str, copier: ServerSideCopy, size: int) -> None:
    """Write a blob as `write_blob` does, from an object that the storage copies by itself.

    Raises:
        FileNotFoundError: the object is gone.
    """
    if data.head(path) is None:
        copier.create(path)
    elif not _renew(data, path, size, copier.crc32c()):
        copier.replace(path)


@contextmanager
def large_blob(data: Storage) -> Iterator[tuple[IO[bytes], Callable[[str, int], None]]]:
    """Write a blob of any size, in one pass, before its name is known.

    Yields:
        An open file, and a function that gives it its path when it is complete; it takes the
        CRC-32C too.
    """
    with data.writing(INCOMING) as (file, keep):

        def keep_unless_stored(path: str, crc32c: int) -> None:
            if not _renew(data, path, file.tell(), crc32c):
                with data.sparing(path):
                    keep(path)

        yield file, keep_unless_stored


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
def read_blob(blob: StoredBlob) -> Iterator[RangeReader]:
    """Open a blob after comparing its bytes with their checksum.

    For a large object that is the checksum that the bucket keeps; a range that is read of it has no
    checksum of its own.

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


def _renew(data: Storage, path: str, size: int, crc32c: int) -> bool:
    """Give a blob with the right bytes a new time, which spares it; return whether it has them.

    A power cut leaves names without their bytes, and bytes rot. What another process has written
    may not be synced yet.
    """
    entry = data.head(path)
    if entry is None or entry.size != size:
        return False
    try:
        kept = data.kept_crc32c(path)
        if kept is None:
            kept = _crc32c_of(data, path)
    except FileNotFoundError:
        return False
    if kept != crc32c or not data.touch(path):
        return False
    data.sync([path])
    return True


def _crc32c_of(data: Storage, path: str) -> int:
    crc32c = 0
    for chunk in data.chunks(path):
        crc32c = google_crc32c.extend(crc32c, chunk)
    return crc32c


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
    """Return the error of a missing blob: of its instance, or of the job if the store is gone."""
    if next(index_folder(blob.data).list(), None) is None:
        return FileNotFoundError(blob.data.uri(blob.path))
    return InstanceError(Reason.BLOB_MISSING)
