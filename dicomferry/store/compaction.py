"""Compaction: sort the rows of an index into few files, so that a lookup reads little of it.

Each commit of an import appends a file whose rows are sorted by SOP Instance UID. Random UIDs are
spread over all files, so that a lookup has to read every one. Compaction merges the files, as a
log-structured merge tree does, into sorted runs: files, and row groups within them, whose ranges do
not overlap. Their bounds then show which few can have a UID. A run is merged again only when the
rows added since have grown to a quarter of it, so a row is rewritten a few times, however large the
store becomes.

Every merge is a commit of its own: it stays if the process is killed, imports continue meanwhile,
and snapshots of the last 7 days stay readable. Memory: some batches of at most `FAN_IN` runs, and
one row group.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from dicomferry.storage.base import Storage
from dicomferry.store.index import Index
from dicomferry.store.index_files import (
    IndexFile,
    WrittenFile,
    read_row_group,
    row_group_batches,
    row_groups,
)
from dicomferry.store.index_schema import Column
from dicomferry.store.index_writing import grouped, write_files
from dicomferry.store.purged_files import repeat_where_purged

_UID = Column.SOP_INSTANCE_UID
# Names of the files of a run: sorted-{run}-{number}.parquet.
SORTED = "sorted-"
FAN_IN = 16
# A run is merged once all smaller ones together have a quarter of its rows.
SIZE_RATIO = 4
# Rows that are sorted in memory at once.
_PIECE_ROWS = 50_000
# Rows and bytes that are read of a file at once.
_BATCH_ROWS = 1024
_BATCH_BYTES = 2 << 20


def sort_index(data: Storage) -> None:
    """Sort the files that the index has now; files appended meanwhile are for the next call.

    Where a deletion purges files meanwhile, it begins again: the merges that are committed stay.
    """
    index = Index(data)
    repeat_where_purged(index, lambda: _sort(data, index))


def _sort(data: Storage, index: Index) -> None:
    known, schema = set(index.files), index.schema
    for file in sorted(known):
        if not file.startswith(SORTED) and not _is_sorted(data, file):
            pieces = (
                rows.sort_by(_UID) for rows in grouped(_read(data, [file], schema), _PIECE_ROWS)
            )
            written = [write_files(data, iter([rows]), SORTED) for rows in pieces]
            _replace(data, known, [file], list(itertools.chain.from_iterable(written)))
    while chosen := pick_runs([file for file in Index(data).file_stats() if file.path in known]):
        runs = sorted(split_into_runs(chosen), key=_rows)[:FAN_IN]
        merged = merge([_read(data, [file.path for file in run], schema) for run in runs])
        old = [file.path for run in runs for file in run]
        _replace(data, known, old, write_files(data, merged, SORTED))


def rewrite(
    data: Storage,
    file: str,
    schema: pa.Schema,
    is_left_out: Callable[[pa.Table], pa.Array],
    start: str = "rest-",
) -> list[WrittenFile]:
    """Write the rows of a file anew without some of them, in the same run.

    Args:
        data: the data folder of a store.
        file: one of `Index.files`, or about to be.
        schema: of the index.
        is_left_out: returns which rows of a table are left out.
        start: of the names of the new files, unless they are of a sorted run.

    Returns:
        New files, not yet committed; none if no row is left.
    """
    rows = (table.filter(pc.invert(is_left_out(table))) for table in _read(data, [file], schema))
    run = _run_of(file)
    return write_files(data, rows, f"{SORTED}{run}-" if run else start)


def pick_runs(files: Sequence[IndexFile]) -> list[IndexFile]:
    """Select files to merge.

    Returns:
        Every file outside a sorted run, and each run with at most `SIZE_RATIO` times the rows
        selected before it.
    """
    by_run = defaultdict(list)
    for file in files:
        by_run[_run_of(file.path)].append(file)
    chosen = by_run.pop("", [])
    total = _rows(chosen)
    waiting: list[IndexFile] = []
    for run in sorted(by_run.values(), key=_rows):
        waiting += run
        if _rows(run) <= SIZE_RATIO * total:
            chosen += waiting
            waiting = []
        total += _rows(run)
    return chosen


def split_into_runs(files: Sequence[IndexFile]) -> list[list[IndexFile]]:
    """Split files into as few runs as possible: lists in which no ranges overlap, in order."""
    runs: list[list[IndexFile]] = []
    for file in sorted(files, key=lambda file: file.first):
        for run in runs:
            if run[-1].last < file.first:
                run.append(file)
                break
        else:
            runs.append([file])
    return runs


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


def _rows(files: Sequence[IndexFile]) -> int:
    return sum(file.rows for file in files)


def _run_of(path: str) -> str:
    return path.split("-")[1] if path.startswith(SORTED) else ""


def _replace(
    data: Storage, known: set[str], old: Sequence[str], written: Sequence[WrittenFile]
) -> None:
    """Commit new files, unless another process replaced one of the old files meanwhile.

    Raises:
        CommitConflictError: others kept committing first.
    """
    new = [file.path for file in written]
    known.update(new)
    Index(data).replace(old, new)


def _is_sorted(data: Storage, file: str) -> bool:
    """Whether a file is sorted, as a commit wrote it: other programs concatenate files."""
    last = ""
    for group in range(row_groups(data, file)):
        uids = read_row_group(data, file, group, [_UID]).column(0).combine_chunks()
        if uids[0].as_py() < last or pc.any(pc.less(uids[1:], uids[:-1])).as_py():
            return False
        last = uids[-1].as_py()
    return True


def _read(data: Storage, files: Sequence[str], schema: pa.Schema) -> Iterator[pa.Table]:
    for file in files:
        for group in range(row_groups(data, file)):
            yield from row_group_batches(data, file, group, schema, _BATCH_ROWS, _BATCH_BYTES)
