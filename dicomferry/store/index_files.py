"""The Parquet files of an index, and what its log says of them."""

import functools
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from dicomferry.resource_names import INDEX_FOLDER
from dicomferry.storage.base import Storage
from dicomferry.store.delta_tables import table_folder
from dicomferry.store.index_schema import STATISTICS, Column, fit, schema_of

# Name of the transactions of imports in the log.
APP_ID = "import"
_LAST_CHECKPOINT = "_delta_log/_last_checkpoint"
# Log entries of a bucket come in tens of milliseconds.
_READ_THREADS = 16


class WrittenFile(NamedTuple):
    """One Parquet file that is written and synced, and in no version yet.

    Attributes:
        path: below the index folder.
        size: in bytes.
        statistics: JSON, as the log has it.
    """

    path: str
    size: int
    statistics: str

    def add_action(self, now: int, *, is_new: bool) -> AddAction:
        """Return the action that adds the file to the log.

        Args:
            now: milliseconds since the epoch.
            is_new: whether its rows are in no other file.
        """
        return AddAction(self.path, self.size, {}, now, is_new, self.statistics)

    def bounds(self) -> "IndexFile":
        """Return its rows, first and last UID."""
        return _bounds(self.path, self.statistics)


class IndexFile(NamedTuple):
    """One Parquet file: its rows, the first and the last SOP Instance UID, its bytes if known."""

    path: str
    rows: int
    first: str
    last: str
    size: int = 0


def index_folder(data: Storage) -> Storage:
    """Return where the index of a store's data folder is."""
    return table_folder(data, INDEX_FOLDER)


def log_path(version: int) -> str:
    """Return the path of a version's log entry, below the index folder."""
    return f"_delta_log/{version:020}.json"


def is_deleted(data: Storage) -> bool:
    """Whether a data folder has no index: its store was deleted."""
    folder = index_folder(data)
    # One of the two is there: a log that is cleaned of its first entries has a checkpoint.
    return folder.head(log_path(0)) is None and folder.head(_LAST_CHECKPOINT) is None


def row_groups(data: Storage, file: str) -> int:
    """Return how many row groups one of `Index.files` has."""
    with _open(index_folder(data), file) as parquet:
        return int(parquet.num_row_groups)


def group_bounds(data: Storage, file: str) -> list[tuple[str, str, int]]:
    """Return the first and the last SOP Instance UID of each row group, and its rows.

    Where another program wrote no bounds, a row group can have any UID.
    """
    with _open(index_folder(data), file) as parquet:
        number = column_number(parquet.metadata, Column.SOP_INSTANCE_UID)
        groups = [parquet.metadata.row_group(each) for each in range(parquet.num_row_groups)]
        chunks = [group.column(number).statistics for group in groups]
    return [
        (chunk.min, chunk.max, group.num_rows)
        if chunk is not None and chunk.has_min_max
        else ("", "~", group.num_rows)
        for chunk, group in zip(chunks, groups, strict=True)
    ]


def read_row_group(data: Storage, file: str, row_group: int, columns: list[str]) -> pa.Table:
    """Return some columns of one row group: the unit in which exports read an index."""
    with _open(index_folder(data), file) as parquet:
        return fit(parquet.read_row_group(row_group, columns=columns), schema_of(columns))


def read_column(data: Storage, file: str, column: str) -> pa.ChunkedArray:
    """Return a column of a file of the index, or of one that is about to be in it."""
    return read_columns(data, file, [column]).column(0)


def read_columns(data: Storage, file: str, columns: list[str]) -> pa.Table:
    """Return some columns of a file of the index, or of one that is about to be in it."""
    with _open(index_folder(data), file) as parquet:
        return fit(parquet.read(columns), schema_of(columns))


def row_group_batches(
    data: Storage, file: str, row_group: int, columns: pa.Schema, rows: int, size: int
) -> Iterator[pa.Table]:
    """Yield some columns of one row group in tables of limited size.

    Args:
        data: the data folder of a store.
        file: one of `Index.files`.
        row_group: its number.
        columns: to read; those that the file lacks are null.
        rows: at most per batch.
        size: bytes of Metadata, at most per batch; a larger Metadata is a batch of its own.
    """
    with _open(index_folder(data), file) as parquet:
        sizes = parquet.read_row_group(row_group, columns=[Column.STRUCTURED_STORAGE_SIZE])
        largest = pc.max(sizes.column(0)).as_py() or 1
        rows = max(1, min(rows, size // largest))
        for batch in parquet.iter_batches(rows, row_groups=[row_group], columns=columns.names):
            yield fit(pa.Table.from_batches([batch]), columns)


class Appended(NamedTuple):
    """What imports appended after one version, until another.

    Attributes:
        files: the Parquet files as appended, even if their rows have been compacted since.
        gone: versions whose log entry, or a file of which, is no longer kept.
    """

    files: list[str]
    gone: list[int]


def appended_files(data: Storage, after: int, until: int) -> Appended:
    """Return what imports appended after one version, until another, version by version."""
    folder = index_folder(data)
    found, gone = [], []
    for version in range(after + 1, until + 1):
        actions = _log_entry(folder, version)
        if actions is None:
            gone.append(version)
        elif _is_import(actions):
            added = [unquote(action["add"]["path"]) for action in actions if "add" in action]
            if all(folder.head(file) for file in added):
                found += added
            else:
                gone.append(version)
    return Appended(found, gone)


class Changes(NamedTuple):
    """What the versions after one, until another, have done to the rows of an index.

    Attributes:
        added: the files that imports appended.
        are_known: False if rows were taken out, or if an entry of the log is no longer kept.
    """

    added: list[IndexFile]
    are_known: bool


def changes_of(data: Storage, versions: Iterable[int]) -> dict[int, Changes]:
    """Return what each of some versions has done."""
    folder, versions = index_folder(data), list(versions)
    with ThreadPoolExecutor(_READ_THREADS) as threads:
        entries = threads.map(lambda version: _log_entry(folder, version), versions)
        return {version: _changes(entry) for version, entry in zip(versions, entries, strict=True)}


def _changes(actions: list[dict[str, Any]] | None) -> Changes:
    if actions is None:
        return Changes([], are_known=False)
    removed = [action["remove"] for action in actions if "remove" in action]
    if removed:
        # Compaction moves rows, and says so; a deletion, which has a cut-off, takes some out.
        has_cutoff = any("txn" in action for action in actions)
        is_move = not has_cutoff and not any(each["dataChange"] for each in removed)
        return Changes([], are_known=is_move)
    added = [action["add"] for action in actions if "add" in action]
    files = [_bounds(unquote(add["path"]), add.get("stats")) for add in added]
    return Changes(files, are_known=True)


@functools.lru_cache(maxsize=4096)
def _bounds(path: str, statistics: str | None) -> IndexFile:
    # A file that another program wrote can lack bounds: it can have any UID.
    found = json.loads(statistics or "{}")
    first, last = (
        found.get(name, {}).get(Column.SOP_INSTANCE_UID) for name in ("minValues", "maxValues")
    )
    return IndexFile(path, found.get("numRecords", 0), first or "", last or "~")


def replaced_files(data: Storage, version: int) -> tuple[set[str], set[str]] | None:
    """Return the files that a version removed and added; None if its entry is no longer kept."""
    actions = _log_entry(index_folder(data), version)
    if actions is None:
        return None
    removed, added = (
        {unquote(action[kind]["path"]) for action in actions if kind in action}
        for kind in ("remove", "add")
    )
    return removed, added


def _is_import(actions: list[dict[str, Any]]) -> bool:
    """Whether a version is that of an import, and not of a deletion, which adds what is left."""
    is_ours = any(action.get("txn", {}).get("appId") == APP_ID for action in actions)
    return is_ours and not any("remove" in action for action in actions)


def _log_entry(folder: Storage, version: int) -> list[dict[str, Any]] | None:
    """Return the actions of a version; None if its entry is no longer kept."""
    try:
        return [json.loads(line) for line in folder.read(log_path(version)).splitlines()]
    except FileNotFoundError:
        return None


def add_action(folder: Storage, path: str, now: int) -> AddAction:
    """Return the action that adds a file to the log whose rows are in others by now.

    Args:
        folder: of the index.
        path: of the file, below the folder.
        now: milliseconds since the epoch.

    Raises:
        FileNotFoundError: there is no such file.
    """
    entry = folder.head(path)
    if entry is None:
        raise FileNotFoundError(folder.uri(path))
    with _open(folder, path) as parquet:
        statistics = statistics_of(parquet.metadata)
    return WrittenFile(path, entry.size, statistics).add_action(now, is_new=False)


@contextmanager
def _open(folder: Storage, file: str) -> Iterator[pq.ParquetFile]:
    with folder.open_seekable(file) as source:
        # Where requests wait, the columns are requested at the same time.
        yield pq.ParquetFile(source, pre_buffer=folder.capabilities.concurrency > 1)


def column_number(metadata: pq.FileMetaData, name: str) -> int:
    """Return the number of a column in a Parquet file; -1 if it has no row group.

    `metadata.schema` refers back to the footer, which would stay in memory until the garbage
    collector finds both.
    """
    if not metadata.num_row_groups:
        return -1
    group = metadata.row_group(0)
    paths = [group.column(number).path_in_schema for number in range(metadata.num_columns)]
    return paths.index(name)


def statistics_of(metadata: pq.FileMetaData) -> str:
    """Return the statistics of a file for the log, from its footer, as delta-rs writes them."""
    statistics: dict[str, Any] = {"numRecords": metadata.num_rows}
    statistics |= {name: {} for name in ("minValues", "maxValues", "nullCount")}
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    for name in STATISTICS:
        column = column_number(metadata, name)
        chunks = [group.column(column).statistics for group in groups]
        statistics["nullCount"][name] = sum(chunk.null_count for chunk in chunks)
        bounded = [chunk for chunk in chunks if chunk.has_min_max]
        if bounded:
            statistics["minValues"][name] = _bound(min(chunk.min for chunk in bounded))
            statistics["maxValues"][name] = _bound(max(chunk.max for chunk in bounded))
    return json.dumps(statistics)


def _bound(value: str | datetime) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    return value
