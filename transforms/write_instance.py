"""Write one stored instance to its destination. No Beam here: worker processes import it."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

from dicomferry.errors import InstanceError, Reason
from dicomferry.operations.faults import fails_alone
from dicomferry.operations.outcomes import Outcome
from dicomferry.pixels.convert import can_copy, transcode
from dicomferry.pixels.formats import AS_UPLOADED, Format
from dicomferry.pixels.parallel import FrameMap, in_order
from dicomferry.pixels.quality import DEFAULT_QUALITY, Quality
from dicomferry.storage.base import Storage
from dicomferry.store.blobs import StoredBlob, copy_blob, read_blob
from dicomferry.transforms.parallel_frames import parallel_map
from dicomferry.transforms.records import FileOutcome, instance_path
from dicomferry.transforms.worker_pool import own_cores


class StoredInstance(NamedTuple):
    """The part of an index row that an export needs.

    Attributes:
        study_instance_uid: (0020,000D).
        series_instance_uid: (0020,000E).
        sop_instance_uid: (0008,0018).
        transfer_syntax_uid: (0002,0010).
        blob: path of the bytes below the data folder.
        size: bytes of the blob.
        crc32c: checksum of the blob.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    blob: str
    size: int
    crc32c: int


class FileTarget(NamedTuple):
    """Where files come from, where they go, and in which format.

    Attributes:
        data: the store's data folder.
        destination: the folder or bucket prefix that gets the files.
        format: of the files.
        quality: of lossy formats.
        derive_uids: whether what becomes lossy gets a SOP Instance UID of its own.
        skip_without_pixels: whether no pixel data is no failure.
    """

    data: Storage
    destination: Storage
    format: Format = AS_UPLOADED
    quality: Quality = DEFAULT_QUALITY
    derive_uids: bool = False
    skip_without_pixels: bool = False


def write_all(instances: Sequence[StoredInstance], target: FileTarget) -> list[FileOutcome]:
    """Write instances, in their order; return one outcome each, also for those that fail.

    What is reported as written survives a power cut.
    """
    storages = (target.data.capabilities, target.destination.capabilities)
    concurrency = max(storage.concurrency for storage in storages)
    with target.destination.batch() as destination:
        batched = target._replace(destination=destination)
        if concurrency == 1:
            frame_map = parallel_map(own_cores())
            return [write(instance, batched, frame_map) for instance in instances]
        # A codec needs a core of its own; copies wait for the bucket.
        copies = all(is_copied(instance, target.format) for instance in instances)
        with ThreadPoolExecutor(concurrency if copies else 2) as threads:
            return list(threads.map(lambda instance: write(instance, batched), instances))


def is_copied(instance: StoredInstance, target: Format) -> bool:
    """Whether the instance's bytes are copied; `write` says why where that cannot be known."""
    try:
        with fails_alone():
            return can_copy(instance.transfer_syntax_uid, target)
    except InstanceError:
        return False


def write(
    instance: StoredInstance, target: FileTarget, frame_map: FrameMap = in_order
) -> FileOutcome:
    """Write one instance. I/O errors of storage propagate, so that the runner retries them."""
    written = _Written()
    try:
        with fails_alone():
            _write(instance, target, frame_map, written)
    except InstanceError as error:
        # If nothing was written yet, any files there belong to an earlier export and are kept.
        if written.files or error.code == Reason.WORKER_LOST:
            _delete_frames(instance, target)
        uid = instance.sop_instance_uid
        failed = FileOutcome.of_failure(resource_path(instance), error, sop_instance_uid=uid)
        is_skipped = target.skip_without_pixels and error.code == Reason.NO_PIXEL_DATA
        return failed._replace(outcome=Outcome.SKIPPED) if is_skipped else failed
    return FileOutcome(
        resource_path(instance),
        Outcome.EXPORTED,
        "",
        instance.sop_instance_uid,
        size=written.size,
        derived_uid=written.derived_uid,
    )


class _Written:
    """What was written of an instance so far.

    Attributes:
        files: number of converted files.
        size: bytes.
        derived_uid: SOP Instance UID of the last file, where it is not that of the instance.
    """

    def __init__(self) -> None:
        self.files = 0
        self.size = 0
        self.derived_uid = ""


def _write(
    instance: StoredInstance, target: FileTarget, frame_map: FrameMap, written: _Written
) -> None:
    stem = "/".join(instance[:3])
    _tidy(target.destination, stem.rpartition("/")[0])
    _tidy(target.destination, stem)
    blob = StoredBlob(target.data, instance.blob, instance.size, instance.crc32c)
    if can_copy(instance.transfer_syntax_uid, target.format):
        copy_blob(blob, target.destination, f"{stem}{target.format.extension}")
        written.size = instance.size
        return
    with read_blob(blob) as file:
        for output in transcode(file, target.format, target.quality, frame_map, target.derive_uids):
            written.derived_uid = output.derived_uid
            frame = "" if output.frame is None else f"/{output.frame}"
            own = f"{stem.rpartition('/')[0]}/{output.derived_uid}" if output.derived_uid else stem
            name = f"{own}{frame}{target.format.extension}"
            target.destination.write(name, _counted(output.chunks, written))


@lru_cache(maxsize=4096)
def _tidy(destination: Storage, folder: str) -> None:
    """Remove partial files that a killed export left in a folder, once per process."""
    destination.remove_partial(folder)


def discard(instance: StoredInstance, target: FileTarget) -> None:
    """Delete the frames that a worker wrote of an instance before it died."""
    _tidy.cache_clear()
    _delete_frames(instance, target)


def _delete_frames(instance: StoredInstance, target: FileTarget) -> None:
    """Delete all frames of an instance that failed: some frames are not the instance.

    This includes frames of an earlier attempt, which may have got further before it was killed.
    """
    if not target.format.per_frame:
        return  # one file, which is complete or does not exist
    stem = "/".join(instance[:3])
    extension = target.format.extension
    names = [entry.path for entry in target.destination.list(stem)]
    target.destination.delete(
        name
        for name in names
        if name.startswith(f"{stem}/") and name[len(stem) + 1 :].removesuffix(extension).isdigit()
    )


def resource_path(instance: StoredInstance) -> str:
    """Return /studies/{study}/series/{series}/instances/{instance}."""
    return instance_path(*instance[:3])


def _counted(chunks: Iterator[bytes], written: _Written) -> Iterator[bytes]:
    """Yield chunks and count them; after the last one their file may have its name."""
    for chunk in chunks:
        written.size += len(chunk)
        yield chunk
    written.files += 1
