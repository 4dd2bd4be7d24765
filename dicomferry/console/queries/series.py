"""Series of a store, a page at a time; memory does not grow with their number."""

from collections.abc import Sequence
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from dicomferry.storage.base import Storage
from dicomferry.store.index import Index
from dicomferry.store.instance_filter import InstanceFilter

PAGE = 24
_BATCH_ROWS = 1 << 16


class Series(NamedTuple):
    """One series of a study and the instance that is shown for it.

    A Series Instance UID in two studies is a series of each: see docs/odd-files.md.

    Attributes:
        study: (0020,000D) Study Instance UID.
        uid: (0020,000E) Series Instance UID.
        modality: (0008,0060).
        instances: number of them.
        frames: of all instances.
        size: bytes of all blobs.
        transfer_syntax: of the instance shown.
        blob: of the instance shown.
        blob_size: bytes.
    """

    study: str
    uid: str
    modality: str
    instances: int
    frames: int
    size: int
    transfer_syntax: str
    blob: str
    blob_size: int


class SeriesPage(NamedTuple):
    """Some series, and the key where the next page starts; '' at the end."""

    series: list[Series]
    after: str


def page_of_series(data: Storage, after: str) -> SeriesPage:
    """Read a page in the order of study and series UID.

    Args:
        data: data folder of the store.
        after: key of the previous page's last series, STUDY/SERIES; '' for the first page.
    """
    keys = _next_keys(data, after, PAGE + 1)
    has_more = len(keys) > PAGE
    pairs = [tuple(key.split("/")) for key in keys[:PAGE]]
    found = series_of(data, uids=[uid for _, uid in pairs])
    by_key = {(series.study, series.uid): series for series in found}
    # The index is read twice, and can lose a series in between.
    page = [by_key[pair] for pair in pairs if pair in by_key]
    return SeriesPage(page, keys[PAGE - 1] if has_more else "")


def series_of(
    data: Storage, *, paths: InstanceFilter | None = None, uids: Sequence[str] | None = None
) -> list[Series]:
    """Return the series of a store by modality, each with its middle instance.

    Args:
        data: the store's.
        paths: only series with instances below these paths, if given.
        uids: only these series, if given.
    """
    index = Index(data).dataset()
    columns = [
        "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "TransferSyntaxUID",
        "Modality", "NumberOfFrames", "BlobUri", "BlobStorageSize",
    ]  # fmt: skip
    row_filter = None
    if uids is not None:
        values, field = pa.array(uids, pa.string()), pc.field("SeriesInstanceUID")
        # The bounds let whole files be skipped by their statistics.
        row_filter = (field >= pc.min(values)) & (field <= pc.max(values)) & field.isin(values)
    rows = index.to_table(columns=columns, filter=row_filter)
    if paths:
        rows = rows.filter(paths.mask(rows))
    query = """
        SELECT StudyInstanceUID, SeriesInstanceUID,
          any_value(Modality), count(*), sum(NumberOfFrames),
          sum(BlobStorageSize), middle.TransferSyntaxUID, middle.BlobUri, middle.BlobStorageSize
        FROM (SELECT *, nth_value(rows, cast(ceil(n / 2.0) AS BIGINT)) OVER (
                PARTITION BY StudyInstanceUID, SeriesInstanceUID ORDER BY SOPInstanceUID
                ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS middle
              FROM (SELECT *, rows, count(*) OVER (
                      PARTITION BY StudyInstanceUID, SeriesInstanceUID) AS n FROM rows))
        GROUP BY StudyInstanceUID, SeriesInstanceUID, middle ORDER BY 3, 2, 1"""
    connection = duckdb.connect()
    connection.register("rows", rows)
    return [Series(*row) for row in connection.execute(query).fetchall()]


def _next_keys(data: Storage, after: str, limit: int) -> list[str]:
    """Return the first keys after a given one."""
    best = pa.array([], pa.string())
    batches = (
        Index(data)
        .dataset()
        .to_batches(
            columns=["StudyInstanceUID", "SeriesInstanceUID"],
            batch_size=_BATCH_ROWS,
            batch_readahead=2,
            fragment_readahead=1,
        )
    )
    for batch in batches:
        keys = pc.unique(pc.binary_join_element_wise(batch.column(0), batch.column(1), "/"))
        keys = keys.filter(pc.greater(keys, after))
        if len(keys):
            best = pc.unique(pa.concat_arrays([best, keys.cast(pa.string())]))
            best = best.take(pc.array_sort_indices(best)[:limit])
    return [str(key) for key in best.to_pylist()]
