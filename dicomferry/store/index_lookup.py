"""Lookup of SOP Instance UIDs in an index: of its files only what can have them is read.

Of each file that is its footer, and the UIDs of the row groups whose bounds include one that is
looked for; the other columns only where it is there.
"""

import bisect
import functools
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem

from dicomferry.store.index_files import IndexFile, column_number
from dicomferry.store.index_schema import LOOKUP_COLUMNS, Column, fit, schema_of
from dicomferry.store.index_writing import IMPORTED
from dicomferry.store.sorted_runs import SORTED

# A footer mostly has 0.75 bytes for each row: of one that has more, the rest is read after it.
_FOOTER_BYTES = 8 << 10
_FOOTER_BYTES_A_ROW = 0.75
_TAIL = 8  # of a Parquet file: the length of its footer, and the magic number
_BATCH_ROWS = 1 << 16
# For each request at once that keeps a core busy: a lookup waits for more than these.
_FILES_AT_ONCE = 4


def find_rows(
    files: Sequence[IndexFile], filesystem: FileSystem, uids: list[str], concurrency: int
) -> pa.Table:
    """Return the rows of sorted SOP Instance UIDs, by one semi-join.

    Args:
        files: to look into, with their bytes.
        filesystem: that has them.
        uids: to look for, sorted.
        concurrency: requests at once that keep a core busy; see `Capabilities`.

    Returns:
        `LOOKUP_COLUMNS`, in no order.
    """
    candidates = [file for file in files if _is_between(uids, file.first, file.last)]

    def find(file: IndexFile) -> list[pa.Table]:
        return list(_find_in(file, filesystem, uids, waits=concurrency > 1))

    found = [schema_of(LOOKUP_COLUMNS).empty_table()]
    if len(candidates) == 1:  # of a bucket, mostly
        found += find(candidates[0])
    elif candidates:
        with ThreadPoolExecutor(min(_FILES_AT_ONCE * concurrency, len(candidates))) as pool:
            found += itertools.chain.from_iterable(pool.map(find, candidates))
    return pa.concat_tables(found)


def _find_in(
    file: IndexFile, filesystem: FileSystem, uids: list[str], *, waits: bool
) -> Iterator[pa.Table]:
    """Yield the rows of sorted UIDs that a file has; where requests wait, many are made at once."""
    start, end = bisect.bisect_left(uids, file.first), bisect.bisect_right(uids, file.last)
    with filesystem.open_input_file(file.path) as source:
        metadata = _read_footer(source, file)
        parquet = pq.ParquetFile(source, metadata=metadata, pre_buffer=waits)
        rows_of = functools.partial(
            _rows_of, parquet, is_sorted=file.path.startswith((IMPORTED, SORTED))
        )
        # Most UIDs are new: their column alone tells, at half the cost of all columns.
        known: list[str] = []
        for rows in rows_of(uids[start:end], [Column.SOP_INSTANCE_UID]):
            known += rows.column(0).to_pylist()
        yield from rows_of(sorted(known), LOOKUP_COLUMNS)


def _read_footer(source: pa.NativeFile, file: IndexFile) -> pq.FileMetaData:
    """Return what the footer of a file says, from its last bytes.

    Arrow itself reads 64 KB too much of a large footer, and holds it as long as the file is used.
    """
    length = min(file.size, _FOOTER_BYTES + int(file.rows * _FOOTER_BYTES_A_ROW))
    end = source.read_at(length, file.size - length)
    footer = int.from_bytes(end[-_TAIL : -_TAIL // 2], "little") + _TAIL
    if footer > length:
        end = source.read_at(footer - length, file.size - footer) + end
    return pq.read_metadata(pa.BufferReader(end))


def _rows_of(
    parquet: pq.ParquetFile, uids: list[str], columns: list[str], *, is_sorted: bool
) -> Iterator[pa.Table]:
    """Yield the rows of sorted UIDs, from the row groups whose bounds include one of them."""
    groups = _groups_with(parquet.metadata, uids, is_sorted=is_sorted) if uids else []
    among = pa.array(uids, pa.string())
    if not groups:
        return
    # Files are read at the same time: threads for columns would cost more than they save.
    for batch in parquet.iter_batches(_BATCH_ROWS, groups, columns, use_threads=False):
        rows = fit(pa.Table.from_batches([batch]), schema_of(columns))
        yield rows.filter(pc.is_in(rows[Column.SOP_INSTANCE_UID], among))


def _groups_with(metadata: pq.FileMetaData, uids: list[str], *, is_sorted: bool) -> list[int]:
    """Return the numbers of the row groups that can have one of the sorted UIDs."""
    column = column_number(metadata, Column.SOP_INSTANCE_UID)

    def bounds(number: int) -> tuple[str, str]:
        found = metadata.row_group(number).column(column).statistics
        is_bounded = found is not None and found.has_min_max
        return (found.min, found.max) if is_bounded else ("", "~")

    numbers = range(metadata.num_row_groups)
    if is_sorted:  # a few looks tell where the UIDs are: most files of a large index have one
        numbers = numbers[bisect.bisect_left(numbers, uids[0], key=lambda each: bounds(each)[1]) :]
        numbers = numbers[: bisect.bisect_right(numbers, uids[-1], key=lambda n: bounds(n)[0])]
    return [number for number in numbers if _is_between(uids, *bounds(number))]


def _is_between(uids: list[str], first: str, last: str) -> bool:
    position = bisect.bisect_left(uids, first)
    return position < len(uids) and uids[position] <= last
