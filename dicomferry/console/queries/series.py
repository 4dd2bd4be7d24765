"""The series of a store, a page at a time: memory does not grow with their number."""

from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dicomferry.console.preview import Series, series_of
from dicomferry.storage.base import Storage
from dicomferry.store.index import Index

PAGE = 24
_BATCH_ROWS = 1 << 16


class SeriesPage(NamedTuple):
    """Some series with the study of each, and where the next page starts; '' at the end."""

    series: list[tuple[str, Series]]
    after: str


def page_of_series(data: Storage, after: str) -> SeriesPage:
    """Read a page in the order of study and series UID.

    Args:
        data: the store's.
        after: the last study and series of the page before, with '/' between; '' for the first.
    """
    keys = _next_keys(data, after, PAGE + 1)
    more = len(keys) > PAGE
    wanted = [key.partition("/")[::2] for key in keys[:PAGE]]
    by_uid = {series.uid: series for series in series_of(data, uids=[uid for _, uid in wanted])}
    # An index that is read twice may have lost a series in between.
    found = [(study, by_uid[uid]) for study, uid in wanted if uid in by_uid]
    return SeriesPage(found, keys[PAGE - 1] if more else "")


def _next_keys(data: Storage, after: str, limit: int) -> list[str]:
    """The first keys behind one, of all that there are."""
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
