"""Whether an export may replace the files of another one.

Files of an export are named by UIDs, which any store can hold. So the first export into a folder
leaves a marker there, an object that names its store, made before its first file:

    projects/P/locations/L/datasets/D/dicomStores/S
    {name of its data folder, which is random: another one has a store of the same name that was
    created later, or lies below another root}

A marker of the first line alone, which earlier versions left, is that of every store of the name.
"""

import enum
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

from google.rpc.code_pb2 import FAILED_PRECONDITION
from obstore.exceptions import PermissionDeniedError

from dicomferry.resource_names import StoreName
from dicomferry.sources.source import EXPORT_MARKER
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.tables.errors import TableError

_MAX_MARKER_BYTES = 1024
_ATTEMPTS = 3


class Overwrite(enum.StrEnum):
    """Which files an export may replace."""

    NEVER = "never"
    """None: the folder has none."""
    OWN = "own"
    """Those of exports of the same store."""
    ANY = "any"
    """All of the same names."""


class PlaceTakenError(TableError):
    """A folder with files that an export may not replace; the message says what to do."""

    code = FAILED_PRECONDITION


def claim_folder(folder: Storage, store: StoreName, data: Storage, overwrite: Overwrite) -> None:
    """Make a folder the destination of exports of a store, or find that it is.

    To claim it again changes nothing. Of two stores that claim it at once, one gets it.

    Args:
        folder: destination of the files.
        store: that is exported.
        data: its data folder.
        overwrite: what may be replaced; `ANY` leaves no marker.

    Raises:
        PlaceTakenError: there, or above, is an export of another store, or there are files that
            may not be replaced, or no marker can be made.
    """
    if overwrite is Overwrite.ANY:
        return
    ours = f"{store}\n{data.root.rpartition('/')[2]}"
    # Another export can be faster, or the answer to our request be lost.
    for _ in range(_ATTEMPTS):
        owner = _owner(folder)
        _check_owners([owner, *map(_owner_above, _folders_above(folder))], ours, folder)
        if (owner is None or overwrite is Overwrite.NEVER) and _has_files(folder):
            raise PlaceTakenError(
                f"{folder.root} has files that this export may not overwrite (--overwrite "
                f"{overwrite}): choose an empty folder, or --overwrite any"
            )
        if owner is not None or folder.create(EXPORT_MARKER, ours.encode()):
            return
    raise PlaceTakenError(
        f"{folder.uri(EXPORT_MARKER)} is not a regular file: delete it, or choose another folder; "
        "--overwrite any ignores it"
    )


def _check_owners(owners: Iterable[str | None], ours: str, folder: Storage) -> None:
    """Refuse a folder that another store has.

    Args:
        owners: texts of the markers there and above; None where there is none.
        ours: text of the marker of the store.
        folder: for the message.

    Raises:
        PlaceTakenError: another store has it.
    """
    name, _, _ = ours.partition("\n")
    if any(each not in (None, ours, name) for each in owners):
        raise PlaceTakenError(
            f"{folder.root} is, or is in, the folder of an export of another store (maybe one of "
            "the same name, under another root or deleted since): choose another folder, or "
            "--overwrite any to overwrite its files"
        )


def _owner(folder: Storage) -> str | None:
    """Return the text of the marker of a folder; None if it has none."""
    entry = folder.head(EXPORT_MARKER)
    if entry is None:
        return None
    if entry.size > _MAX_MARKER_BYTES:
        return ""
    return folder.read(EXPORT_MARKER).decode("utf-8", "replace")


def _owner_above(folder: Storage) -> str | None:
    # What cannot be looked into is none that this account has made a marker in.
    with suppress(PermissionError, PermissionDeniedError):
        return _owner(folder)
    return None


def _folders_above(folder: Storage) -> Iterator[Storage]:
    path = folder.local_path()
    start, names = ("/", os.path.realpath(path)) if path else (f"{folder.root.split('/')[0]}//", "")
    parts = (names or folder.root).removeprefix(start).split("/")
    # A bucket has no folder above it.
    for count in range(0 if path else 1, len(parts)):
        yield open_storage(f"{start}{'/'.join(parts[:count])}")


def _has_files(folder: Storage) -> bool:
    return any(entry.path != EXPORT_MARKER for entry in folder.list())
