"""Whether an export may replace the files of another one.

Files of an export are named by UIDs, which any store can hold. So the first export into a folder
leaves a marker there, an object that names its store, made before its first file.
"""

import enum
import os
from collections.abc import Iterator
from contextlib import suppress

from google.rpc.code_pb2 import FAILED_PRECONDITION
from obstore.exceptions import PermissionDeniedError

from dicomferry.resource_names import StoreName
from dicomferry.sources.source import EXPORT_MARKER
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.tables.errors import TableError

_MAX_MARKER_BYTES = 1024


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


def claim_folder(folder: Storage, store: StoreName, overwrite: Overwrite) -> None:
    """Make a folder the destination of exports of a store, or find that it is.

    To claim it again changes nothing. Of two stores that claim it at once, one gets it.

    Args:
        folder: destination of the files.
        store: that is exported.
        overwrite: what may be replaced; `ANY` leaves no marker.

    Raises:
        PlaceTakenError: there, or above, is an export of another store, or there are files that
            may not be replaced.
    """
    if overwrite is Overwrite.ANY:
        return
    owner = _owner(folder)
    owners = [owner, *map(_owner_above, _folders_above(folder))]
    if any(each not in (None, str(store)) for each in owners):
        raise PlaceTakenError(
            f"{folder.root} is, or is in, a folder with an export of another store: choose "
            "another folder; --overwrite any would overwrite it"
        )
    if (owner is None or overwrite is Overwrite.NEVER) and _has_files(folder):
        raise PlaceTakenError(
            f"{folder.root} has files that this export may not overwrite (--overwrite "
            f"{overwrite}): choose an empty folder, or --overwrite any"
        )
    if owner is None and not folder.create(EXPORT_MARKER, str(store).encode()):
        claim_folder(folder, store, overwrite)  # another export was faster, or our answer was lost


def _owner(folder: Storage) -> str | None:
    """Return the name of the store whose exports a folder has; None if it has no marker."""
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
