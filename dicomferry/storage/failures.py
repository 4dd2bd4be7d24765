"""Failures of disks and buckets, as they arrive once all retries are used up."""

import errno
import re

# Of requests: they name emulators and proxies, and objects by what a bucket calls them.
_URLS = re.compile(
    r"(?:\b(?:GET|PUT|POST|HEAD|PATCH|DELETE) )?\bhttps?://[^\s'\"<>]+|(?<=with url: )\S+"
)
# Of obstore, which has exceptions of its own only for some requests.
_STATUS = re.compile(r"status code: (\d{3})\b")
_OF_TOKENS = ("token request", "invalid_grant")
_REMEDIES = {
    401: "Google does not accept these credentials, or they have expired (401): run "
    "`gcloud auth application-default login`, or name a valid key file in "
    "GOOGLE_APPLICATION_CREDENTIALS",
    403: "these credentials have no permission (403): ask for a role on the bucket, such as "
    "roles/storage.objectAdmin, or log in with another account by "
    "`gcloud auth application-default login`",
    404: "there is no such bucket or object (404): create the bucket, or correct its name",
}
# Of the system, as Python and obstore spell them.
_ERRNO = re.compile(r"\[Errno (\d+)\]|\(os error (\d+)\)")
_NOT_ALLOWED = "grant this user permission to read and write there, or name another place"
_SYSTEM_REMEDIES = {
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.ENOENT: "it does not exist: correct the name, or create it",
    errno.ENOTDIR: "a part of this path is a file, not a folder: name another place",
    errno.EROFS: "this file system is read-only: name another place",
    errno.ENOSPC: "free some space there, then run it again",
    errno.EDQUOT: "free some space there, then run it again",
}
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
    if remedy := _REMEDIES.get(_status(error)):
        return f"storage failed: {remedy}"
    text = failure_text(error)
    found = _ERRNO.search(text)
    remedy = _SYSTEM_REMEDIES.get(int(found[1] or found[2])) if found else None
    return f"storage failed: {text}{f': {remedy}' if remedy else ''}"


def _status(error: Exception) -> int:
    """Return the status of HTTP with which a bucket has refused a request; 0 if it is unknown."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError, TransportError

    if isinstance(error, GoogleAPICallError):
        return int(error.code or 0)
    if isinstance(error, GoogleAuthError):
        return 0 if isinstance(error, TransportError) else 401
    text = str(error)
    if any(each in text for each in _OF_TOKENS):
        return 401 if (match := _STATUS.search(text)) and match[1].startswith("4") else 0
    return int(match[1]) if (match := _STATUS.search(text)) else 0


def failure_text(error: Exception) -> str:
    """Return what a storage says of its failure, on one line."""
    from deltalake.exceptions import DeltaError

    if isinstance(error, DeltaError):
        # Its text can quote values of the table.
        return type(error).__name__
    text = _COLORS.sub("", str(error).partition("\n\nDebug source")[0])
    text = _URLS.sub("a request", text)
    return " ".join(text.split())
