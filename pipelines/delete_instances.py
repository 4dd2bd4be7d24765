"""Delete instances of a store, as an operation. It is no Beam job: it reads no pixels."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import NamedTuple

import pyarrow as pa

from dicomferry.operations.asked import asked_by, without_secrets
from dicomferry.operations.folder import (
    OperationFolder,
    OperationNotFoundError,
    new_operation_id,
)
from dicomferry.operations.outcomes import Outcome, OutcomeCounts, ProgressCounts
from dicomferry.operations.ownership import ProgressCallback
from dicomferry.operations.record import Method, OperationRecord
from dicomferry.operations.recorded import recorded
from dicomferry.resource_names import StoreName
from dicomferry.storage.base import Storage
from dicomferry.store.dicom_store import get_store
from dicomferry.store.erasure import erase_blobs, erase_broken_writes, erase_kept_reads, erase_rows
from dicomferry.store.index import Index
from dicomferry.store.index_schema import UID_COLUMNS, Column
from dicomferry.store.instance_filter import InstanceFilter
from dicomferry.transforms.records import FileOutcome, instance_path, to_line
from dicomferry.transforms.write_outcomes import report_unmatched

_SHARD = 10_000


class Deletion(NamedTuple):
    """Instances to delete.

    Attributes:
        root: where stores are.
        store: which one.
        instances: below which paths; one that nothing is below counts as a failure.
        filter: where these paths were read from.
        purge_history: also delete earlier versions of the index, which have the attributes.
    """

    root: Storage
    store: StoreName
    instances: InstanceFilter
    filter: str
    purge_history: bool = False


def run(deletion: Deletion, on_progress: ProgressCallback | None = None) -> OperationRecord:
    """Delete instances to the end, and return the finished operation.

    Args:
        deletion: what to delete.
        on_progress: called with the progress twice a second.

    Raises:
        StoreNotFoundError: there is no such store.
        LookupError: the store was deleted meanwhile.
    """
    root, store, instances, *_ = deletion
    data = get_store(root, store).data
    folder = OperationFolder(root, store.parent, new_operation_id())
    flags = {"filter": without_secrets(deletion.filter)}
    flags |= {"purge_history": "true"} if deletion.purge_history else {}
    folder.start(store, Method.DELETE_INSTANCES, asked=asked_by(**flags))
    with recorded(folder, on_progress) as job:
        rows, cutoff = erase_rows(data, instances)
        job.expect(len(rows))
        erase_kept_reads(data, cutoff)
        known = set(_uids(rows))
        _write(folder, "rows", _outcomes(rows))
        blobs = _erase_blobs(data, instances, cutoff, folder)
        orphans = sorted(blobs - known)
        _write(folder, "blobs", (_outcome(uids, 0) for uids in orphans))
        if deletion.purge_history:
            Index(data).purge_history()
            erase_broken_writes(data, instances, partial(_is_running, root, store))
        unmatched = instances.unmatched(known | blobs)
        report_unmatched(unmatched, folder)
        size = sum(rows[Column.BLOB_STORAGE_SIZE].to_pylist())
        folder.write_counts("00000", OutcomeCounts(deleted=len(known) + len(orphans), bytes=size))
        job.expect(len(known) + len(orphans) + len(unmatched))
        return job.finish("instances")


def _is_running(root: Storage, store: StoreName, operation: str) -> bool:
    try:
        return not OperationFolder(root, store.parent, operation).read().done
    except OperationNotFoundError:
        return False


def _erase_blobs(
    data: Storage, instances: InstanceFilter, cutoff: float, folder: OperationFolder
) -> set[str]:
    blobs = set()
    for number, uids in enumerate(erase_blobs(data, instances, cutoff), 1):
        blobs.add(uids)
        if number % 1000 == 0:
            folder.report_progress("00000-0", ProgressCounts(read=len(blobs), committed=len(blobs)))
    return blobs


def _uids(rows: pa.Table) -> Iterator[str]:
    columns = (rows[name].to_pylist() for name in UID_COLUMNS)
    return map("/".join, zip(*columns, strict=True))


def _outcomes(rows: pa.Table) -> Iterator[FileOutcome]:
    sizes = rows[Column.BLOB_STORAGE_SIZE].to_pylist()
    return map(_outcome, _uids(rows), sizes)


def _outcome(uids: str, size: int) -> FileOutcome:
    study, series, instance = uids.split("/")
    path = instance_path(study, series, instance)
    return FileOutcome(path, Outcome.DELETED, sop_instance_uid=instance, size=size)


def _write(folder: OperationFolder, name: str, outcomes: Iterator[FileOutcome]) -> None:
    number = 0
    while some := list(islice(outcomes, _SHARD)):
        lines = "".join(f"{to_line(outcome)}\n" for outcome in some)
        folder.write_outcomes(f"{name}-{number:05d}", lines.encode())
        number += 1
