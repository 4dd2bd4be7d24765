"""Delete a store: for readers at once, then all of its data, as an operation.

The record of the store goes first. Each version of it that stays names a data folder; those that
are not the living store's are deleted, however often a deletion was broken off before. Within a
folder the index goes first: who writes there looks for it afterwards, and deletes what it wrote if
it is gone. So a file is either there before the index is gone, and then the deletion lists it, or
its writer deletes it (`end_if_deleted`). Jobs that may be killed in between are waited for
(`writers`), and what they left is deleted at the end. Whatever comes later still, from a machine
that was cut off meanwhile, `sweep` deletes.
"""

import time
from collections.abc import Callable, Sequence

from obstore.exceptions import NotFoundError

from dicomferry.operations.asked import asked_by
from dicomferry.operations.folder import (
    OperationFolder,
    adopt_operation,
    new_operation_id,
)
from dicomferry.operations.outcomes import OutcomeCounts, ProgressCounts
from dicomferry.operations.ownership import ProgressCallback
from dicomferry.operations.record import Method, OperationRecord
from dicomferry.operations.recorded import recorded
from dicomferry.resource_names import DatasetName, StoreName
from dicomferry.storage.base import Storage
from dicomferry.store.blobs import FOLDER
from dicomferry.store.dicom_store import (
    StoreNotFoundError,
    all_deleted_data,
    deleted_data,
    find_store,
    get_store,
    mark_deleted,
)
from dicomferry.store.index import Index
from dicomferry.store.index_files import index_folder, is_deleted
from dicomferry.store.writers import Writers

_ATTEMPTS = 10
_PART = "00000"
_REPORT_SECONDS = 0.5


def delete_store(
    root: Storage,
    name: StoreName,
    on_progress: ProgressCallback | None = None,
    operation: str = "",
) -> OperationRecord:
    """Delete a store, or what an earlier deletion of that name has left.

    Args:
        root: where stores are.
        name: of the store.
        on_progress: called with the progress twice a second.
        operation: id of an operation that is recorded for this process already; the store is
            marked as deleted.

    Returns:
        The finished operation; it counts the blobs.

    Raises:
        StoreNotFoundError: there is no such store, and nothing is left of one.
        JobsRunningError: a job of the store still runs; deleting again goes on.
    """
    if not operation and not has_anything(root, name):
        get_store(root, name)  # raises StoreNotFoundError
    if operation:
        folder = adopt_operation(root, name.parent, operation)
    else:
        folder = OperationFolder(root, name.parent, new_operation_id())
        folder.start(name, Method.DELETE_STORE, asked=asked_by())
    with recorded(folder, on_progress) as job:
        # Whoever recorded the operation has marked the store; one of now was created since.
        if not operation and find_store(root, name):
            job.expect(count_instances(root, name))
            mark_deleted(root, name)
        deleted, data = _Deleted(folder), deleted_data(root, name)
        writers = Writers(root, name, data)
        _purge_all(data, deleted)
        writers.wait()
        _purge_all(data, deleted)
        sweep(root, name.parent)
        folder.write_counts(_PART, OutcomeCounts(deleted=deleted.blobs))
        job.expect(deleted.blobs)
        return job.finish("instances")


def has_anything(root: Storage, name: StoreName) -> bool:
    """Whether there is a store, or something left of a deleted one."""
    return find_store(root, name) is not None or any(
        next(storage.list(), None) is not None
        for data in deleted_data(root, name)
        for storage in _storages(data)
    )


def sweep(root: Storage, parent: DatasetName) -> None:
    """Delete what is left of all deleted stores of a dataset, by a quick look at each."""
    for data in all_deleted_data(root, parent):
        if any(next(storage.list(), None) is not None for storage in _storages(data)):
            purge(data)


def count_instances(root: Storage, name: StoreName) -> int:
    """Return how many instances a store has; 0 if it is deleted."""
    store = find_store(root, name)
    try:
        return Index(store.data).count() if store else 0
    except LookupError:
        return 0


def purge(data: Storage, count: Callable[[Sequence[str]], None] = lambda paths: None) -> None:
    """Delete everything in the data folder of a deleted store.

    Args:
        data: the folder.
        count: called with the paths that were deleted.
    """
    for attempt in range(_ATTEMPTS):
        try:
            index_folder(data).remove_all()
            for storage in _storages(data):
                storage.remove_all(count)
        except (FileNotFoundError, NotFoundError):  # another process deletes it as well
            if attempt + 1 == _ATTEMPTS:
                raise
        else:
            return


def end_if_deleted(data: Storage) -> None:
    """Find out, after something was written, whether the store was deleted meanwhile.

    Raises:
        StoreNotFoundError: it was; nothing is left of what was written.
    """
    if is_deleted(data):
        # The deletion may have listed the folder before.
        purge(data)
        raise StoreNotFoundError(f"{data.root} is gone: the store was deleted")


class _Deleted:
    """Counts blobs, and reports them as progress."""

    def __init__(self, folder: OperationFolder) -> None:
        self._folder = folder
        self.blobs = 0
        self._reported = 0.0

    def count(self, paths: Sequence[str]) -> None:
        self.blobs += sum(path.startswith(f"{FOLDER}/") for path in paths)
        if time.monotonic() - self._reported > _REPORT_SECONDS:
            counts = ProgressCounts(read=self.blobs, committed=self.blobs)
            self._folder.report_progress(f"{_PART}-0", counts)
            self._reported = time.monotonic()


def _purge_all(data: Sequence[Storage], deleted: _Deleted) -> None:
    for each in data:
        purge(each, deleted.count)


def _storages(data: Storage) -> list[Storage]:
    return list(dict.fromkeys((data, data.for_delta())))
