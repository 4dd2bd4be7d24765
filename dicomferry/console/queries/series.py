"""Series of a store, a page at a time; memory does not grow with their number."""

from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dicomferry.console.preview import Series, series_of
from dicomferry.storage.base import Storage
from dicomferry.store.index import Index

PAGE = 24
_BATCH_ROWS = 1 << 16


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
