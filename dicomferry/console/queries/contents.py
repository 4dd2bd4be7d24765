"""Which series a preview shows: memory grows with the number of series, not of instances."""

from collections.abc import Iterator
from typing import NamedTuple

import duckdb
import pyarrow as pa

from dicomferry.console.queries.series import Series, series_of
from dicomferry.storage.base import Storage
from dicomferry.store.index import Index
from dicomferry.store.instance_filter import InstanceFilter

_COLUMNS = [
    "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "Modality", "NumberOfFrames",
    "BlobStorageSize",
]  # fmt: skip
# The first series of each modality, then the second of each, and so on: all kinds are shown.
_CHOSEN = """
    WITH series AS (
      SELECT StudyInstanceUID AS study, SeriesInstanceUID AS uid,
        coalesce(min(Modality), '') AS modality, count(*) AS instances,
        sum(NumberOfFrames) AS frames, sum(BlobStorageSize) AS size
      FROM rows GROUP BY 1, 2),
    placed AS (
      SELECT *, row_number() OVER (PARTITION BY modality ORDER BY study, uid) AS place FROM series)
    SELECT study, uid, (SELECT count(*) FROM series), (SELECT sum(instances) FROM series),
      (SELECT sum(frames) FROM series), (SELECT sum(size) FROM series)
    FROM placed ORDER BY place, modality LIMIT ?"""


class Contents(NamedTuple):
    """Series to show, and what there is in all.

    Attributes:
        shown: some series, by modality, study and series UID.
        series: number of all.
        instances: number of all.
        frames: number of all; 1 of an instance without pixels.
        size: of all blobs, in bytes.
    """

    shown: list[Series]
    series: int = 0
    instances: int = 0
    frames: int = 0
    size: int = 0


def contents_of(data: Storage, paths: InstanceFilter | None, limit: int) -> Contents:
    """Count the series of a store, and choose some of every modality.

    Args:
        data: data folder of the store.
        paths: only series with instances below these paths, if given.
        limit: largest number of series to choose.
    """
    index = Index(data)
    schema = pa.schema([index.schema.field(name) for name in _COLUMNS])
    connection = duckdb.connect()
    connection.register(
        "rows", pa.RecordBatchReader.from_batches(schema, _rows(index, schema, paths))
    )
    found = connection.execute(_CHOSEN, [limit]).fetchall()
    if not found:
        return Contents([])
    chosen = {(study, uid) for study, uid, *_ in found}
    candidates = series_of(data, paths=paths, uids=sorted({uid for _, uid in chosen}))
    shown = [series for series in candidates if (series.study, series.uid) in chosen]
    return Contents(shown, *map(int, found[0][2:]))


def _rows(
    index: Index, schema: pa.Schema, paths: InstanceFilter | None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows that a filter leaves."""
    for batch in index.dataset().to_batches(columns=_COLUMNS):
        rows = pa.Table.from_batches([batch]).cast(schema)
        yield from (rows.filter(paths.mask(rows)) if paths else rows).to_batches()
