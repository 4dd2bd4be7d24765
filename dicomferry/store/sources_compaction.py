"""Compaction of the table of known sources, as that of the index: few files, sorted by URI.

A job adds files that do not overlap, so that a listing reads little of the table; many jobs add
many files, in which the same sources can be. Memory: some batches of 16 runs, and one new file.
"""

import uuid
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from dicomferry.storage.base import Storage
from dicomferry.store.compaction import merge
from dicomferry.store.deletion import end_if_deleted
from dicomferry.store.delta_tables import open_table
from dicomferry.store.index_files import IndexFile
from dicomferry.store.sorted_runs import FAN_IN, SORTED, pick_runs, split_into_runs
from dicomferry.store.sources_table import (
    ERRORS,
    SCHEMA,
    SourcesFile,
    commit_sources,
    report,
    sources_folder,
    write_file,
)

_URI = "SourceUri"
_BATCH_ROWS = 10_000
_FILE_ROWS = 1_000_000
_RETENTION_HOURS = 7 * 24
# Behind every URI.
_LAST = "\U0010ffff"


def sort_sources(data: Storage) -> None:
    """Merge the files of the table, and delete those that none of the last 7 days' versions has.

    Raises:
        StoreNotFoundError: the store was deleted meanwhile; nothing is left of what was written.
    """
    try:
        while chosen := pick_runs(_files(data)):
            if len(chosen) == 1:
                break  # it is for the next call
            runs = sorted(split_into_runs(chosen), key=lambda run: sum(f.rows for f in run))
            tables = [_read(data, [file.path for file in run]) for run in runs[:FAN_IN]]
            written = _write(data, map(_distinct, merge(tables, _URI)))
            commit_sources(data, written, {file.path for run in runs[:FAN_IN] for file in run})
            if not {file.path for file in written} <= {file.path for file in _files(data)}:
                break  # other jobs kept committing first
        folder = sources_folder(data)
        table = open_table(folder)
        folder.delete(table.vacuum(retention_hours=_RETENTION_HOURS, dry_run=True, full=True))
    except ERRORS as error:
        report(data, "sorted", error)
    finally:
        end_if_deleted(data)


def _files(data: Storage) -> list[IndexFile]:
    log = pa.table(open_table(sources_folder(data)).get_add_actions(flatten=True))
    if not len(log):
        return []
    names = ("path", "num_records", f"min.{_URI}", f"max.{_URI}")
    rows = zip(*(log[name].to_pylist() for name in names), strict=True)
    return [IndexFile(path, count, a or "", z or _LAST) for path, count, a, z in sorted(rows)]


def _read(data: Storage, files: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the rows of files of a run; earlier versions wrote each of them sorted as well."""
    for file in files:
        with sources_folder(data).open_seekable(file) as source:
            for batch in pq.ParquetFile(source).iter_batches(_BATCH_ROWS, columns=SCHEMA.names):
                yield pa.Table.from_batches([batch]).cast(SCHEMA)


def _distinct(rows: pa.Table) -> pa.Table:
    """Return sorted rows once each: what is read again is remembered again."""
    return rows.group_by(SCHEMA.names).aggregate([]).select(SCHEMA.names).sort_by(_URI)


def _write(data: Storage, rows: Iterator[pa.Table]) -> list[SourcesFile]:
    start = f"{SORTED}{uuid.uuid4().hex}-"
    written = []
    while piece := list(_take(rows, _FILE_ROWS)):
        written.append(write_file(data, pa.concat_tables(piece), start))
    return written


def _take(rows: Iterator[pa.Table], count: int) -> Iterator[pa.Table]:
    taken = 0
    for table in rows:
        yield table
        taken += len(table)
        if taken >= count:
            return
