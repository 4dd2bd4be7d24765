"""Failures of disks and buckets, as they arrive once all retries are used up."""

import re

# Of requests: they name emulators and proxies, and objects by what a bucket calls them.
_URLS = re.compile(
    r"(?:\b(?:GET|PUT|POST|HEAD|PATCH|DELETE) )?\bhttps?://[^\s'\"<>]+|(?<=with url: )\S+"
)
# deltalake colors its messages.
_COLORS = re.compile("\x1b\\[[0-9;]*m")


def storage_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that say that storage failed.

    A function, since their libraries take 40 MB: `except storage_errors():` loads them only when
    something was raised.
    """
    from deltalake.exceptions import DeltaError
    from obstore.exceptions import BaseError

    from dicomferry.storage.errors import StorageError
    from dicomferry.storage.network_failures import network_errors

    return OSError, BaseError, *network_errors(), DeltaError, StorageError


def storage_message(error: Exception) -> str:
    """Return the reason of a failure on one line, without details for debuggers."""
    return f"storage failed: {failure_text(error)}"


def failure_text(error: Exception) -> str:
    """Return what a storage says of its failure, on one line."""
    from deltalake.exceptions import DeltaError

    if isinstance(error, DeltaError):
        # Its text can quote values of the table.
        return type(error).__name__
    text = _COLORS.sub("", str(error).partition("\n\nDebug source")[0])
    text = _URLS.sub("a request", text)
    return " ".join(text.split())
