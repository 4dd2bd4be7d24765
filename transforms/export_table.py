"""Write the rows of a table into shards, ready for one load.

One pass: a row holds only the columns that it needs, so it does not wait for the schema
of the others; the schemas are combined for the load.
"""

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics

from stores.index import read_row_group
from stores.operations import OperationFolder
from stores.resource_paths import ResourcePaths
from stores.storage import Storage
from tables.columns import order_of
from tables.rows import WARNINGS
from tables.schema import Field, Schema, merge
from transforms.progress import Progress
from transforms.read_index import split_files
from transforms.worker_pool import shared_pool
from transforms.write_rows import COLUMNS, Lines, TableTarget, write_rows

_SLICE_ROWS = 256
# A slice takes milliseconds; only a hung process takes this long.
_SLICE_SECONDS = 600.0


class WrittenRows(NamedTuple):
    """Shards of a table.

    Attributes:
        shards: their paths below the operation's folder.
        schema: the columns of all of them.
        rows: how many.
        warnings: how many values did not fit their columns; each is in warnings-*.jsonl.
    """

    shards: tuple[str, ...]
    schema: Schema
    rows: int
    warnings: int


@dataclasses.dataclass
class ExportTable(beam.PTransform):
    """Turn Parquet files of a pinned index version into one `WrittenRows`.

    No blob is opened. At least once; a shard is named by its file and row group, and a
    retry replaces its own. Memory: one row group and its rows.

    Counters, in namespace "table": rows, bytes.
    """

    data: Storage
    folder: OperationFolder
    target: TableTarget
    workers: int
    progress: Progress
    paths: ResourcePaths | None = None

    def expand(self, files: beam.PCollection[str]) -> beam.PCollection[WrittenRows]:
        """Wire it."""
        return (
            files
            | "SplitFiles" >> beam.FlatMap(split_files, self.data)
            | "SpreadRowGroups" >> beam.Reshuffle()  # one file fans out to many row groups
            | "WriteShards" >> beam.ParDo(_WriteFn(self))
            | "Combine" >> beam.CombineGlobally(combine)
            | "Record" >> beam.Map(_record, self.folder)
        )


def combine(parts: Iterable[WrittenRows]) -> WrittenRows:
    """Sum up shards; associative and commutative, the schema in tag order."""
    total = WrittenRows((), (), 0, 0)
    for part in parts:
        total = WrittenRows(
            tuple(sorted((*total.shards, *part.shards))),
            # A JSON schema is the same everywhere, so only flattened ones are ever ordered.
            merge((total.schema, part.schema), order_of),
            total.rows + part.rows,
            total.warnings + part.warnings,
        )
    return total


class _WriteFn(beam.DoFn):
    def __init__(self, options: ExportTable) -> None:
        self._data = options.data
        self._folder = options.folder
        self._target = options.target
        self._workers = options.workers
        self._progress = options.progress
        self._paths = options.paths
        self._rows = Metrics.counter("table", "rows")
        self._bytes = Metrics.counter("table", "bytes")

    def process(self, unit: tuple[str, int]) -> Iterator[WrittenRows]:
        rows = read_row_group(self._data, *unit, COLUMNS)
        if self._paths:
            rows = rows.filter(self._paths.mask(rows))
        if not rows.num_rows:
            return
        slices = (
            [rows.slice(start, _SLICE_ROWS)] for start in range(0, rows.num_rows, _SLICE_ROWS)
        )
        write = functools.partial(write_rows, target=self._target)
        written = [
            lines
            for results in shared_pool(self._workers).map(
                write, slices, _lost, lambda _: _SLICE_SECONDS
            )
            for lines in results
        ]
        name = f"{unit[0].rpartition('/')[2].removesuffix('.parquet')}-{unit[1]:05d}"
        content = b"".join(lines.lines for lines in written)
        self._folder.storage.write(f"rows/{name}.ndjson", content)
        warnings = [warning for lines in written for warning in lines.warnings]
        if warnings:
            text = "".join(f"{_to_line(uid, *warning)}\n" for uid, warning in warnings)
            self._folder.storage.write(f"warnings-{name}.jsonl", text.encode())
        self._rows.inc(rows.num_rows)
        self._bytes.inc(len(content))
        self._progress.add(Counter(read=rows.num_rows, bytes=len(content)))
        schema = merge((lines.schema for lines in written), order_of)
        yield WrittenRows((f"rows/{name}.ndjson",), schema, rows.num_rows, len(warnings))


def _to_line(uid: str, tag: str, code: str) -> str:
    return json.dumps({"sopInstanceUid": uid, "tag": tag, "code": code, "reason": WARNINGS[code]})


def _lost(rows: pa.Table) -> Lines:
    # Unlike a codec on a bad file, nothing here may fail for one instance alone.
    raise RuntimeError("a worker process died while it wrote rows")


def _record(written: WrittenRows, folder: OperationFolder) -> WrittenRows:
    folder.write_counts("table", Counter(exported=written.rows, warnings=written.warnings))
    folder.storage.write("table.json", json.dumps(written._asdict()).encode())
    return written


def read_written(folder: OperationFolder) -> WrittenRows:
    """Read back what the pipeline recorded, for the load."""
    record = json.loads(folder.storage.read("table.json"))
    return WrittenRows(
        tuple(record["shards"]), _to_schema(record["schema"]), record["rows"], record["warnings"]
    )


def _to_schema(fields: list[list[Any]]) -> Schema:
    return tuple(Field(name, type_, mode, _to_schema(below)) for name, type_, mode, below in fields)
