"""Commits to Delta tables that survive a power cut: each is there as a whole, or not at all.

deltalake syncs nothing. A cut would leave a log entry without its bytes, which no reader of the
table gets past, or one whose files are empty. So a table in a local folder is changed in a twin: a
folder with links to the log, in which deltalake writes whatever it writes. Then the new files move
into the table, each synced before what points at it: data, log entry, checkpoint, hint.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from shutil import rmtree

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from dicomferry.storage.base import Storage
from dicomferry.storage.durable import move_files
from dicomferry.storage.partial_files import partial_name, remove_partial

_LOG = "_delta_log"
_HINT = f"{_LOG}/_last_checkpoint"
_ENTRY = re.compile(r"(?:^|/)([0-9]{20})\.json$")
_CHECKPOINT = re.compile(r"(?:^|/)([0-9]{20})\.checkpoint\..*parquet$")
_CLEANUP = "delta.enableExpiredLogCleanup"


@contextmanager
def committing(
    folder: Storage, table: DeltaTable, *, keeps_log: bool = False
) -> Iterator[DeltaTable]:
    """Yield the table to commit to; after the block `table` is at the version that it committed.

    Args:
        folder: of the table.
        table: loaded; deltalake refuses a commit that conflicts with one after this version.
        keeps_log: leave log entries that have expired to the caller.

    Raises:
        CommitFailedError: another writer committed at the same time; the block did nothing.
    """
    root = folder.local_path()
    if root is None:
        yield table
        return
    with _twin(root) as twin:
        last = _link_log(root, twin, table.version())
        # Loaded like `table`: deltalake decides whether what others have committed since matters.
        yield DeltaTable(twin, version=table.version())
        _publish(folder, root, twin, last)
        entries = [_number(_ENTRY, name) for name in os.listdir(f"{twin}/{_LOG}")]
        has_checkpoint = os.path.exists(f"{twin}/{_HINT}")
    table.load_as_version(max(entries, default=table.version()))
    if has_checkpoint and not keeps_log and table.metadata().configuration.get(_CLEANUP) != "false":
        table.cleanup_metadata()


@contextmanager
def creating(folder: Storage) -> Iterator[str]:
    """Yield the URI at which to create a table.

    Raises:
        CommitFailedError: another writer has created it.
    """
    root = folder.local_path()
    if root is None:
        yield folder.root
        return
    with _twin(root) as twin:
        yield twin
        _publish(folder, root, twin, -1)


@contextmanager
def _twin(root: str) -> Iterator[str]:
    os.makedirs(root, exist_ok=True)
    remove_partial(root)
    twin = partial_name(f"{root}/_twin")  # Delta passes over names that begin like this
    os.makedirs(f"{twin}/{_LOG}")
    try:
        yield twin
    finally:
        with suppress(FileNotFoundError):  # the store was deleted
            rmtree(twin)


def _link_log(root: str, twin: str, version: int) -> int:
    """Link the log, as far as a version and those after it need it; return the last version."""
    first = _checkpoint_version(root)
    first = first if first <= version else 0
    names = os.listdir(f"{root}/{_LOG}")
    entries = {_number(_ENTRY, name) for name in names}
    last = version
    while last + 1 in entries:
        last += 1
    for name in names:
        if first <= max(_number(_ENTRY, name), _number(_CHECKPOINT, name)) <= last:
            os.link(f"{root}/{_LOG}/{name}", f"{twin}/{_LOG}/{name}")
    return last


def _checkpoint_version(root: str) -> int:
    try:
        with open(f"{root}/{_HINT}", encoding="utf-8") as file:
            return int(json.load(file)["version"])
    except (FileNotFoundError, ValueError):
        return 0


def _publish(folder: Storage, root: str, twin: str, version: int) -> None:
    """Move what a twin has more than a version into the table.

    Raises:
        CommitFailedError: the table has a later version; its commit is the first that is missing.
    """
    files = _files(twin)
    data = [name for name in files if not name.startswith(f"{_LOG}/")]
    move_files(data, twin, root)
    entries = [name for name in files if _number(_ENTRY, name) > version]
    for name in entries:
        with open(f"{twin}/{name}", "rb") as file:
            is_first = folder.create(name, file.read())
        if not is_first:
            if name == entries[0]:
                folder.delete(data)
            raise CommitFailedError(f"{folder.root} has a later version")
    if _HINT in files:
        move_files([name for name in files if _CHECKPOINT.search(name)], twin, root)
        move_files([_HINT], twin, root)


def _number(kind: re.Pattern[str], name: str) -> int:
    match = kind.search(name)
    return int(match[1]) if match else -1


def _files(folder: str) -> list[str]:
    """Return the paths of all files below a folder, sorted."""
    return sorted(
        os.path.relpath(os.path.join(path, name), folder)
        for path, _, names in os.walk(folder)
        for name in names
    )
