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
from dicomferry.storage import server_side_copy
from dicomferry.storage.retries import ShortReadError
from dicomferry.storage.storage import Storage, StorageFile

# Up to here a blob is read whole and worked on in memory.
_WHOLE_BYTES = 32 << 20
# Read anew, for it may be the way here on which a bit was lost.
_BUCKET_READS = 3


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
    if not blob.data.is_local and not destination.is_local:
        _rewrite(blob, destination, path)
        return
    for attempt in range(1, _BUCKET_READS + 1):
        try:
            destination.write(path, _checked_chunks(blob))
        except InstanceError:
            if blob.data.is_local or attempt == _BUCKET_READS:
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
    if blob.data.is_local:
        for _ in _checked_chunks(blob):
            pass
    else:
        _check_kept(blob)
    with StorageFile(blob.data, blob.path, blob.size) as file:
        yield file


def _whole(blob: StoredBlob) -> bytes:
    for _ in range(1 if blob.data.is_local else _BUCKET_READS):
        try:
            with StorageFile(blob.data, blob.path, blob.size) as file:
                content = file.read(0, blob.size)
        except FileNotFoundError:
            raise _missing(blob) from None
        except ShortReadError:
            break  # of the right length were others
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


def _rewrite(blob: StoredBlob, destination: Storage, path: str) -> None:
    from google.api_core.exceptions import NotFound

    source = blob.data.uri(blob.path)
    try:
        crc32c = server_side_copy.rewrite_over(source, destination.uri(path))
    except NotFound:
        if server_side_copy.exists(source):
            raise  # it is the bucket to write to that is missing
        raise _missing(blob) from None
    if crc32c != blob.crc32c:
        destination.delete([path])
        raise InstanceError(Reason.BLOB_CORRUPT)


def _check_kept(blob: StoredBlob) -> None:
    from google.api_core.exceptions import NotFound

    try:
        crc32c = server_side_copy.crc32c(blob.data.uri(blob.path))
    except NotFound:
        raise _missing(blob) from None
    if crc32c != blob.crc32c:
        raise InstanceError(Reason.BLOB_CORRUPT)


def _missing(blob: StoredBlob) -> Exception:
    """A blob that is gone is its instance's failure; a store that is gone is the job's."""
    if next(blob.data.list(INDEX_FOLDER), None) is None:
        return FileNotFoundError(blob.data.uri(blob.path))
    return InstanceError(Reason.BLOB_MISSING)
