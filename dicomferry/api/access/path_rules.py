"""Rules for the files and buckets that requests may name.

A job reads and writes with the permissions of the server: without rules a caller could reach every
file that the server can. Local paths are refused unless they are below an allowed folder, with
links resolved; buckets can be limited to prefixes. Paths below the root of the stores are always
refused: as a source they would expose instances of other stores, as a destination damage them.
"""

import os
import re
from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from google.rpc.code_pb2 import INVALID_ARGUMENT, PERMISSION_DENIED

from dicomferry.api.errors import ApiError
from dicomferry.sources.allowed_folders import is_below
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import in_bucket
from dicomferry.tables.destination import Place, kind_of

_BUCKET = re.compile(r"[a-z0-9+.-]+://[a-z0-9][a-z0-9._-]*(?:/|$)")
_WILDCARD = re.compile(r"[*?]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# Some libraries drop them, so that the name means another place.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_CHARACTERS = 4096


class PathRules:
    """Folders and prefixes that requests may name."""

    def __init__(
        self,
        allowed_folders: Sequence[str] = (),
        allowed_prefixes: Sequence[str] = (),
        root: Storage | None = None,
    ) -> None:
        """Set the rules.

        Args:
            allowed_folders: local folders; if empty, no local path is allowed.
            allowed_prefixes: gs://bucket or gs://bucket/prefix; if empty, all buckets are allowed.
            root: where stores are.

        Raises:
            ValueError: a folder does not exist, or a prefix is not gs://.
        """
        for folder in allowed_folders:
            if not os.path.isdir(folder):
                raise ValueError(f"--allow-path {folder} is not a folder: name one that exists")
        for prefix in allowed_prefixes:
            if not _is_bucket_prefix(prefix):
                raise ValueError(
                    f"--allow-prefix {prefix} is not a prefix: use gs://bucket or gs://bucket/prefix"
                )
        self.folders = tuple(os.path.realpath(folder) for folder in allowed_folders)
        self.prefixes = tuple(prefix.rstrip("/") for prefix in allowed_prefixes)
        local_root = root.local_path() if root else None
        self._root = os.path.realpath(local_root) if local_root else ""
        self._bucket_root = root.root if root and not local_root else ""

    def check(self, uri: str) -> None:
        """Check a source, a destination, a table or a filter file.

        Args:
            uri: gs://…, file://…, a local path, or the URI of a table; a source can have
                wildcards.

        Raises:
            ApiError: PERMISSION_DENIED with the remedy; INVALID_ARGUMENT if it is not such a URI.
        """
        _check_text(uri)
        table = kind_of(uri)
        place = table.place(uri) if table else Place(uri, in_bucket=True)
        if place is None:
            return  # a service with permissions of its own
        location = place.location
        if in_bucket(location) and place.in_bucket:
            self._check_bucket(uri, place)
        elif location.startswith("/") or (location.startswith("file://") and not table):
            for path in _readings(location):
                self._check_local(uri, place._replace(location=path))
        elif _SCHEME.match(location):
            raise ApiError(
                INVALID_ARGUMENT,
                f"{uri!r} is not supported: use gs://bucket/…, bq://project.dataset.table, "
                "or a local path, as duckdb:FILE#table or delta:FOLDER for a table",
            )
        else:
            raise ApiError(
                INVALID_ARGUMENT,
                f"{uri!r} has no scheme: use gs://bucket/…, or an absolute path below a "
                "folder that this server allows",
            )

    def _check_bucket(self, uri: str, place: Place) -> None:
        location = place.location
        if not _BUCKET.match(location):
            raise ApiError(INVALID_ARGUMENT, f"{uri!r} names no bucket: use gs://bucket/prefix")
        _refuse_dots(uri, location)
        fixed = _fixed(location)
        if self.prefixes and not any(
            is_below(fixed, prefix) and (fixed == location or fixed != prefix)
            for prefix in self.prefixes
        ):
            raise _denied(
                uri,
                "is not below a prefix that this server allows: it is started with "
                "--allow-prefix gs://bucket/prefix",
            )
        root = self._bucket_root
        # Destinations lose the slashes after the bucket and at their end.
        scheme, _, rest = fixed.partition("://")
        fixed = f"{scheme}://{re.sub('/+', '/', rest)}"
        reaches = fixed != location and root.startswith(fixed)
        takes_all = place.is_folder and is_below(root, fixed.rstrip("/"))
        if root and (is_below(fixed.rstrip("/"), root) or reaches or takes_all):
            raise _is_root(uri)

    def _check_local(self, uri: str, place: Place) -> None:
        """Check the path with its wildcards as plain characters, and the folder before them."""
        path = place.location
        _refuse_dots(uri, path)
        fixed = _fixed(path)
        folder = fixed.rpartition("/")[0] or "/"
        for candidate in [path] if fixed == path else [path, folder]:
            resolved = os.path.realpath(candidate)
            if not any(is_below(resolved, allowed) for allowed in self.folders):
                raise _denied(
                    uri,
                    "is not below a folder that this server allows: it is started with "
                    "--allow-path DIR; or use gs://bucket/…",
                )
            reaches = (candidate != path or place.is_folder) and is_below(self._root, resolved)
            if self._root and (is_below(resolved, self._root) or reaches):
                raise _is_root(uri)


def _is_bucket_prefix(prefix: str) -> bool:
    bucket = prefix.partition("://")[2].partition("/")[0]
    return in_bucket(prefix) and bool(bucket) and not _WILDCARD.search(prefix)


def _check_text(uri: str) -> None:
    if not uri or len(uri) > _MAX_CHARACTERS:
        raise ApiError(
            INVALID_ARGUMENT, f"a URI has 1 to {_MAX_CHARACTERS} characters, got {len(uri)}"
        )
    try:
        os.fsencode(uri)
    except UnicodeEncodeError:
        raise ApiError(INVALID_ARGUMENT, f"{uri!r} is not valid text") from None
    if "%00" in uri or _CONTROL.search(uri):
        raise ApiError(INVALID_ARGUMENT, f"{uri!r} has a control character: remove it")


def _readings(location: str) -> Iterator[str]:
    """Yield every path that a location can mean.

    In a source, %XX in file:// means a byte and a host can come first; a destination is used as it
    is. All of them must be allowed.
    """
    if not location.startswith("file://"):
        yield location
        return
    plain = location.removeprefix("file://")
    host, _, rest = plain.partition("/")
    for path in (plain, f"/{rest}") if host == "localhost" else (plain,):
        yield path if path.startswith("/") else os.path.abspath(path)
        decoded = unquote(path, errors="surrogateescape")
        yield decoded if decoded.startswith("/") else os.path.abspath(decoded)


def _fixed(location: str) -> str:
    """Return the part before the first wildcard."""
    return _WILDCARD.split(location, maxsplit=1)[0]


def _refuse_dots(uri: str, path: str) -> None:
    # Decoded too, since some clients treat names of objects as parts of a URL.
    if ".." in f"{path}/{unquote(path)}".split("/"):
        raise _denied(uri, "has '..', which is refused: name the folder itself")


def _is_root(uri: str) -> ApiError:
    return _denied(uri, "reaches into the folder of the stores: use a folder outside it")


def _denied(uri: str, why: str) -> ApiError:
    return ApiError(PERMISSION_DENIED, f"{uri!r} {why}")
