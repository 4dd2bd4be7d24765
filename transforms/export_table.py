"""Write the rows of a table into shards, ready for one load.

One pass: a row holds only the columns that it needs, so it does not wait for the schema of the
others; the load gets the union of the schemas.
"""

import dataclasses
import functools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.outcomes import OutcomeCounts, ProgressCounts
from dicomferry.storage.base import Storage
from dicomferry.store.index_files import read_row_group
from dicomferry.store.index_schema import UID_COLUMNS
from dicomferry.store.instance_filter import StoredFilter
from dicomferry.tables.schema import Field, Schema
from dicomferry.transforms.progress import ProgressReporter
from dicomferry.transforms.read_index import split_files
from dicomferry.transforms.worker_pool import shared_pool
from dicomferry.transforms.write_rows import (
    RowGroupSelection,
    SkippedRow,
    TableTarget,
    WrittenRows,
    combine,
    write_parts,
    writer_for,
)

# Our own pool keeps one machine busy with a single share; a distributed runner needs many.
_REMOTE_SHARES = 1000
# Each has a shard that is not full, see `BigQueryTable.shard_bytes`: after many small imports a
# shard holds many row groups.
_MAX_PARTS = 4000
# A row group takes a second; only a hung process takes this long.
_ROW_GROUP_SECONDS = 900.0

_RowGroup = tuple[str, int]
"""A file of the index, and the number of a row group in it."""


@dataclasses.dataclass
class ExportTable(beam.PTransform):
    """Turn Parquet files of a pinned index version into one `WrittenRows`.

    No blob is opened. At least once; its file and row group name a shard, so a retry replaces its
    own shards. Memory: some hundred rows per worker process.

    Counters, in namespace "table": rows, bytes, failed.
    """

    data: Storage
    folder: OperationFolder
    target: TableTarget
    workers: int
    progress: ProgressReporter
    paths: StoredFilter | None = None

    def expand(self, files: beam.PCollection[str]) -> beam.PCollection[WrittenRows]:
        """Split files into row groups, write shards of each share, and sum them up.

        Args:
            files: of the index, as `Index.files` names them.

        Returns:
            One element: the shards of the whole table.
        """
        shares = 1 if self.workers else _REMOTE_SHARES
        return (
            files
            | "SplitFiles" >> beam.FlatMap(split_files, self.data)
            | "AssignShares" >> beam.Map(_assign, shares)
            # Also redistributes: one file fans out to many row groups.
            | "GroupByShare" >> beam.GroupByKey()
            | "WriteShards" >> beam.ParDo(_WriteFn(self, _MAX_PARTS // shares))
            | "Combine" >> beam.CombineGlobally(combine)
            | "Record" >> beam.Map(_record, self.folder, self.target)
        )


class _WriteFn(beam.DoFn):
    def __init__(self, options: ExportTable, parts: int) -> None:
        self._data = options.data
        self._folder = options.folder
        self._target = options.target
        self._workers = options.workers
        self._progress = options.progress
        self._paths = options.paths
        self._parts = parts
        self._rows = Metrics.counter("table", "rows")
        self._bytes = Metrics.counter("table", "bytes")
        self._failed = Metrics.counter("table", "failed")

    def process(self, share: tuple[int, Iterable[_RowGroup]]) -> Iterator[WrittenRows]:
        parts = divide(sorted(share[1]), self._parts, self._selected)
        results = write_in_pool(parts, self._workers, self._data, self._folder, self._target)
        for written in results:
            self._rows.inc(written.rows)
            self._bytes.inc(written.size)
            self._failed.inc(written.failed)
            done = written.rows + written.failed
            self._progress.add(ProgressCounts(done, written.failed, written.size))
            yield written

    def _selected(self, row_group: _RowGroup) -> RowGroupSelection | None:
        """Return the rows that the filter selects; None if it selects none."""
        if self._paths is None:
            return RowGroupSelection(*row_group)
        mask = self._paths.load().mask(read_row_group(self._data, *row_group, UID_COLUMNS))
        return RowGroupSelection(*row_group, mask) if mask.true_count else None


def divide(
    row_groups: Sequence[_RowGroup],
    parts: int,
    select: Callable[[_RowGroup], RowGroupSelection | None],
) -> Iterator[list[RowGroupSelection]]:
    """Divide the selected rows of row groups into parts, without empty ones.

    Args:
        row_groups: what to divide.
        parts: at most this many.
        select: returns the rows of a row group to keep; None for none of them.
    """
    size = -(-len(row_groups) // parts)
    for start in range(0, len(row_groups), size or 1):
        selected = map(select, row_groups[start : start + size])
        if part := [selection for selection in selected if selection is not None]:
            yield part


def write_in_pool(
    parts: Iterable[Sequence[RowGroupSelection]],
    workers: int,
    data: Storage,
    folder: OperationFolder,
    target: TableTarget,
) -> Iterator[WrittenRows]:
    """Write the rows of each part into shards of its own, on `workers` processes.

    Yields:
        The shards of each part.
    """
    write = functools.partial(write_parts, data=data, folder=folder, target=target)
    chunks = ([part] for part in parts)
    for [written] in shared_pool(workers).map(write, chunks, _on_worker_lost, _timeout_for):
        yield written


def _assign(row_group: _RowGroup, shares: int) -> tuple[int, _RowGroup]:
    file, number = row_group
    return zlib.crc32(f"{file} {number}".encode()) % shares, row_group


def _timeout_for(part: Sequence[RowGroupSelection]) -> float:
    return _ROW_GROUP_SECONDS * len(part)


def _on_worker_lost(part: Sequence[RowGroupSelection]) -> WrittenRows:
    # Rows are made by Python alone: unlike a codec, no file makes them end their process.
    raise RuntimeError("a worker process died while it wrote rows")


def _record(written: WrittenRows, folder: OperationFolder, target: TableTarget) -> WrittenRows:
    # A table without rows has the columns of SchemaJSON too.
    written = written._replace(schema=written.schema or writer_for(target).schema)
    # The rows count as failed until they are loaded, and remain so if the load fails.
    failed = written.rows + written.failed
    folder.write_counts("table", OutcomeCounts(failed=failed, warnings=written.warnings))
    folder.storage.write("table.json", json.dumps(written._asdict()).encode())
    return written


def read_written(folder: OperationFolder) -> WrittenRows:
    """Return the shards that the pipeline recorded, for the load."""
    record = json.loads(folder.storage.read("table.json"))
    return WrittenRows(
        **{
            **record,
            "shards": tuple(record["shards"]),
            "schema": _to_schema(record["schema"]),
            "skipped": tuple(SkippedRow(*row) for row in record["skipped"]),
        }
    )


def is_loaded(folder: OperationFolder) -> bool:
    """Return whether a load of rows was recorded; a load without rows can be repeated."""
    return folder.part_counts("table").exported > 0


def record_loaded(written: WrittenRows, folder: OperationFolder) -> None:
    """Record that the load has put the rows into the table: count them as exported."""
    counts = OutcomeCounts(exported=written.rows, failed=written.failed, warnings=written.warnings)
    folder.write_counts("table", counts)


def _to_schema(fields: list[list[Any]]) -> Schema:
    return tuple(Field(name, type_, mode, _to_schema(below)) for name, type_, mode, below in fields)
