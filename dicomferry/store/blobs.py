"""Blobs: the bytes of instances as uploaded, immutable, named by UIDs and content."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import IO

from dicomferry.storage.base import Storage

FOLDER = "instances"
# Large blobs on their way to their names.
INCOMING = "incoming"
# A blob without a row is vacuumed after 7 days; one older than this is written again,
# so that vacuum never takes what a running import is about to point at.
_REWRITE_AFTER = timedelta(days=1)


def blob_path(study: str, series: str, sop_instance: str, digest: str) -> str:
    """Path of a blob below the data folder; UIDs are checked by headers/header.py."""
    return f"{FOLDER}/{study}/{series}/{sop_instance}/{digest}.dcm"


def write_blob(data: Storage, path: str, content: bytes) -> None:
    """Write a blob unless the same bytes are there already."""
    if not data.create(path, content) and not _is_current(data, path, len(content)):
        data.write(path, content)


@contextmanager
def large_blob(data: Storage) -> Iterator[tuple[IO[bytes], Callable[[str], None]]]:
    """Write a blob of any size, in one pass, before its name is known.

    Yields:
        An open file, and a function that gives it its path when it is complete.
    """
    with data.writing(INCOMING) as (file, keep):

        def keep_unless_stored(path: str) -> None:
            if not _is_current(data, path, file.tell()):
                keep(path)

        yield file, keep_unless_stored


def _is_current(data: Storage, path: str, size: int) -> bool:
    """Whether a blob is there as a whole, and too young for vacuum to delete it."""
    entry = data.head(path)
    if entry is None or entry.size != size:  # a power cut leaves a name without all of its bytes
        return False
    return datetime.now(UTC) - entry.modified <= _REWRITE_AFTER
