"""Parquet files of a Delta table, before a commit makes them part of it.

duckdb writes them, rather than deltalake, which brings 8,192 rows together in memory: of the JSON
schema these can be many gigabytes. Row groups are bounded by their bytes here.
"""

import contextlib
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Collection, Mapping
from types import TracebackType

import duckdb
import obstore
import pyarrow.parquet as pq
from deltalake.transaction import AddAction
from obstore.store import GCSStore

from dicomferry.tables.duckdb_types import MemoryBudget, apply_memory_budget, rows_sql
from dicomferry.tables.schema import Schema
from dicomferry.tables.shards import Shards

_FORMAT = (
    "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 16384, ROW_GROUP_SIZE_BYTES '32MB',"
    " FILE_SIZE_BYTES '256MB'"
)


class ParquetFiles:
    """Files in a folder of their own below a table; gone afterwards unless they are kept.

    Attributes:
        added: what a commit says of them.
    """

    def __init__(self, location: str, storage_options: Mapping[str, str] | None) -> None:
        """Name the table, a local folder or gs://bucket/prefix."""
        self.added: list[AddAction] = []
        self._location = location
        self._bucket = _bucket(location, storage_options or {}) if "://" in location else None
        # At random: two processes may run the same load at the same time.
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
        """Say that a commit has taken them, or may have; with `taken`, if they are among these."""
        paths = {action.path for action in self.added}
        self._kept = taken is None or not paths.isdisjoint(taken)

    def write(
        self, shards: Shards, schema: Schema, types: Mapping[str, str], effort: MemoryBudget
    ) -> None:
        """Write the rows of all shards, in place of what was written before.

        Raises:
            duckdb.Error: a row does not fit, or the effort was not enough.
        """
        self._remove()
        connection = parser()
        apply_memory_budget(connection, effort)
        rows = rows_sql(schema, types, effort.max_row_bytes)
        for turn, globs in enumerate(shards.local_globs()):
            with tempfile.TemporaryDirectory(prefix="dicomferry-") as scratch:
                folder = f"{self._folder}/{turn}"
                local = scratch if self._bucket else os.path.join(self._location, folder)
                os.makedirs(local, exist_ok=True)
                target = local.replace("'", "''")
                connection.execute(f"COPY ({rows}) TO '{target}' ({_FORMAT})", [globs])
                for name in sorted(os.listdir(local)):
                    self._add(os.path.join(local, name), f"{folder}/{name}")

    def _add(self, local: str, path: str) -> None:
        rows = pq.read_metadata(local).num_rows
        if not rows:
            return
        if self._bucket:
            with open(local, "rb") as file:
                obstore.put(self._bucket, path, file)
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
        if self._bucket:
            for action in self.added:
                # It is gone, if the answer to a first try was lost.
                with contextlib.suppress(FileNotFoundError):
                    obstore.delete(self._bucket, action.path)
        else:
            shutil.rmtree(os.path.join(self._location, self._folder), ignore_errors=True)
        self.added = []


def _bucket(location: str, storage_options: Mapping[str, str]) -> GCSStore:
    """Return a prefix of a bucket, reached as deltalake is told to."""
    bucket, _, prefix = location.removeprefix("gs://").partition("/")
    key = storage_options.get("google_service_account_key")
    return GCSStore(
        bucket,
        prefix=prefix,
        config={"service_account_key": key} if key else {},
        client_options={"allow_http": storage_options.get("allow_http") == "true"},
    )


def parser() -> duckdb.DuckDBPyConnection:
    """Return a database that parses rows."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")  # else a timestamp bears the machine's zone
    connection.execute("SET enable_progress_bar = false")  # else it is printed among our lines
    return connection
