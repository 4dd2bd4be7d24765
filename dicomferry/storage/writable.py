"""Whether a destination can be written, before any work is done for it."""

import os

from dicomferry.storage.base import Storage


def is_writable(storage: Storage) -> bool:
    """Whether this user can write to a local folder, or make it; a bucket is not asked."""
    folder = storage.local_path()
    if not folder:
        return True
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)
