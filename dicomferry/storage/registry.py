"""The storages, by URI scheme: the only place that knows which there are.

A new one is a subclass of `Storage` in a module of its own, and a line here.
"""

import os
import re

from dicomferry.storage.base import Storage
from dicomferry.storage.capabilities import Capabilities
from dicomferry.storage.errors import MissingBucketError, StorageError
from dicomferry.storage.gs import GsStorage
from dicomferry.storage.local import LocalStorage

_STORAGES: dict[str, type[Storage]] = {"file": LocalStorage, "gs": GsStorage}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_TABLE_PREFIXES: set[str] = set()


def register(scheme: str, kind: type[Storage]) -> None:
    """Add a kind of storage: from now on its URIs are roots, sources and destinations.

    Args:
        scheme: as in `scheme://bucket/prefix`, in lower case.
        kind: its class.
    """
    _STORAGES[scheme] = kind


def reserve(prefix: str) -> None:
    """Let no folder be named by what is the URI of a table.

    Args:
        prefix: what the URIs of the table's kind begin with, such as "duckdb:".
    """
    _TABLE_PREFIXES.add(prefix.partition(":")[0])


def open_storage(uri: str) -> Storage:
    """Return the storage of a root or destination; nothing is touched yet.

    Raises:
        StorageError: the scheme is not registered, or no bucket is named.
    """
    name, colon, rest = uri.partition(":")
    # A scheme without slashes would be a local folder of that name.
    if colon and not rest.startswith("//") and (name in _STORAGES or name in _TABLE_PREFIXES):
        raise StorageError(
            f"{uri!r} is not a folder: use a local one or gs://bucket/prefix; tables are for "
            "exports to tables"
        )
    scheme, is_url, _ = uri.partition("://")
    if is_url and scheme not in _STORAGES:
        raise StorageError(
            f"{scheme}:// is not supported: use a local folder or gs://bucket/prefix"
        )
    return _STORAGES[scheme if is_url else "file"](uri)


def open_file(uri: str) -> tuple[Storage, str]:
    """Return the storage of the folder that a file is in, and the file's name.

    Raises:
        StorageError: the scheme is not registered, or no bucket is named.
    """
    folder, _, name = uri.rpartition("/")
    return open_storage(folder or ("/" if uri.startswith("/") else os.curdir)), name


def scheme_of(uri: str) -> str:
    """Return the scheme of a URI, registered or not; 'file' for a local path."""
    match = _SCHEME.match(uri)
    return match[1] if match else "file"


def is_registered(scheme: str) -> bool:
    """Whether there is a storage of a scheme."""
    return scheme in _STORAGES


def in_bucket(uri: str) -> bool:
    """Whether a URI is of a registered scheme other than file://."""
    return scheme_of(uri) != "file" and is_registered(scheme_of(uri))


def refuse_missing_bucket(uri: str) -> None:
    """Refuse the URI of an object, a pattern or a folder in a bucket that does not exist.

    Raises:
        MissingBucketError: with the remedy; not if the bucket cannot be asked for.
    """
    if not in_bucket(uri):
        return
    storage = open_storage(uri)
    if storage.is_missing():
        raise MissingBucketError(
            f"{uri!r}: there is no bucket {storage.bucket!r}: create it, or correct the name"
        )


def capabilities_of(uri: str) -> Capabilities:
    """Return the capabilities of the storage that a file's URI belongs to.

    Raises:
        KeyError: the scheme is not registered.
    """
    return _STORAGES[scheme_of(uri)].capabilities
