"""The filter that limits an export (DicomFilterConfig.resourcePathsGcsUri)."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dicomferry.sources.allowed_folders import AllowedFolders
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
        study, series, instance = (rows[name].combine_chunks() for name in UID_COLUMNS)
        in_series = pc.binary_join_element_wise(study, series, "/")
        in_instance = pc.binary_join_element_wise(in_series, instance, "/")
        is_match = pc.is_in(study, pa.array(self.studies, pa.string()))
        is_match = pc.or_(is_match, pc.is_in(in_series, pa.array(self.series, pa.string())))
        return pc.or_(is_match, pc.is_in(in_instance, pa.array(self.instances, pa.string())))

    def find(self, batches: Iterable[pa.RecordBatch]) -> tuple[int, list[str]]:
        """Compare all rows of an index with the paths.

        Returns:
            The number of rows that match, and the paths that match no row, sorted.
        """
        matched = 0
        unmatched = self._paths()
        for batch in batches:
            rows = pa.Table.from_batches([batch])
            rows = rows.filter(self.mask(rows))
            matched += rows.num_rows
            for row in zip(*(rows[name].to_pylist() for name in UID_COLUMNS), strict=True):
                for depth, paths in enumerate(unmatched, 1):
                    paths.discard("/".join(row[:depth]))
        return matched, sorted(map(_to_path, set().union(*unmatched)))

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
        return sorted(map(_to_path, set().union(*unmatched)))

    def _paths(self) -> list[set[str]]:
        return [set(self.studies), set(self.series), set(self.instances)]


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
        raise FilterError(f"{uri} has no resource path: write /studies/UID, one a line")
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


def _to_path(uids: str) -> str:
    names = ("studies", "series", "instances")
    return "".join(f"/{name}/{uid}" for name, uid in zip(names, uids.split("/"), strict=False))
