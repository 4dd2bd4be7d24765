"""Rules for the files, buckets, tables and topics that requests may name.

Local paths are refused unless they are below an allowed folder, with links resolved. Paths below
the root of the stores are always refused: as a source they would expose instances of other
stores, as a destination damage them.
"""

import functools
import os
import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote

from google.rpc.code_pb2 import PERMISSION_DENIED

from dicomferry.places.bounds import Access, Bounds
from dicomferry.places.overwriting import Overwrite
from dicomferry.places.place_set import Places
from dicomferry.sources.allowed_folders import AllowedFolders, is_below
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import in_bucket
from dicomferry.tables.destination import Place, kind_of
from dicomferry.tables.errors import TableError

_BUCKET = re.compile(r"[a-z0-9+.-]+://[a-z0-9][a-z0-9._-]*(?:/|$)")
_WILDCARD = re.compile(r"[*?]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# Some libraries drop them, so that the name means another place.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_CHARACTERS = 4096


class PlaceDeniedError(TableError):
    """A place that the rules do not allow; the message says by which, and the remedy.

    Jobs handle it as they handle what a table refuses.
    """

    code = PERMISSION_DENIED


class PlaceRules:
    """Bounds, all of which must allow a place, and the root of the stores, which none is in.

    Attributes:
        overwrite: which files exports may replace.
    """

    def __init__(
        self,
        *bounds: Bounds,
        root: Storage | None = None,
        overwrite: Overwrite = Overwrite.ANY,
    ) -> None:
        """Set the rules.

        Args:
            bounds: at least one, such as those of a server, and of a token.
            root: where stores are.
            overwrite: which files exports may replace.
        """
        if not bounds:
            raise TypeError("rules without bounds would allow every place")
        self._all = bounds
        self.overwrite = overwrite
        self._storage = root
        local_root = root.local_path() if root else None
        self._root = os.path.realpath(local_root) if local_root else ""
        self._bucket_root = root.root if root and not local_root else ""

    def also(self, bounds: Bounds | None) -> "PlaceRules":
        """Return these rules and further bounds."""
        every = (*self._all, *([bounds] if bounds else []))
        return PlaceRules(*every, root=self._storage, overwrite=self.overwrite)

    @property
    def bounds(self) -> Bounds:
        """What all of the bounds allow."""
        first, *others = self._all
        for each in others:
            first = first.both(each)
        return first

    def folders(self, access: Access) -> AllowedFolders:
        """Return the local folders, for checks of what links lead to once it is open."""
        return AllowedFolders(self.bounds.of(access).folders, self._root)

    def check(self, uri: str, access: Access) -> None:
        """Check a source, a destination, a table or a filter file.

        Args:
            uri: gs://…, file://…, a local path, or the URI of a table; a source can have
                wildcards.
            access: what is done with it.

        Raises:
            PlaceDeniedError: with the remedy.
            ValueError: it is not such a URI.
        """
        _check_text(uri)
        table = kind_of(uri)
        place = table.place(uri) if table else Place(uri, in_bucket=True)
        location = place.location
        if place.in_service:
            self._require(uri, access, lambda places: places.has_remote(location))
        elif in_bucket(location) and place.in_bucket:
            self._check_bucket(uri, place, access)
        elif location.startswith("/") or (location.startswith("file://") and not table):
            for path in _readings(location):
                self._check_local(uri, place._replace(location=path), access)
        elif _SCHEME.match(location):
            raise ValueError(
                f"{uri!r} is not supported: use gs://bucket/…, bq://project.dataset.table, "
                "or a local path, as duckdb:FILE#table or delta:FOLDER for a table"
            )
        else:
            raise ValueError(
                f"{uri!r} has no scheme: use gs://bucket/…, or an absolute path below a "
                "folder that this server allows"
            )

    def check_topic(self, name: str) -> None:
        """Check a topic that notifications are to be published to.

        Args:
            name: projects/P/topics/T.

        Raises:
            PlaceDeniedError: with the remedy.
        """
        self._require(name, Access.WRITE, lambda places: places.has_remote(name))

    def _require(self, uri: str, access: Access, is_in: Callable[[Places], bool]) -> None:
        for bounds in self._all:
            if not is_in(bounds.of(access)):
                raise _denied(uri, bounds.remedy.format(access=access))

    def _check_bucket(self, uri: str, place: Place, access: Access) -> None:
        location = place.location
        if not _BUCKET.match(location):
            raise ValueError(f"{uri!r} names no bucket: use gs://bucket/prefix")
        _refuse_dots(uri, location)
        self._require(uri, access, functools.partial(_has_bucket, location))
        fixed, root = _fixed(location), self._bucket_root
        # Destinations lose the slashes after the bucket and at their end.
        scheme, _, rest = fixed.partition("://")
        fixed = f"{scheme}://{re.sub('/+', '/', rest)}"
        reaches = fixed != location and root.startswith(fixed)
        takes_all = place.is_folder and is_below(root, fixed.rstrip("/"))
        if root and (is_below(fixed.rstrip("/"), root) or reaches or takes_all):
            raise _is_root(uri)

    def _check_local(self, uri: str, place: Place, access: Access) -> None:
        """Check the path with its wildcards as plain characters, and the folder before them."""
        path = place.location
        _refuse_dots(uri, path)
        fixed = _fixed(path)
        folder = fixed.rpartition("/")[0] or "/"
        for candidate in [path] if fixed == path else [path, folder]:
            resolved = os.path.realpath(candidate)
            self._require(uri, access, functools.partial(Places.has_local, path=resolved))
            reaches = (candidate != path or place.is_folder) and is_below(self._root, resolved)
            if self._root and (is_below(resolved, self._root) or reaches):
                raise _is_root(uri)


def _has_bucket(location: str, places: Places) -> bool:
    """Whether all objects of a bucket that a location names are in some places."""
    fixed = _fixed(location)
    if fixed == location or places.remote is None:
        return places.has_remote(location)
    # Before a wildcard stands the beginning of a name: that of a place must be complete.
    return any(is_below(fixed, place) and fixed != place for place in places.remote)


def _check_text(uri: str) -> None:
    if not uri or len(uri) > _MAX_CHARACTERS:
        raise ValueError(f"a URI has 1 to {_MAX_CHARACTERS} characters, got {len(uri)}")
    try:
        os.fsencode(uri)
    except UnicodeEncodeError:
        raise ValueError(f"{uri!r} is not valid text") from None
    if "%00" in uri or _CONTROL.search(uri):
        raise ValueError(f"{uri!r} has a control character: remove it")


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


def _is_root(uri: str) -> PlaceDeniedError:
    return _denied(uri, "reaches into the folder of the stores: use a folder outside it")


def _denied(uri: str, why: str) -> PlaceDeniedError:
    return PlaceDeniedError(f"{uri!r} {why}")
