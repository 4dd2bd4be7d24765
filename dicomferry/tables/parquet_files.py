"""Parquet files of a Delta table, before a commit makes them part of it.

duckdb writes them rather than deltalake, which holds 8,192 rows in memory: of the JSON schema
these can be many gigabytes. Row groups are bounded by their bytes here.
"""

import json
import os
import secrets
import shutil
import tempfile
import time
import uuid
from collections.abc import Collection, Mapping
from types import TracebackType

import duckdb
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from dicomferry.storage.base import CHUNK_BYTES, Storage
from dicomferry.tables.duckdb_types import MemoryBudget, apply_memory_budget, rows_sql
from dicomferry.tables.schema import Schema
from dicomferry.tables.shards import Shards

_FORMAT = (
    "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 16384, ROW_GROUP_SIZE_BYTES '32MB',"
    " FILE_SIZE_BYTES '256MB'"
)


class ParquetFiles:
    """Files in a folder of their own below a table; deleted at the end unless they are kept.

    Attributes:
        added: the actions that a commit adds them with.
    """

    def __init__(self, table: Storage) -> None:
        """Start with no files.

        Args:
            table: whose root is the table's folder.
        """
        self.added: list[AddAction] = []
        self._table = table
        # Random: two processes may run the same load at the same time.
        self._folder = uuid.uuid4().hex
        self._kept = False

    def __enter__(self) -> "ParquetFiles":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._kept:
            self._remove()

    def keep(self, taken: Collection[str] | None = None) -> None:
        """Keep the files, because a commit has added them, or may have.

        Args:
            taken: paths of the table's files: then keep ours if they are among these only.
        """
        paths = {action.path for action in self.added}
        self._kept = taken is None or not paths.isdisjoint(taken)

    def write(
        self, shards: Shards, schema: Schema, types: Mapping[str, str], budget: MemoryBudget
    ) -> None:
        """Write the rows of all shards; replaces the files of an earlier call.

        Raises:
            duckdb.Error: a row does not fit, or the budget was not enough.
        """
        self._remove()
        connection = parser()
        apply_memory_budget(connection, budget)
        rows = rows_sql(schema, types, budget.max_row_bytes)
        for turn, globs in enumerate(shards.local_globs()):
            with tempfile.TemporaryDirectory(prefix="dicomferry-") as scratch:
                folder = f"{self._folder}/{turn}"
                local = self._table.local_path(folder) or scratch
                os.makedirs(local, exist_ok=True)
                target = local.replace("'", "''")
                connection.execute(f"COPY ({rows}) TO '{target}' ({_FORMAT})", [globs])
                for name in sorted(os.listdir(local)):
                    self._add(os.path.join(local, name), f"{folder}/{name}")
        self._table.sync([action.path for action in self.added])

    def _add(self, local: str, path: str) -> None:
        rows = pq.read_metadata(local).num_rows
        if not rows:
            return
        if self._table.local_path() is None:
            with open(local, "rb") as file:
                self._table.write(path, iter(lambda: file.read(CHUNK_BYTES), b""))
        self.added.append(
            AddAction(
                path=path,
                size=os.path.getsize(local),
                partition_values={},
                modification_time=int(time.time() * 1000),
                data_change=True,
                stats=json.dumps({"numRecords": rows}),
            )
        )

    def _remove(self) -> None:
        if folder := self._table.local_path(self._folder):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            self._table.delete(action.path for action in self.added)
        self.added = []


def parser() -> duckdb.DuckDBPyConnection:
    """Return a database that parses rows."""
    # What does not fit into memory: by default in the working folder, for all processes there.
    spill = os.path.join(tempfile.gettempdir(), f"dicomferry-{secrets.token_hex(8)}.duckdb")
    connection = duckdb.connect(config={"temp_directory": spill})
    connection.execute("SET TimeZone = 'UTC'")  # a timestamp would have the machine's zone
    connection.execute("SET enable_progress_bar = false")  # it would be printed among our lines
    return connection
