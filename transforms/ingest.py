"""Read one source once: header, checksums, blob. No Beam here: worker processes import it."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import google_crc32c
import zstandard

from dicomferry.dicom.header import Header, read_header
from dicomferry.dicom.range_reader import BytesReader, RangeReader
from dicomferry.errors import InstanceError, Reason
from dicomferry.operations.faults import fails_alone
from dicomferry.operations.outcomes import Outcome
from dicomferry.sources.allowed_folders import AllowedFolders
from dicomferry.sources.source import Source
from dicomferry.sources.source_file import open_source
from dicomferry.storage.base import Storage
from dicomferry.storage.capabilities import ServerSideCopy
from dicomferry.storage.clock import clock_of
from dicomferry.storage.registry import capabilities_of
from dicomferry.store.blobs import blob_path, copy_into_blob, large_blob, write_blob
from dicomferry.store.deletion import end_if_deleted
from dicomferry.transforms.records import FileOutcome, Instance

# Up to here a file is read whole, hashed and written from memory.
_WHOLE_FILE_BYTES = 8 << 20
_CHUNK_BYTES = 1 << 20
# Listed and reported, but not to be imported.
_SKIPPED_CODES = {Reason.DICOMDIR, Reason.FOLDER_MARKER, Reason.LINK_LOOP}


class ImportTarget(NamedTuple):
    """Where an import writes blobs, and what it may read.

    Attributes:
        data: the data folder of the store.
        dry_run: read and check everything, but write nothing.
        allowed_folders: local sources must be in them; None: anywhere.
    """

    data: Storage
    dry_run: bool
    allowed_folders: AllowedFolders | None = None


def ingest_all(sources: Sequence[Source], target: ImportTarget) -> list[Instance | FileOutcome]:
    """Read and store sources; a bad file becomes a `FileOutcome`, never an error.

    Returns:
        One result per source, in their order.

    Raises:
        StoreNotFoundError: the store was deleted meanwhile; nothing is left of what was written.
    """
    storages = [target.data.capabilities, *(capabilities_of(source.uri) for source in sources)]
    concurrency = max(storage.concurrency for storage in storages)
    started = 0.0 if target.dry_run else clock_of(target.data).now()
    with target.data.batch() as data:
        batched = target._replace(data=data)
        if concurrency == 1:
            results = [ingest(source, batched) for source in sources]
        else:
            with ThreadPoolExecutor(concurrency) as threads:
                results = list(threads.map(lambda source: ingest(source, batched), sources))
    if not target.dry_run:
        end_if_deleted(target.data)
    return [r._replace(stored=started) if isinstance(r, Instance) else r for r in results]


def ingest(source: Source, target: ImportTarget) -> Instance | FileOutcome:
    """Read one source, store its bytes under their content path, and describe them.

    Raises:
        OSError, obstore.exceptions.BaseError, google.api_core.exceptions.GoogleAPIError: storage
            failed; the runner retries.
    """
    try:
        with fails_alone():
            return _ingest(source, target)
    except InstanceError as error:
        outcome = Outcome.SKIPPED if error.code in _SKIPPED_CODES else Outcome.FAILED
        return FileOutcome.of_failure(
            source.uri, error, outcome=outcome, size=source.size, version=source.version
        )


def _ingest(source: Source, target: ImportTarget) -> Instance:
    if source.code:
        raise InstanceError(Reason(source.code))
    with open_source(source, target.allowed_folders) as file:
        if file.size <= _WHOLE_FILE_BYTES:
            return _ingest_whole(source, file, target)
        header = read_header(file)
        copier = target.data.copier(source.uri, source.version)
        if copier:
            return _copy_server_side(source, header, copier, target)
        return _stream(source, header, file, target)


def _ingest_whole(source: Source, file: RangeReader, target: ImportTarget) -> Instance:
    content = file.read(0, file.size)
    if len(content) != file.size:
        raise InstanceError(Reason.SOURCE_CHANGED)
    header = read_header(BytesReader(content))
    sha256 = hashlib.sha256(content).hexdigest()
    instance = _describe(source, header, sha256, google_crc32c.value(content))
    if not target.dry_run:
        write_blob(target.data, instance.blob, content, instance.crc32c)
    return instance


def _stream(source: Source, header: Header, file: RangeReader, target: ImportTarget) -> Instance:
    """Store a large file in one pass: it gets its name when its digest is known."""
    if target.dry_run:
        digest = _digest(source, file, lambda chunk: None)
        return _describe(source, header, digest.sha256, digest.crc32c)
    with large_blob(target.data) as (blob, keep):
        digest = _digest(source, file, blob.write)
        instance = _describe(source, header, digest.sha256, digest.crc32c)
        keep(instance.blob, instance.crc32c)
    return instance


def _copy_server_side(
    source: Source, header: Header, copier: ServerSideCopy, target: ImportTarget
) -> Instance:
    """Store a large object that the storage copies by itself: no byte comes here."""
    try:
        instance = _describe(source, header, "", copier.crc32c())
        if not target.dry_run:
            copy_into_blob(target.data, instance.blob, copier, instance.size)
    except FileNotFoundError:
        raise InstanceError(Reason.SOURCE_GONE) from None
    return instance


def _describe(source: Source, header: Header, sha256: str, crc32c: int) -> Instance:
    digest = sha256 or f"crc32c-{crc32c:08x}-{source.size}"
    uids = header.study_instance_uid, header.series_instance_uid, header.sop_instance_uid
    return Instance(
        *uids,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        modality=header.modality,
        number_of_frames=header.number_of_frames,
        metadata=zstandard.compress(header.metadata),
        structured_size=len(header.metadata),
        blob=blob_path(*uids, digest),
        size=source.size,
        sha256=sha256,
        crc32c=crc32c,
        source_uri=source.uri,
        source_version=source.version,
    )


class _Digest:
    """SHA-256 and CRC-32C of chunks as they pass."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.crc32c = 0

    def update(self, chunk: bytes) -> None:
        self._sha256.update(chunk)
        self.crc32c = google_crc32c.extend(self.crc32c, chunk)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


def _digest(source: Source, file: RangeReader, write: Callable[[bytes], object]) -> _Digest:
    """Read a whole file, handing on its chunks; raise WRONG_CHECKSUM if it is not as listed."""
    digest = _Digest()
    for chunk in _chunks(file):
        digest.update(chunk)
        write(chunk)
    if not source.is_crc32c(digest.crc32c):
        raise InstanceError(Reason.WRONG_CHECKSUM)
    return digest


def _chunks(file: RangeReader) -> Iterator[bytes]:
    for offset in range(0, file.size, _CHUNK_BYTES):
        chunk = file.read(offset, _CHUNK_BYTES)
        if len(chunk) != min(_CHUNK_BYTES, file.size - offset):
            raise InstanceError(Reason.SOURCE_CHANGED)
        yield chunk
