"""Commits to an index that another writer won, or may have won."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from deltalake.exceptions import CommitFailedError, DeltaError

from dicomferry.storage.base import Storage
from dicomferry.store.delta_tables import raise_os_error

# What object_store says where it is refused; it has no error of its own that reaches Python.
_REFUSED = re.compile(
    r"\b40[13] (Forbidden|Unauthorized)|lacked the necessary privileges|authenticat"
)


class CommitConflictError(Exception):
    """Another import committed since this index was loaded: load it again and look up again.

    Or the storage failed during a commit, which may have happened: the remedy is the same.
    """


@contextmanager
def reporting_conflicts(folder: Storage) -> Iterator[None]:
    """Raise CommitConflictError for failures where another writer won, or may have won.

    It has a cause if the storage failed.

    Raises:
        PermissionError: the storage does not let this account write.
    """
    try:
        yield
    except CommitFailedError as error:
        raise CommitConflictError(str(error)) from None
    except (OSError, DeltaError) as error:
        # DeltaError: delta-rs learned of another version, and then could not read it.
        if not folder.capabilities.is_networked:
            raise_os_error(error, folder.root)
        if _REFUSED.search(str(error)):
            raise PermissionError(
                f"{folder.root} cannot be written with these credentials, or needs credentials "
                "(the storage answered 401 or 403)"
            ) from error
        raise CommitConflictError(str(error)) from error
