"""Exceptions that cross from one process to another. No Beam here.

An exception that cannot be pickled is lost at the border, and one that cannot be unpickled breaks
the pool that receives it: storage that is gone would look like a process that died.
"""

import pickle

from dicomferry.storage.errors import StorageError
from dicomferry.storage.failures import failure_text, storage_errors


def crossing(error: BaseException) -> BaseException:
    """Return an exception as it can cross, or one of the same meaning that can."""
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = None
    if type(copy) is type(error):
        return error
    if isinstance(error, storage_errors()):
        return StorageError(failure_text(error))
    return RuntimeError(type(error).__name__)
