"""The sorted listing of a local import, kept on disk: memory is flat for any number of files.

Runs of it are sorted in memory and written to one file, which is merged while it is read.
"""

import heapq
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from operator import itemgetter

import pyarrow as pa

from dicomferry.sources.source import Source
from dicomferry.transforms.list_sources import LISTING_FILES

_SCHEMA = pa.schema(
    [(name, pa.int64() if name == "size" else pa.string()) for name in Source._fields]
)
_RUN_FILES = 200_000
# The merge holds one batch of each run.
_BATCH_FILES = 500


class SortedListing:
    """Sources sorted by URI, so that the lowest URI of a UID wins.

    Attributes:
        total: number of sources.
    """

    def __init__(self, path: str, total: int, runs: list[range]) -> None:
        """Name an Arrow file of `total` sources, and the batches of each sorted run in it."""
        self.total = total
        self._path = path
        self._runs = runs

    def parts(self, size: int) -> Iterator[list[list[Source]]]:
        """Yield the sources in parts of `size`, each in lists of at most `LISTING_FILES`."""
        with pa.OSFile(self._path) as file, pa.ipc.open_file(file) as batches:
            merged = heapq.merge(*(_read(batches, run) for run in self._runs))
            while part := list(itertools.islice(merged, size)):
                yield list(_split(part, LISTING_FILES))


@contextmanager
def sort_listing(
    sources: Iterable[Source], found: Callable[[int], None]
) -> Iterator[SortedListing]:
    """Sort a listing in a folder for temporary files (TMPDIR), which is removed at the end.

    Args:
        sources: in any order.
        found: called now and then with the number of sources so far.

    Raises:
        OSError: the folder is full; and whatever listing the sources raises.
    """
    with tempfile.TemporaryDirectory(prefix="dicomferry-listing-") as folder:
        path = f"{folder}/runs.arrow"
        yield SortedListing(path, *_write_runs(path, iter(sources), found))


def _write_runs(
    path: str, sources: Iterator[Source], found: Callable[[int], None]
) -> tuple[int, list[range]]:
    """Write sorted runs; return the number of sources, and the batches of each run."""
    total = written = 0
    runs: list[range] = []
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, _SCHEMA, options=options) as sink:
        while True:
            run: list[Source] = []
            while len(run) < _RUN_FILES and (
                batch := list(itertools.islice(sources, LISTING_FILES))
            ):
                run += batch
                found(total + len(run))
            if not run:
                found(total)
                return total, runs
            total += len(run)
            run.sort(key=itemgetter(0))
            for batch in _split(run, _BATCH_FILES):
                sink.write_batch(_to_record_batch(batch))
            stop = written + -(-len(run) // _BATCH_FILES)
            runs.append(range(written, stop))
            written = stop


def _read(batches: pa.RecordBatchFileReader, run: range) -> Iterator[Source]:
    for number in run:
        columns = [column.to_pylist() for column in batches.get_batch(number).columns]
        yield from map(Source._make, zip(*columns, strict=True))


def _split(sources: list[Source], size: int) -> Iterator[list[Source]]:
    for start in range(0, len(sources), size):
        yield sources[start : start + size]


def _to_record_batch(sources: list[Source]) -> pa.RecordBatch:
    columns = [list(column) for column in zip(*sources, strict=True)]
    return pa.record_batch(
        [pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA
    )
