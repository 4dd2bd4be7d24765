"""The filter that limits an export (DicomFilterConfig.resourcePathsGcsUri)."""

import functools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc

from dicomferry.sources.allowed_folders import AllowedFolders
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_file
from dicomferry.store.index_schema import UID_COLUMNS

_UID = r"[0-9]+(?:\.[0-9]+)*"
_PATH = re.compile(rf"/studies/({_UID})(?:/series/({_UID})(?:/instances/({_UID}))?)?/?")


# A million paths of instances.
_MAX_BYTES = 256 << 20


class FilterError(ValueError):
    """A filter file that cannot be used; the message says which line and why."""


class InstanceFilter(NamedTuple):
    """Paths by their depth; '/' joins the UIDs of one.

    Attributes:
        studies: "{study}".
        series: "{study}/{series}".
        instances: "{study}/{series}/{instance}".
    """

    studies: frozenset[str]
    series: frozenset[str]
    instances: frozenset[str]

    def mask(self, rows: pa.Table) -> pa.Array:
        """Return which rows match, as an array of booleans.

        Args:
            rows: with the three UIDs.
        """
        return functools.reduce(
            pc.or_,
            (_is_in(keys, among) for keys, among in zip(_keys(rows), self, strict=True)),
        )

    @property
    def paths(self) -> frozenset[str]:
        """All paths: UIDs joined by '/'."""
        return self.studies | self.series | self.instances

    def matched(self, rows: pa.Table) -> set[str]:
        """Return which of `paths` mean one of the rows."""
        return {
            key
            for keys, among in zip(_keys(rows), self, strict=True)
            if among
            for key in keys.unique().to_pylist()
            if key in among
        }

    def find(self, batches: Iterable[pa.RecordBatch]) -> tuple[int, list[str]]:
        """Compare all rows of an index with the paths.

        Returns:
            The number of rows that match, and the paths that match no row, sorted.
        """
        number = 0
        unmatched = self._paths()  # which share their strings: a million others would be 160 MB
        for batch in batches:
            rows = pa.Table.from_batches([batch])
            rows = rows.filter(self.mask(rows))
            number += rows.num_rows
            matched = self.matched(rows)
            for paths in unmatched:
                paths.difference_update(matched)
        return number, sorted(map(path_of, set().union(*unmatched)))

    def unmatched(self, uids: Iterable[str]) -> list[str]:
        """Return the paths that none of some instances is below, sorted.

        Args:
            uids: "{study}/{series}/{instance}" of each.
        """
        unmatched = self._paths()
        for each in uids:
            parts = each.split("/")
            for depth, paths in enumerate(unmatched, 1):
                paths.discard("/".join(parts[:depth]))
        return sorted(map(path_of, set().union(*unmatched)))

    def _paths(self) -> list[set[str]]:
        return [set(self.studies), set(self.series), set(self.instances)]


class StoredFilter(NamedTuple):
    """A filter in a file, which each process reads for itself: a graph is no place for its paths.

    Attributes:
        folder: where the file is.
        name: of the file.
    """

    folder: Storage
    name: str

    @classmethod
    def store(cls, instances: InstanceFilter, folder: Storage, name: str = "filter.txt") -> Self:
        """Write a filter into a folder."""
        folder.write(name, "".join(f"{path_of(uids)}\n" for uids in instances.paths).encode())
        return cls(folder, name)

    def load(self) -> InstanceFilter:
        """Return the filter; this process keeps it."""
        return _load(self)


@functools.lru_cache(maxsize=1)
def _load(stored: StoredFilter) -> InstanceFilter:
    lines = stored.folder.read(stored.name).splitlines()
    return InstanceFilter(*map(frozenset, _parse(lines, stored.name)))


def _keys(rows: pa.Table) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Return "{study}", "{study}/{series}" and "{study}/{series}/{instance}" of each row."""
    study, series, instance = (rows[name].combine_chunks() for name in UID_COLUMNS)
    in_series = pc.binary_join_element_wise(study, series, "/")
    return study, in_series, pc.binary_join_element_wise(in_series, instance, "/")


def _is_in(keys: pa.Array, among: frozenset[str]) -> pa.Array:
    if len(among) > len(keys):  # Arrow would hash all of them for each row group
        return pa.array([key in among for key in keys.to_pylist()], pa.bool_())
    return pc.is_in(keys, pa.array(among, pa.string()))


def check_filter_file(uri: str) -> None:
    """Refuse what cannot be a filter file; it is not opened.

    Raises:
        FilterError: there is no such file, it is a pipe or a device, or it is too large.
    """
    storage, name = open_file(uri)
    entry = storage.head(name) if name else None
    if entry is None:
        raise _missing(uri)
    if entry.size > _MAX_BYTES:
        raise FilterError(
            f"the filter file {uri} has more than {_MAX_BYTES >> 20} MiB: split it, or name series "
            "or studies instead of their instances"
        )


def read_instance_filter(uri: str, allowed: AllowedFolders | None = None) -> InstanceFilter:
    r"""Read a filter file, local or gs://: one path a line, \n or \r\n, empty lines ignored.

    Args:
        uri: of the file.
        allowed: folders that a local file must be in, once it is open; None: any.

    Raises:
        FilterError: there is no such file, it has no path, or a line is not one.
    """
    check_filter_file(uri)
    storage, name = open_file(uri)
    try:
        if allowed is not None and (path := storage.local_path(name)):
            lines = allowed.read(path, _MAX_BYTES).splitlines()
        else:
            lines = storage.read(name).splitlines()
    except FileNotFoundError:
        raise _missing(uri) from None
    paths = InstanceFilter(*map(frozenset, _parse(lines, uri)))
    if not any(paths):
        raise FilterError(f"{uri} has no resource path: write /studies/UID, one per line")
    return paths


def _missing(uri: str) -> FilterError:
    return FilterError(f"there is no filter file {uri}")


def _parse(lines: Iterable[bytes], uri: str) -> Iterator[set[str]]:
    levels: tuple[set[str], set[str], set[str]] = set(), set(), set()
    for number, line in enumerate(lines, 1):
        text = line.decode("utf-8", "replace").strip()
        if not text:
            continue
        match = _PATH.fullmatch(text)
        if not match:
            raise FilterError(
                f"line {number} of {uri} is not a resource path: "
                "write /studies/UID[/series/UID[/instances/UID]]"
            )
        uids = [uid for uid in match.groups() if uid]
        levels[len(uids) - 1].add("/".join(uids))
    yield from levels


def path_of(uids: str) -> str:
    """Return the resource path of UIDs that are joined by '/'."""
    names = ("studies", "series", "instances")
    return "".join(f"/{name}/{uid}" for name, uid in zip(names, uids.split("/"), strict=False))
