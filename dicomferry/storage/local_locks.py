"""Locks of files in a local folder, between all processes that use it.

A file system has no deletion on condition: between the look at a file and its deletion another
process can exchange it. So both hold a lock, which the kernel frees when its process ends.
"""

import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

FOLDER = "locks"
_LOCKS = 64


@contextmanager
def file_lock(root: str, path: str, *, is_shared: bool) -> Iterator[None]:
    """Hold the lock of a file, which it shares with some other files.

    Args:
        root: the folder; the locks are in it.
        path: of the file, below it.
        is_shared: whether others may hold it at the same time, who share it as well.
    """
    folder = os.path.join(root, FOLDER)
    os.makedirs(folder, exist_ok=True)
    name = os.path.join(folder, f"{zlib.crc32(path.encode()) % _LOCKS:02x}")
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
