"""Maintenance of a store: count, vacuum, optimize."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import duckdb

from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.listing import list_operations
from dicomferry.operations.record import OperationRecord
from dicomferry.operations.unreadable import is_unreadable
from dicomferry.storage.base import Storage
from dicomferry.store.blobs import FOLDER, INCOMING
from dicomferry.store.compaction import sort_index
from dicomferry.store.dicom_store import DicomStore
from dicomferry.store.index import Index
from dicomferry.store.index_schema import Column

_VACUUM_AFTER = timedelta(days=7)


class BusyError(ValueError):
    """An operation of the store is running: blobs that it wrote have no rows yet."""


def metrics(store: DicomStore) -> dict[str, str]:
    """Return DicomStoreMetrics as proto JSON: counts, and bytes of metadata and of blobs."""
    connection = duckdb.connect()
    connection.register("instances", Index(store.data).dataset())
    row = connection.execute(
        f"SELECT count(DISTINCT {Column.STUDY_INSTANCE_UID}), "
        f"count(DISTINCT {Column.SERIES_INSTANCE_UID}), count(*), "
        f"coalesce(sum({Column.STRUCTURED_STORAGE_SIZE}), 0), "
        f"coalesce(sum({Column.BLOB_STORAGE_SIZE}), 0) FROM instances"
    ).fetchone()
    names = (
        "studyCount",
        "seriesCount",
        "instanceCount",
        "structuredStorageSizeBytes",
        "blobStorageSizeBytes",
    )
    return {"name": str(store.name), **dict(zip(names, map(str, row or ()), strict=True))}


def vacuum(
    root: Storage,
    store: DicomStore,
    *,
    dry_run: bool = False,
    reconcile: Callable[[OperationFolder, OperationRecord], OperationRecord] = lambda _, read: read,
) -> list[str]:
    """Delete blobs without a row that are older than 7 days; return their paths.

    The index is read after the listing, so that no blob is deleted whose row came between.

    Args:
        root: where stores live.
        store: which one.
        dry_run: delete nothing.
        reconcile: returns an operation's current state, for callers who know more than its record.

    Raises:
        BusyError: an operation of the store is running.
    """
    for folder, read in list_operations(root, store.name.parent):
        record = reconcile(folder, read)
        is_of_store = record.store == store.name or is_unreadable(record)
        if is_of_store and folder.is_running(record):
            raise BusyError(f"{folder.name} is running: vacuum when it has ended")
    old = datetime.now(UTC) - _VACUUM_AFTER
    candidates = {
        entry.path
        for prefix in (FOLDER, INCOMING)
        for entry in (store.data.list(prefix))
        if entry.modified < old
    }
    for batch in Index(store.data).dataset().to_batches(columns=[Column.BLOB_URI]):
        candidates.difference_update(batch.column(0).to_pylist())
    # Files that a killed process was writing are in no listing, and no row points at them.
    candidates |= {entry.path for entry in store.data.partial_files(FOLDER) if entry.modified < old}
    if not dry_run:
        store.data.delete(sorted(candidates))
    return sorted(candidates)


def optimize(store: DicomStore) -> tuple[int, int]:
    """Sort the index into few files.

    Returns:
        The number of files before, and after.
    """
    before = len(Index(store.data).files)
    sort_index(store.data)
    index = Index(store.data)
    index.vacuum()
    return before, len(index.files)
