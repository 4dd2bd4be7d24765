"""Blobs: the bytes of instances as uploaded, immutable, named by UIDs and content."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from dicomferry.storage.storage import Storage

FOLDER = "instances"
# Large blobs on their way to their names.
INCOMING = "incoming"
# A blob without a row is vacuumed after 7 days; one older than this is written again,
# so that vacuum never takes what a running import is about to point at.
_REWRITE_AFTER = timedelta(days=1)


def blob_path(study: str, series: str, sop_instance: str, digest: str) -> str:
    """Path of a blob below the data folder; UIDs are checked by headers/header.py."""
    return f"{FOLDER}/{study}/{series}/{sop_instance}/{digest}.dcm"


def store_blob(data: Storage, path: str, content: bytes) -> None:
    """Write a blob unless the same bytes lie there already."""
    if not data.create(path, content) and _is_old(data, path):
        data.write(path, content)


@contextmanager
def local_blob(data: Storage) -> Iterator[tuple[BinaryIO, Callable[[str], None]]]:
    """Write a blob of any size in a local store, in one pass, before its name is known.

    Yields:
        A temporary file, and a function that gives it its name when it is complete.
    """
    folder = os.path.join(data.root, INCOMING)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f"{os.getpid()}-{os.urandom(8).hex()}")

    def keep(path: str) -> None:
        file.flush()
        full = os.path.join(data.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        os.replace(temporary, full)

    try:
        with open(temporary, "xb") as file:
            yield file, keep
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _is_old(data: Storage, path: str) -> bool:
    entry = data.head(path)
    return entry is None or datetime.now(UTC) - entry.modified > _REWRITE_AFTER
