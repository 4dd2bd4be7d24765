"""The table of the sources that a store has imported: a hint that saves reading them again.

A Delta table of (SourceUri, Size, Version): a file that changed in place has another
size or version and is read again. Losing rows costs time, never data. Failures and
conflicts are not remembered: they are read, and reported, each time. A damaged table is begun anew.

Its files are sorted by SourceUri, as listings are, and a job commits all of its files at once.

    sources/           the table
"""

import hashlib
import json
import logging
import time
from collections.abc import Collection, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from dicomferry.storage.base import Storage
from dicomferry.storage.delta_commits import committing
from dicomferry.storage.retries import repeat_until_committed
from dicomferry.store.delta_tables import (
    create_table,
    open_table,
    reporting_os_errors,
    table_folder,
)
from dicomferry.store.index_files import index_folder, is_deleted

_LOGGER = logging.getLogger(__name__)
_FOLDER = "sources"
SCHEMA = pa.schema(
    [
        ("SourceUri", pa.string()),
        ("Size", pa.int64()),
        ("Version", pa.string()),  # mtime or generation
        ("Outcome", pa.string()),
    ]
)
# About a listing, so that its sources are in one row group or two of a file.
_GROUP_ROWS = 10_000
# What a table that cannot be read or written raises.
ERRORS = (OSError, DeltaError, pa.ArrowException)

Row = tuple[str, int, str, str]
"""SourceUri, Size, Version, Outcome."""


class SourcesFile(NamedTuple):
    """A file of the table: its path below the table's folder, bytes, rows, first and last URI."""

    path: str
    size: int
    rows: int
    first: str
    last: str


def sources_folder(data: Storage) -> Storage:
    """Return where the table of a store's data folder is."""
    return table_folder(data, _FOLDER)


def create_known_sources(data: Storage) -> None:
    """Create the empty table of a new store."""
    create_table(sources_folder(data), SCHEMA, {})


def remember_sources(data: Storage, rows: Sequence[Row]) -> None:
    """Add rows: write and commit them."""
    if rows and not is_deleted(data):
        commit_sources(data, [write_sources(data, rows)])


def write_sources(data: Storage, rows: Sequence[Row]) -> SourcesFile:
    """Write rows as a file that `commit_sources` can add; the same rows are the same file."""
    ordered = sorted(rows)
    table = pa.table(
        [
            pa.array(column, field.type)
            for column, field in zip(zip(*ordered, strict=True), SCHEMA, strict=True)
        ],
        schema=SCHEMA,
    )
    return write_file(data, table)


def write_file(data: Storage, rows: pa.Table, start: str = "") -> SourcesFile:
    """Write sorted rows (`SCHEMA`) as a file of the table, not yet committed.

    Args:
        data: the data folder of a store.
        rows: at least one.
        start: of the file's name, before the hash of its content.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd", row_group_size=_GROUP_ROWS)
    content = sink.getvalue().to_pybytes()
    path = f"{start}{hashlib.sha256(content).hexdigest()[:32]}.parquet"
    sources_folder(data).write(path, content)
    uris = rows["SourceUri"]
    return SourcesFile(path, len(content), len(rows), uris[0].as_py(), uris[-1].as_py())


def commit_sources(
    data: Storage, files: Sequence[SourcesFile], merged: Collection[str] = ()
) -> None:
    """Add written files in one commit; those that the table has already stay as they are.

    Args:
        data: the data folder of a store.
        files: what `write_sources` returned.
        merged: paths of files whose rows the new ones have; they leave the table.
    """
    if not files:
        return
    folder = sources_folder(data)
    version = 0

    def write() -> None:
        nonlocal version
        table = open_table(folder)
        version = table.version()
        present = set(pa.table(table.get_add_actions()).column("path").to_pylist())
        new = {file.path: file for file in files if file.path not in present}
        if not new:
            return
        now = int(time.time() * 1000)
        old = [RemoveAction(path, False, now) for path in present.intersection(merged)]
        with reporting_os_errors(folder), committing(folder, table) as changed:
            changed.create_write_transaction(
                [*old, *map(_add_action, new.values())], "append", changed.schema()
            )

    def write_repeatedly() -> None:
        repeat_until_committed(lambda: folder.retry(write), CommitFailedError, lambda: version)

    try:
        write_repeatedly()
    except ERRORS as error:
        if not _is_damage(error) and not isinstance(error.__cause__ or error, DeltaError):
            raise  # the disk is full, or such
        if report(data, "written", error):
            write_repeatedly()


def _add_action(file: SourcesFile) -> AddAction:
    statistics = {
        "numRecords": file.rows,
        "minValues": {"SourceUri": file.first},
        "maxValues": {"SourceUri": file.last},
        "nullCount": dict.fromkeys(SCHEMA.names, 0),
    }
    now = int(time.time() * 1000)
    return AddAction(file.path, file.size, {}, now, False, json.dumps(statistics))


def report(data: Storage, what: str, error: Exception) -> bool:
    """Warn that the table could not be read or written, and begin it anew if it is damaged.

    Returns:
        Whether it was begun anew.
    """
    _warn(what, error)
    return _is_damage(error) and _begin_anew(data)


def _is_damage(error: Exception) -> bool:
    """Whether the table is broken; what a network did passes by itself."""
    if isinstance(error, CommitFailedError):
        return False
    return isinstance(error, (FileNotFoundError, DeltaError, pa.ArrowException))


def _begin_anew(data: Storage) -> bool:
    """Begin an empty log; return whether that was done. Files that were written stay."""
    if next(iter(index_folder(data).list("_delta_log")), None) is None:
        return False  # the store was deleted
    try:
        sources_folder(data).subfolder("_delta_log").remove_all()
        create_known_sources(data)
    except (OSError, DeltaError) as error:  # another process does the same
        _warn("rebuilt", error)
        return False
    return True


def _warn(what: str, error: Exception) -> None:
    _LOGGER.warning(
        "the list of files that were read already could not be %s (%s): "
        "they are read again, and nothing is imported twice",
        what,
        type(error).__name__,
    )
