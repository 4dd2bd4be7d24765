"""Maintenance of a store: count, optimize."""

from collections.abc import Callable, Collection

import duckdb

from dicomferry.storage.base import Storage
from dicomferry.store.compaction import sort_index
from dicomferry.store.dicom_store import DicomStore
from dicomferry.store.formats import check_format
from dicomferry.store.index import Index
from dicomferry.store.index_schema import Column
from dicomferry.store.sources_compaction import sort_sources
from dicomferry.store.stream_log import StreamLog, stream_logs


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


def optimize(
    store: DicomStore,
    followers: Collection[str] | None = None,
    sort: Callable[[Storage], None] = sort_index,
) -> tuple[int, int]:
    """Sort the index and the known sources into few files, and delete old ones no longer needed.

    Args:
        store: which one.
        followers: names of the logs of its streams and topics: what these have not passed stays;
            default: all that there are, also of former ones.
        sort: sorts the index of a data folder.

    Returns:
        The number of files of the index before, and after.
    """
    before = len(Index(store.data).files)
    sort(store.data)
    sort_sources(store.data)
    names = stream_logs(store.data) if followers is None else followers
    index = Index(store.data)
    passed = (StreamLog(store.data, name).passed() for name in names)
    index.vacuum(min((version for version in passed if version is not None), default=None))
    return before, len(index.files)
