"""Files of an index in place of others, which have the same rows or more.

Compaction and erasure write them, beside each other and beside a deletion of the store.
"""

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from dicomferry.storage.base import Storage
from dicomferry.store.deletion import end_if_deleted
from dicomferry.store.index import Index
from dicomferry.store.index_files import WrittenFile, index_folder, row_group_batches, row_groups
from dicomferry.store.index_writing import write_files
from dicomferry.store.sorted_runs import SORTED, run_of

# Rows and bytes that are read of a file at once.
BATCH_ROWS = 1024
BATCH_BYTES = 2 << 20


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

    Raises:
        LookupError: the store was deleted meanwhile; nothing is left of what was written.
    """
    rows = (table.filter(pc.invert(is_left_out(table))) for table in read_rows(data, file, schema))
    run = run_of(file)
    return write_anew(data, rows, f"{SORTED}{run}-" if run else start)


def write_anew(data: Storage, rows: Iterator[pa.Table], start: str) -> list[WrittenFile]:
    """Write rows of an index as files, not yet committed; see `write_files`.

    Raises:
        FileNotFoundError: a file that the rows are read from was deleted meanwhile; nothing is left
            of what was written.
        LookupError: the store was deleted meanwhile; nothing is left of what was written.
    """
    # Compaction is no operation: a deletion of the store does not wait for it.
    try:
        return write_files(data, rows, start)
    finally:
        end_if_deleted(data)


def replace_files(data: Storage, old: Sequence[str], new: Sequence[str]) -> bool:
    """Commit files in place of those whose rows they have.

    Returns:
        False if another process replaced one of the old ones: nothing is left of the new ones.

    Raises:
        CommitConflictError: others kept committing first.
        LookupError: the store was deleted meanwhile; nothing is left of what was written.
    """
    index = Index(data)
    try:
        is_committed = index.replace(old, new)
    except FileNotFoundError:  # a deletion has purged a new file, whose rows it took out before
        index.refresh()
        if set(old) <= set(index.files):
            raise
        is_committed = False
    if not is_committed:
        discard_files(data, new)
    end_if_deleted(data)
    return is_committed


def discard_files(data: Storage, new: Sequence[str]) -> None:
    """Delete files whose commit is refused: they can have rows that a deletion took out."""
    # An earlier version can have them, if another attempt committed them: it stays readable.
    index_folder(data).delete(sorted(set(new) & set(Index(data).uncommitted())))


def read_rows(data: Storage, file: str, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows of a file of an index, some at a time."""
    for group in range(row_groups(data, file)):
        yield from row_group_batches(data, file, group, schema, BATCH_ROWS, BATCH_BYTES)
