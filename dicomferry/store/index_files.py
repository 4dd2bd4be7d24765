"""The Parquet files of an index, and what its log says of them."""

import json
from collections.abc import Iterator
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


def read_row_group(data: Storage, file: str, row_group: int, columns: list[str]) -> pa.Table:
    """Return some columns of one row group: the unit in which exports read an index."""
    with _open(index_folder(data), file) as parquet:
        return fit(parquet.read_row_group(row_group, columns=columns), schema_of(columns))


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
    """Return the action that adds a file to the log.

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
        statistics = _statistics(parquet.metadata)
    return AddAction(path, entry.size, {}, now, False, json.dumps(statistics))


@contextmanager
def _open(folder: Storage, file: str) -> Iterator[pq.ParquetFile]:
    with folder.open_seekable(file) as source:
        # Where requests wait, the columns are requested at the same time.
        yield pq.ParquetFile(source, pre_buffer=folder.capabilities.concurrency > 1)


def column_number(metadata: pq.FileMetaData, name: str) -> int:
    """Return the number of a column in a Parquet file."""
    paths = (metadata.schema.column(number).path for number in range(len(metadata.schema)))
    return list(paths).index(name)


def _statistics(metadata: pq.FileMetaData) -> dict[str, Any]:
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
    return statistics


def _bound(value: str | datetime) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    return value
