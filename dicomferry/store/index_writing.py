"""The one way in which Parquet files of an index are written: by imports, compaction and erasure.

Rows are sorted by SOP Instance UID, and row groups are small, so that a lookup reads little of a
run for a UID; it reads the footer of a file, too, which grows with their number.
"""

import itertools
import uuid
from collections.abc import Iterator
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dicomferry.storage.base import Storage
from dicomferry.store.index_files import WrittenFile, index_folder, statistics_of
from dicomferry.store.index_schema import STATISTICS, Column

# Names of the files that imports write of new rows.
IMPORTED = "import-"
_FILE_BYTES = 256 << 20
# The first row groups are smaller: workers share those of a small store.
_GROUP_ROWS = 1024
_FIRST_GROUPS = 8
_LATER_GROUPS = 2  # times as large
_GROUP_BYTES = 64 << 20  # of Metadata
_DICTIONARY_COLUMNS = [
    Column.STUDY_INSTANCE_UID,
    Column.SERIES_INSTANCE_UID,
    Column.SOP_CLASS_UID,
    Column.TRANSFER_SYNTAX_UID,
    Column.MODALITY,
    Column.NUMBER_OF_FRAMES,
    Column.OPERATION,
    Column.LAST_UPDATED,
]


def write_files(data: Storage, rows: Iterator[pa.Table], start: str) -> list[WrittenFile]:
    """Write rows as files of an index; return them, not yet committed.

    Args:
        data: the data folder of a store.
        rows: sorted by SOP Instance UID, a slice at a time.
        start: of the names of the files, before what distinguishes them.

    Raises:
        FileNotFoundError: a file that the rows are read from was deleted meanwhile: as they may be
            deleted for good, nothing is left of what was written.
    """
    name = uuid.uuid4().hex
    first = itertools.repeat(_GROUP_ROWS, _FIRST_GROUPS)
    later = itertools.repeat(_GROUP_ROWS * _LATER_GROUPS)
    folder, groups = index_folder(data), grouped(rows, itertools.chain(first, later))
    written: list[WrittenFile] = []
    try:
        for group in groups:
            path = f"{start}{name}-{len(written):05d}.parquet"
            with folder.writing() as (file, keep):
                statistics = _write_file(file, itertools.chain([group], groups), group.schema)
                size = file.tell()
                keep(path)
            written.append(WrittenFile(path, size, statistics))
    except FileNotFoundError:
        folder.delete([each.path for each in written])
        raise
    return written


def grouped(rows: Iterator[pa.Table], counts: Iterator[int]) -> Iterator[pa.Table]:
    """Yield the same rows in tables of some counts, or less where their Metadata is large."""
    waiting: list[pa.Table] = []
    count, size = next(counts), 0
    for table in rows:
        left = table
        while len(left):
            part = left.slice(0, count - sum(map(len, waiting)))
            left = left.slice(len(part))
            waiting.append(part)
            size += pc.sum(part[Column.STRUCTURED_STORAGE_SIZE]).as_py() or 0
            if sum(map(len, waiting)) == count or size >= _GROUP_BYTES:
                yield pa.concat_tables(waiting)
                waiting, count, size = [], next(counts), 0
    if waiting:
        yield pa.concat_tables(waiting)


def _write_file(file: IO[bytes], groups: Iterator[pa.Table], schema: pa.Schema) -> str:
    """Write row groups until the file is large enough; return its statistics for the log."""
    footers: list[pq.FileMetaData] = []
    with pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        use_dictionary=_DICTIONARY_COLUMNS,
        write_statistics=STATISTICS,
        column_encoding={Column.SOP_INSTANCE_UID: "DELTA_BYTE_ARRAY"},  # read in half the time
        metadata_collector=footers,
    ) as writer:
        for group in groups:
            writer.write_table(group, row_group_size=len(group))
            if file.tell() >= _FILE_BYTES:
                break
    [footer] = footers
    return statistics_of(footer)
