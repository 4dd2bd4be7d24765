"""Write the rows of a table into shards, ready for one load.

One pass: a row holds only the columns that it needs, so it does not wait for the schema
of the others; the schemas are combined for the load.
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
from dicomferry.store.instance_filter import InstanceFilter
from dicomferry.tables.schema import Field, Schema
from dicomferry.transforms.progress import ProgressReporter
from dicomferry.transforms.read_index import split_files
from dicomferry.transforms.worker_pool import shared_pool
from dicomferry.transforms.write_rows import (
    RowGroupSelection,
    TableTarget,
    WrittenRows,
    combine,
    write_parts,
    writer_for,
)

_UIDS = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
# A pool of its own keeps a machine busy with one share; a distributed runner needs many.
_REMOTE_SHARES = 1000
# One load job takes 10,000 files; of many small imports a shard holds many row groups.
_MAX_PARTS = 8000
# A row group takes a second; only a hung process takes this long.
_UNIT_SECONDS = 900.0


@dataclasses.dataclass
class ExportTable(beam.PTransform):
    """Turn Parquet files of a pinned index version into one `WrittenRows`.

    No blob is opened. At least once; a shard is named by its file and row group, and a
    retry replaces its own. Memory: some hundred rows a worker process.

    Counters, in namespace "table": rows, bytes.
    """

    data: Storage
    folder: OperationFolder
    target: TableTarget
    workers: int
    progress: ProgressReporter
    paths: InstanceFilter | None = None

    def expand(self, files: beam.PCollection[str]) -> beam.PCollection[WrittenRows]:
        """Wire it."""
        shares = 1 if self.workers else _REMOTE_SHARES
        return (
            files
            | "SplitFiles" >> beam.FlatMap(split_files, self.data)
            | "AssignShares" >> beam.Map(_assign, shares)
            # Also spreads: one file fans out to many row groups.
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

    def process(self, share: tuple[int, Iterable[tuple[str, int]]]) -> Iterator[WrittenRows]:
        parts = divide(sorted(share[1]), self._parts, self._selected)
        results = write_in_pool(parts, self._workers, self._data, self._folder, self._target)
        for written in results:
            self._rows.inc(written.rows)
            self._bytes.inc(written.size)
            self._progress.add(ProgressCounts(read=written.rows, bytes=written.size))
            yield written

    def _selected(self, unit: tuple[str, int]) -> RowGroupSelection | None:
        """A row group with the mask of its rows; None if there is nothing to write of it."""
        if self._paths is None:
            return RowGroupSelection(*unit)
        mask = self._paths.mask(read_row_group(self._data, *unit, _UIDS))
        return RowGroupSelection(*unit, mask) if mask.true_count else None


def divide(
    row_groups: Sequence[tuple[str, int]],
    parts: int,
    select: Callable[[tuple[str, int]], RowGroupSelection | None],
) -> Iterator[list[RowGroupSelection]]:
    """Cut row groups, the selected rows of them, into at most so many parts, none empty."""
    size = -(-len(row_groups) // parts)
    for start in range(0, len(row_groups), size or 1):
        selected = map(select, row_groups[start : start + size])
        if units := [unit for unit in selected if unit is not None]:
            yield units


def write_in_pool(
    parts: Iterable[Sequence[RowGroupSelection]],
    workers: int,
    data: Storage,
    folder: OperationFolder,
    target: TableTarget,
) -> Iterator[WrittenRows]:
    """Write the rows of each part into shards of its own, on as many processes."""
    write = functools.partial(write_parts, data=data, folder=folder, target=target)
    chunks = ([part] for part in parts)
    for [written] in shared_pool(workers).map(write, chunks, _on_worker_lost, _timeout_for):
        yield written


def _assign(unit: tuple[str, int], shares: int) -> tuple[int, tuple[str, int]]:
    return zlib.crc32(f"{unit[0]} {unit[1]}".encode()) % shares, unit


def _timeout_for(units: Sequence[RowGroupSelection]) -> float:
    return _UNIT_SECONDS * len(units)


def _on_worker_lost(units: Sequence[RowGroupSelection]) -> WrittenRows:
    # Unlike a codec on a bad file, nothing here may fail for one instance alone.
    raise RuntimeError("a worker process died while it wrote rows")


def _record(written: WrittenRows, folder: OperationFolder, target: TableTarget) -> WrittenRows:
    # The columns of SchemaJSON are there without rows too.
    written = written._replace(schema=written.schema or writer_for(target).schema)
    # Nothing is exported before the load: until then, and if it fails, this is the truth.
    folder.write_counts("table", OutcomeCounts(failed=written.rows, warnings=written.warnings))
    folder.storage.write("table.json", json.dumps(written._asdict()).encode())
    return written


def read_written(folder: OperationFolder) -> WrittenRows:
    """Read back what the pipeline recorded, for the load."""
    record = json.loads(folder.storage.read("table.json"))
    return WrittenRows(
        **{
            **record,
            "shards": tuple(record["shards"]),
            "schema": _to_schema(record["schema"]),
            "skipped": tuple(record["skipped"]),
        }
    )


def is_loaded(folder: OperationFolder) -> bool:
    """Whether a load of rows was recorded; one of none may be made again."""
    return folder.part_counts("table").exported > 0


def record_loaded(written: WrittenRows, folder: OperationFolder) -> None:
    """Count the rows as exported: the load has put them into the table."""
    folder.write_counts("table", OutcomeCounts(exported=written.rows, warnings=written.warnings))


def _to_schema(fields: list[list[Any]]) -> Schema:
    return tuple(Field(name, type_, mode, _to_schema(below)) for name, type_, mode, below in fields)
