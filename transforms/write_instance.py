"""Write one stored instance to its destination. No Beam here: worker processes import it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from headers.failures import InstanceError
from stores.storage import Storage
from transforms.records import EXPORTED, FAILED, Outcome

_BUCKET_THREADS = 16


class StoredInstance(NamedTuple):
    """What an export needs to know of an index row.

    Attributes:
        study_instance_uid: (0020,000D).
        series_instance_uid: (0020,000E).
        sop_instance_uid: (0008,0018).
        transfer_syntax_uid: (0002,0010).
        blob: path of the bytes below the data folder.
        size: bytes of the blob.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    blob: str
    size: int


class FileTarget(NamedTuple):
    """Where files come from and go to."""

    data: Storage
    destination: Storage


def write_all(instances: Sequence[StoredInstance], target: FileTarget) -> list[Outcome]:
    """Write instances, in their order; one that cannot be written is an `Outcome`."""
    if target.data.is_local and target.destination.is_local:
        return [write(instance, target) for instance in instances]
    with ThreadPoolExecutor(_BUCKET_THREADS) as threads:
        return list(threads.map(lambda instance: write(instance, target), instances))


def write(instance: StoredInstance, target: FileTarget) -> Outcome:
    """Write one instance. I/O errors of storage propagate: the runner retries them."""
    try:
        target.destination.copy(target.data, instance.blob, f"{file_stem(instance)}.dcm")
    except InstanceError as error:
        return Outcome(resource_path(instance), FAILED, error.code, instance.sop_instance_uid)
    return Outcome(
        resource_path(instance), EXPORTED, "", instance.sop_instance_uid, size=instance.size
    )


def file_stem(instance: StoredInstance) -> str:
    """{study}/{series}/{instance}, without an extension."""
    return "/".join(instance[:3])


def resource_path(instance: StoredInstance) -> str:
    """/studies/{study}/series/{series}/instances/{instance}."""
    study, series, sop = instance[:3]
    return f"/studies/{study}/series/{series}/instances/{sop}"
