"""What others committed to an index since files were prepared, and which of these it concerns."""

import itertools
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from dicomferry.storage.base import Storage
from dicomferry.store.index import Index
from dicomferry.store.index_files import Changes, IndexFile, changes_of, read_column
from dicomferry.store.index_schema import Column
from dicomferry.store.uid_hashes import HashedFiles, hashes_of

T = TypeVar("T")
R = TypeVar("R")

_THREADS = 8


class OwnFile(NamedTuple):
    """A file that is not committed.

    Attributes:
        origin: the file that it is, or that it is left of.
        bounds: its own.
        since: what was done to the index since its rows were looked up.
    """

    origin: str
    bounds: IndexFile
    since: Changes


class Rivals:
    """The files that others commit meanwhile. Of each, and of ours, the UIDs are read once."""

    def __init__(self, data: Storage) -> None:
        """Begin without any."""
        self._data = data
        self._hashed = HashedFiles()
        self._changes: dict[int, Changes] = {}

    def since(self, index: Index, versions: Set[int]) -> dict[int, Changes]:
        """Return what was done after each of some versions, until that of an index.

        What is in no file any more is not known.
        """
        newest, files = index.version, frozenset(index.files)
        oldest = min(versions, default=newest)
        wanted = set(range(oldest + 1, newest + 1))
        self._changes |= changes_of(self._data, sorted(wanted - set(self._changes)))
        found: dict[int, Changes] = {}
        added: list[IndexFile] = []  # the newest first
        are_known = True
        for version in range(newest, oldest - 1, -1):
            if version in versions:
                found[version] = Changes(added[::-1], are_known)
            if version > oldest:
                changes = self._changes[version]
                added += changes.added[::-1]
                are_there = files.issuperset(file.path for file in changes.added)
                are_known = are_known and changes.are_known and are_there
        return found

    def looks(self, ours: Sequence[OwnFile], own: Set[str]) -> list[list[str] | None]:
        """Return for each of our files which files have some of its UIDs; None for any.

        Args:
            ours: files that have no UID in common.
            own: paths of files that are no rivals of these.
        """
        known = [each for each in ours if each.since.are_known]
        rivals = {
            file.path: file
            for added in {id(each.since): each.since.added for each in known}.values()
            for file in added
            if file.path not in own
        }
        bounds = [each.bounds for each in known]
        near = [file.path for file in overlapping(list(rivals.values()), bounds)]
        compared = set(overlapping(bounds, list(rivals.values())))
        # By their origins, of which others are parts: rows that are left out meet nothing any more.
        origins = sorted({each.origin for each in known if each.bounds in compared})
        unread = [path for path in origins if path not in self._hashed]
        self._hashed.add(dict(zip(unread, in_threads(self._read_hashes, unread), strict=True)))
        meeting: dict[str, list[str]] = defaultdict(list)
        found = in_threads(lambda rival: self._hashed.having(self._read_hashes(rival)), near)
        for rival, met in zip(near, found, strict=True):
            for origin in met:
                meeting[origin].append(rival)
        return [meeting[each.origin] if each.since.are_known else None for each in ours]

    def _read_hashes(self, path: str) -> np.ndarray:
        return hashes_of(read_column(self._data, path, Column.SOP_INSTANCE_UID))


def overlapping(files: Sequence[IndexFile], others: Sequence[IndexFile]) -> list[IndexFile]:
    """Return the files whose bounds overlap those of any other file, in their order."""
    ordered = sorted(others, key=lambda file: file.first)
    firsts = [file.first for file in ordered]
    lasts = list(itertools.accumulate((file.last for file in ordered), max))
    found = []
    for file in files:
        before = bisect_right(firsts, file.last)  # so many others begin before it ends
        if before and lasts[before - 1] >= file.first:
            found.append(file)
    return found


def in_threads(function: Callable[[T], R], elements: Collection[T]) -> list[R]:
    """Return what a function that waits for the storage returns for each element."""
    if len(elements) < 2:
        return list(map(function, elements))
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(function, elements))
