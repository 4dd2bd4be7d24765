"""Maintenance of a store: count, optimize."""

import duckdb

from dicomferry.store.compaction import sort_index
from dicomferry.store.dicom_store import DicomStore
from dicomferry.store.formats import check_format
from dicomferry.store.index import Index
from dicomferry.store.index_schema import Column


def metrics(store: DicomStore) -> dict[str, str]:
    """Return DicomStoreMetrics as proto JSON: counts, and bytes of metadata and of blobs.

    Raises:
        StoreFormatError: a later version of the software made the store.
    """
    check_format(store.format, store.name)
    connection = duckdb.connect()
    connection.register("instances", Index(store.data).dataset())
    row = connection.execute(
        f"SELECT count(DISTINCT {Column.STUDY_INSTANCE_UID}), "
        # Of a series UID in two studies each study has a series.
        f"count(DISTINCT ({Column.STUDY_INSTANCE_UID}, {Column.SERIES_INSTANCE_UID})), count(*), "
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
