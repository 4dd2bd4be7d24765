"""Lists of operations: all of a dataset, the newest first, and those to delete for their age."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from dicomferry.operations.folder import (
    NotOwnedError,
    OperationFolder,
    OperationNotFoundError,
    operations_folder,
)
from dicomferry.operations.record import OperationRecord
from dicomferry.resource_names import DatasetName
from dicomferry.storage.base import Storage

# Records of a bucket that are read at once.
_THREADS = 32


class Listed(NamedTuple):
    """An operation and its record."""

    folder: OperationFolder
    record: OperationRecord


def operation_ids(root: Storage, parent: DatasetName, before: str = "") -> list[str]:
    """Return the ids of a dataset's operations, the newest first.

    Args:
        root: where stores are.
        parent: the dataset.
        before: only older ones than this id; '' for all.
    """
    ids = sorted(root.folders(operations_folder(parent)), reverse=True)
    return [each for each in ids if not before or each < before]


def read_operations(
    root: Storage, parent: DatasetName, ids: Sequence[str]
) -> Iterator[Listed | None]:
    """Yield the operations of some ids, in their order.

    Yields:
        None for a folder without a record: its process was killed at its very start.
    """

    def read(operation_id: str) -> Listed | None:
        folder = OperationFolder(root, parent, operation_id)
        with suppress(OperationNotFoundError):
            return Listed(folder, folder.read())
        return None

    if not root.capabilities.is_networked:
        yield from map(read, ids)
        return
    with ThreadPoolExecutor(_THREADS) as threads:
        for start in range(0, len(ids), _THREADS):
            yield from threads.map(read, ids[start : start + _THREADS])


def list_operations(root: Storage, parent: DatasetName) -> Iterator[Listed]:
    """Yield every operation of a dataset, the newest first."""
    found = read_operations(root, parent, operation_ids(root, parent))
    return (listed for listed in found if listed)


def delete_operation(folder: OperationFolder, record: OperationRecord) -> None:
    """Delete the record of an operation, as it is now, with its lists of outcomes.

    Raises:
        NotOwnedError: its job is running, or may be.
    """
    if folder.is_running(record):
        raise NotOwnedError(f"{folder.name} is running: cancel it, or wait until it has ended")
    folder.delete()


def prune(
    root: Storage, parent: DatasetName, before: datetime, *, dry_run: bool = False
) -> Iterator[Listed]:
    """Delete the operations of a dataset that ended before a time, the newest first; yield them.

    Folders without a record, which a process left that was killed at its very start, go as well.
    """
    # No id of an operation that ended before is later.
    ids = operation_ids(root, parent, f"{before:%Y%m%d%H%M%S}~")
    for operation_id, listed in zip(ids, read_operations(root, parent, ids), strict=True):
        if listed is None:
            if not dry_run:
                OperationFolder(root, parent, operation_id).delete()
        elif _ended_before(listed, before):
            if not dry_run:
                listed.folder.delete()
            yield listed


def _ended_before(listed: Listed, time: datetime) -> bool:
    folder, record = listed
    ended = record.metadata.end_time or record.heartbeat
    return ended < time and not folder.is_running(record)
