"""Delete instances of a store: their rows, their blobs, and the memory of their sources.

Rows go in one commit that raises the cut-off of the index (`vacuum` says what that is): an import
whose commit comes later renews its blobs, or finds that they are gone. So all blobs below the paths
can be deleted at once, also those that no row pointed at. Whoever breaks off and runs it again
finds the blobs that are left, since their paths are made of the UIDs.

What imports kept of their reading goes as a whole: the new cut-off makes it worthless.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, islice
from typing import NamedTuple

import pyarrow as pa

from dicomferry.storage.base import Storage
from dicomferry.storage.retries import repeat_until_committed
from dicomferry.store import kept_reads
from dicomferry.store.blobs import FOLDER
from dicomferry.store.commit_conflicts import CommitConflictError
from dicomferry.store.forgotten_sources import forget_sources
from dicomferry.store.index import Index
from dicomferry.store.index_files import index_folder, read_row_group, replaced_files, row_groups
from dicomferry.store.index_schema import UID_COLUMNS, Column
from dicomferry.store.index_writing import IMPORTED
from dicomferry.store.instance_filter import InstanceFilter
from dicomferry.store.purged_files import repeat_where_purged
from dicomferry.store.rewriting import rewrite

# Times of files may be cut to the second.
_CEILING_SECONDS = 1.0
_UID = Column.SOP_INSTANCE_UID
_COLUMNS = [*UID_COLUMNS, Column.SOURCE_URI, Column.BLOB_STORAGE_SIZE]
_BATCH = 1000
# A blob is written in less.
_WRITING_SECONDS = 3600.0


def erase_rows(data: Storage, instances: InstanceFilter) -> tuple[pa.Table, float]:
    """Commit a version of the index without the rows of some instances.

    Args:
        data: the data folder of the store.
        instances: which ones.

    Returns:
        Three UIDs, SourceUri and BlobStorageSize of the rows, and the cut-off until which their
        blobs may be deleted.

    Raises:
        LookupError: the store was deleted meanwhile.
    """
    rewritten: dict[str, tuple[list[str], pa.Table]] = {}
    index = Index(data)
    tried: _Attempt | None = None

    def commit() -> _Attempt:
        nonlocal tried
        index.refresh()
        if tried and tried.is_committed(data, index):
            return tried
        # What is rewritten stays so, however often another commit is faster.
        for file in set(index.files) - set(rewritten):
            erased = _rows(data, file, instances)
            kept = rewrite(data, file, index.schema, instances.mask) if len(erased) else []
            rewritten[file] = [each.path for each in kept], erased
        changed = [file for file in index.files if len(rewritten[file][1])]
        erased = pa.concat_tables([_NONE, *(rewritten[file][1] for file in changed)])
        forget_sources(data, erased[Column.SOURCE_URI].to_pylist())
        cutoff = data.own_clock().timestamp() + _CEILING_SECONDS
        new = list(chain.from_iterable(rewritten[file][0] for file in changed))
        tried = _Attempt(index.version, changed, new, erased, cutoff)
        index.replace(changed, new, cutoff)
        return tried

    done = repeat_until_committed(
        lambda: repeat_where_purged(index, commit), CommitConflictError, lambda: index.version
    )
    return done.erased, done.cutoff


class _Attempt(NamedTuple):
    """An attempt to commit: in place of changed files new ones, which lack the rows erased."""

    version: int
    changed: list[str]
    new: list[str]
    erased: pa.Table
    cutoff: float

    def is_committed(self, data: Storage, index: Index) -> bool:
        """Whether it was committed, and its answer was lost."""
        if not self.changed or index.version == self.version or (index.cutoff or 0) < self.cutoff:
            return False
        # It had this version, or none: no commit goes on after another one.
        return replaced_files(data, self.version + 1) == (set(self.changed), set(self.new))


def erase_blobs(data: Storage, instances: InstanceFilter, cutoff: float) -> Iterator[str]:
    """Delete the blobs below the paths of a filter; yield "{study}/{series}/{instance}" of each.

    Args:
        data: the data folder of the store.
        instances: which ones; no row of them was left.
        cutoff: of the commit that took the rows out.
    """
    for path in sorted(instances.studies | instances.series | instances.instances):
        folder = f"{FOLDER}/{path}"
        paths = chain((entry.path for entry in data.list(folder)), _abandoned(data, folder, cutoff))
        while some := list(islice(paths, _BATCH)):
            for deleted in data.delete_older(some, cutoff):
                yield "/".join(deleted.split("/")[1:4])


def erase_kept_reads(data: Storage, cutoff: float) -> None:
    """Delete what imports kept of their reading; the cut-off that makes it worthless is committed.

    Args:
        data: the data folder of the store.
        cutoff: of the commit that took the rows out.
    """
    kept_reads.erase_all_kept(data)
    data.delete_older(list(_abandoned(data, kept_reads.FOLDER, cutoff)), cutoff)


def erase_broken_writes(
    data: Storage, instances: InstanceFilter, is_running: Callable[[str], bool]
) -> None:
    """Delete files of rows of some instances that are in no version, and come into none.

    Those of killed imports, and those that compaction and erasure made of files which this deletion
    replaced: their commits are refused. Those that were not complete go whatever is in them, if
    they were written on this host.

    Args:
        data: the data folder of the store.
        instances: which ones.
        is_running: whether an operation, by its id, may still commit what it wrote.

    Raises:
        LookupError: the store was deleted meanwhile.
    """
    index_folder(data).remove_partial("")
    found: dict[str, set[str]] = {}
    for file in Index(data).uncommitted():
        with suppress(FileNotFoundError):  # another deletion was faster
            uids = set(_rows(data, file, instances)[_UID].to_pylist())
            is_import = file.startswith(IMPORTED)
            if uids and not (is_import and is_running(_writer_of(data, file))):
                found[file] = set() if is_import else uids
    # Their writers may have committed them since they were listed. Imports have ended by now, and
    # commit nothing more. Others commit in place of files that have the same rows: where a version
    # of later has none of these, the files are replaced. Both are so for good.
    index = Index(data)
    merged = sorted(set(chain.from_iterable(found.values())))
    stored = repeat_where_purged(index, lambda: index.lookup(merged))[_UID].to_pylist()
    broken = {file for file, rows in found.items() if rows.isdisjoint(stored)}
    index_folder(data).delete(sorted(broken & set(index.uncommitted())))


def _writer_of(data: Storage, file: str) -> str:
    """Return the id of the import that wrote a file."""
    return str(read_row_group(data, file, 0, [Column.OPERATION])[0][0].as_py())


def _abandoned(data: Storage, folder: str, cutoff: float) -> Iterator[str]:
    """Yield files that writers left when they were killed, unless they may be writing them still.

    Those of writers that have ended on this host are removed.
    """
    for entry in data.partial_files(folder):
        data.remove_partial(os.path.dirname(entry.path))
        if entry.modified.timestamp() < cutoff - _WRITING_SECONDS:
            yield entry.path


def _rows(data: Storage, file: str, instances: InstanceFilter) -> pa.Table:
    """Return the rows of a file that match."""
    found = [_NONE]
    for group in range(row_groups(data, file)):
        uids = read_row_group(data, file, group, UID_COLUMNS)
        mask = instances.mask(uids)
        if mask.true_count:
            rows = read_row_group(data, file, group, _COLUMNS)
            found.append(rows.filter(mask).select(_COLUMNS).cast(_NONE.schema))
    return pa.concat_tables(found)


_NONE = pa.schema(
    [
        *((name, pa.string()) for name in [*UID_COLUMNS, Column.SOURCE_URI]),
        (Column.BLOB_STORAGE_SIZE, pa.int64()),
    ]
).empty_table()
