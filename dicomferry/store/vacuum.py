"""Vacuum: delete blobs that no row points at, beside running imports.

Before it deletes, vacuum commits a cut-off to the index, at which each append that began before
fails. It deletes only blobs that were last written before the cut-off, that no row of that version
points at, and that are still so when they are deleted. An import commits a row only for a blob
that was written after the cut-off of the version that it commits to, or renews it first
(`index_commit`): so a row is either there when vacuum looks, or its blob is not deleted.
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice

import duckdb
import pyarrow as pa

from dicomferry.storage.base import Storage
from dicomferry.storage.clock import StorageClock
from dicomferry.storage.retries import repeat_until_committed
from dicomferry.store import kept_reads
from dicomferry.store.blobs import FOLDER, INCOMING
from dicomferry.store.commit_conflicts import CommitConflictError
from dicomferry.store.dicom_store import DicomStore
from dicomferry.store.index import Index
from dicomferry.store.index_schema import Column

_KEEP_SECONDS = 7 * 24 * 3600
# Blobs that are compared with the index at once.
_BATCH = 100_000
_MEMORY = "256MB"


def vacuum(store: DicomStore, *, dry_run: bool = False) -> Iterator[str]:
    """Delete blobs without a row that were last written 7 days ago or earlier; yield their paths.

    So it does with what imports kept of their reading, which points at such blobs.

    Args:
        store: which one; jobs may run on it.
        dry_run: delete nothing.

    Raises:
        LookupError: the store was deleted meanwhile.
    """
    data = store.data
    cutoff = StorageClock(data).now() - _KEEP_SECONDS
    index = Index(data) if dry_run else raise_cutoff(data, cutoff)
    with _rows_of(index) as without_row:
        for paths in _batches(_older(data, cutoff)):
            found = without_row(paths)
            yield from found if dry_run else data.delete_older(found, cutoff)


def raise_cutoff(data: Storage, cutoff: float) -> Index:
    """Commit a cut-off; return a version of the index that has it.

    Raises:
        LookupError: the store was deleted meanwhile.
    """
    index = Index(data)

    def commit() -> Index:
        index.refresh()
        index.raise_cutoff(cutoff)
        return Index(data)

    return repeat_until_committed(commit, CommitConflictError, lambda: index.version)


def _older(data: Storage, cutoff: float) -> Iterator[str]:
    for folder in (FOLDER, INCOMING, kept_reads.FOLDER):
        # Files that a killed process was writing are in no listing.
        for entry in chain(data.list(folder), data.partial_files(folder)):
            if entry.modified.timestamp() <= cutoff:
                yield entry.path


def _batches(paths: Iterable[str]) -> Iterator[list[str]]:
    paths = iter(paths)
    while batch := list(islice(paths, _BATCH)):
        yield batch


class _Rows:
    """The blobs of all rows of an index, as hashes on disk: memory does not grow with them.

    A blob whose hash is that of another one's, of which there is none in 10^11, stays.
    """

    def __init__(self, index: Index, folder: str) -> None:
        self._connection = duckdb.connect(f"{folder}/rows")
        self._connection.execute(f"SET memory_limit = '{_MEMORY}'")
        self._connection.register("instances", index.dataset())
        self._connection.execute(
            f"CREATE TABLE rows AS SELECT hash({Column.BLOB_URI}) AS blob FROM instances"
        )

    def close(self) -> None:
        self._connection.close()

    def __call__(self, paths: list[str]) -> list[str]:
        """Return those of some paths that no row points at."""
        self._connection.register("listed", pa.table({"path": pa.array(paths, pa.string())}))
        found = self._connection.execute(
            "SELECT path FROM listed ANTI JOIN rows ON hash(path) = blob ORDER BY path"
        )
        return [path for (path,) in found.fetchall()]


@contextmanager
def _rows_of(index: Index) -> Iterator[_Rows]:
    with tempfile.TemporaryDirectory(prefix="dicomferry-vacuum-") as folder:
        rows = _Rows(index, folder)
        try:
            yield rows
        finally:
            rows.close()
