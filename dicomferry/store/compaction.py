"""Compaction: sort the rows of an index into few files, so that a lookup reads little of it.

Each commit of an import appends files whose rows are sorted by SOP Instance UID. Random UIDs of
many imports are spread over all files, so that a lookup has to read every one. Compaction merges
the files, as a log-structured merge tree does, into sorted runs: files, and row groups within them,
whose ranges do not overlap. Their bounds then show which few can have a UID. A run is merged again
only when the rows added since have grown to a quarter of it, so a row is rewritten a few times,
however large the store becomes.

Every merge is a commit of its own: it stays if the process is killed, imports continue meanwhile,
and snapshots of the last 7 days stay readable. Its ranges can be written by any number of workers
(`dicomferry.transforms.sort_index`). Memory: some batches of at most `FAN_IN` runs, and one row
group.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from dicomferry.storage.base import Storage
from dicomferry.store.index import Index
from dicomferry.store.index_files import (
    WrittenFile,
    group_bounds,
    index_folder,
    read_row_group,
    row_group_batches,
    row_groups,
)
from dicomferry.store.index_schema import Column
from dicomferry.store.index_writing import IMPORTED, grouped
from dicomferry.store.purged_files import repeat_where_purged
from dicomferry.store.rewriting import (
    BATCH_BYTES,
    BATCH_ROWS,
    discard_files,
    read_rows,
    replace_files,
    write_anew,
)
from dicomferry.store.sorted_runs import SORTED, Merge, plan_merges, run_of

_UID = Column.SOP_INSTANCE_UID
# Rows that are sorted in memory at once.
_PIECE_ROWS = 50_000
# Rows of a range of a merge that a worker writes: those of a file, with Metadata of 2 KB.
_RANGE_ROWS = 100_000


def sort_index(data: Storage, carry_out: Callable[[list[Merge]], None] | None = None) -> None:
    """Sort the files that the index has now; files appended meanwhile are for the next call.

    Where a deletion purges files meanwhile, it begins again: the merges that are committed stay.

    Args:
        data: the data folder of a store.
        carry_out: writes and commits merges, no two of which have a file in common; default: here,
            one after another.

    Raises:
        LookupError: the store was deleted meanwhile; nothing is left of what was written.
    """
    index = Index(data)

    def merge_here(merges: list[Merge]) -> None:
        for each in merges:
            commit_merge(data, each, write_range(data, each, index.schema))

    def sort() -> None:
        for merges in _passes(data, index):
            (carry_out or merge_here)(merges)

    repeat_where_purged(index, sort)


def _passes(data: Storage, index: Index) -> Iterator[list[Merge]]:
    """Yield merges until the files that an index has are sorted; each list is done before another.

    No two merges of a list have a file in common.
    """
    known = set(index.files)
    for file in sorted(known):
        if not file.startswith((SORTED, IMPORTED)) and not _is_sorted(data, file):
            known.update(_sort_file(data, file, index.schema))
    ours: set[str] = set()
    while merges := plan_merges(
        [
            file
            for file in Index(data).file_stats()
            if file.path in known or run_of(file.path) in ours
        ]
    ):
        yield merges
        ours.update(each.run for each in merges)


def ranges_of(data: Storage, whole: Merge) -> Iterator[Merge]:
    """Divide a merge into ranges, each with about as many rows as a file of an index."""
    firsts = sorted(
        (bounds[0], bounds[2]) for file in whole.files for bounds in group_bounds(data, file.path)
    )
    bounds: list[str] = []
    rows = 0
    for first, count in firsts:
        if rows >= _RANGE_ROWS and first not in bounds[-1:]:
            bounds.append(first)
            rows = 0
        rows += count
    yield from whole.divided(bounds)


def write_range(data: Storage, part: Merge, schema: pa.Schema) -> list[WrittenFile]:
    """Write the rows of a range of some runs, sorted, into files that are not yet committed.

    Raises:
        FileNotFoundError: a file was deleted; where the merge `is_void`, a deletion purged it.
        LookupError: the store was deleted meanwhile; nothing is left of what was written.
    """
    runs = [_read_range(data, [file.path for file in run], schema, part) for run in part.runs]
    return write_anew(data, merge(runs), f"{SORTED}{part.run}-")


def is_void(data: Storage, part: Merge) -> bool:
    """Whether another process replaced a file of a merge: it can no longer be committed, ever.

    Raises:
        LookupError: the store was deleted meanwhile.
    """
    return not {file.path for file in part.files} <= set(Index(data).files)


def commit_merge(data: Storage, whole: Merge, written: Sequence[WrittenFile]) -> bool:
    """Commit the files of all ranges in place of those that were merged.

    Returns:
        False if another process replaced one of these meanwhile: then nothing is left of what was
        written. It may have taken out rows, which these files still have.

    Raises:
        RuntimeError: the rows are not as many.
        CommitConflictError: others kept committing first.
        LookupError: the store was deleted meanwhile; nothing is left of what was written.
    """
    old = sum(file.rows for file in whole.files)
    new = sum(file.bounds().rows for file in written)
    paths = [file.path for file in written]
    if old == new:
        return replace_files(data, [file.path for file in whole.files], paths)
    if not is_void(data, whole):
        raise RuntimeError(f"a merge of {old} rows has {new}: nothing was committed")
    discard_files(data, paths)
    return False


def merge(runs: Sequence[Iterator[pa.Table]], key: str = _UID) -> Iterator[pa.Table]:
    """Merge the rows of runs sorted by a column; yield them in order, a slice at a time."""
    heads = [(head, run) for run in runs if (head := next(run, None)) is not None]
    while heads:
        # All remaining rows until this one are in the heads.
        last = min(head[key][-1].as_py() for head, _ in heads)
        ready = []
        left = []
        for head, run in heads:
            count = pc.sum(pc.less_equal(head[key], last)).as_py()
            ready.append(head.slice(0, count))
            rest = head.slice(count) if count < len(head) else next(run, None)
            if rest is not None:
                left.append((rest, run))
        yield pa.concat_tables(ready).sort_by(key)
        heads = left


def _sort_file(data: Storage, file: str, schema: pa.Schema) -> list[str]:
    """Replace a file by some that are sorted, each by itself; return their paths."""
    new: list[str] = []
    try:
        for rows in grouped(read_rows(data, file, schema), itertools.repeat(_PIECE_ROWS)):
            new += [each.path for each in write_anew(data, iter([rows.sort_by(_UID)]), SORTED)]
    except FileNotFoundError:  # as `write_files`
        index_folder(data).delete(new)
        raise
    replace_files(data, [file], new)
    return new


def _is_sorted(data: Storage, file: str) -> bool:
    """Whether a file is sorted, as a commit wrote it: other programs concatenate files."""
    last = ""
    for group in range(row_groups(data, file)):
        uids = read_row_group(data, file, group, [_UID]).column(0).combine_chunks()
        if uids[0].as_py() < last or pc.any(pc.less(uids[1:], uids[:-1])).as_py():
            return False
        last = uids[-1].as_py()
    return True


def _read_range(
    data: Storage, files: Sequence[str], schema: pa.Schema, part: Merge
) -> Iterator[pa.Table]:
    """Yield the rows of files of a run that are in a range."""
    for file in files:
        for group, (first, last, _) in enumerate(group_bounds(data, file)):
            if last < part.low or (part.high is not None and first >= part.high):
                continue
            for rows in row_group_batches(data, file, group, schema, BATCH_ROWS, BATCH_BYTES):
                some = _within(rows, part)
                if len(some):
                    yield some


def _within(rows: pa.Table, part: Merge) -> pa.Table:
    uids = rows[_UID]
    if uids[0].as_py() < part.low:
        rows = rows.filter(pc.greater_equal(uids, part.low))
    if part.high is not None and uids[-1].as_py() >= part.high:
        rows = rows.filter(pc.less(rows[_UID], part.high))
    return rows
