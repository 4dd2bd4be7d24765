"""What others committed to an index since files were prepared, and which of these it concerns."""

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
        files = frozenset(index.files)
        newest = index.version
        wanted = set(range(min(versions, default=newest) + 1, newest + 1))
        self._changes |= changes_of(self._data, sorted(wanted - set(self._changes)))
        found: dict[int, Changes] = {}
        for version in versions:
            changes = [self._changes[number] for number in range(version + 1, newest + 1)]
            added = [file for change in changes for file in change.added]
            are_known = all(change.are_known for change in changes)
            are_there = files.issuperset(file.path for file in added)
            found[version] = Changes(added, are_known and are_there)
        return found

    def looks(self, ours: Sequence[OwnFile], own: Set[str]) -> list[list[str] | None]:
        """Return for each of our files which files have some of its UIDs; None for any.

        Args:
            ours: files that have no UID in common.
            own: paths of files that are no rivals of these.
        """
        looks: list[list[str] | None] = []
        rivals: dict[str, list[int]] = defaultdict(list)
        for number, (_, bounds, since) in enumerate(ours):
            looks.append([] if since.are_known else None)
            for file in since.added if since.are_known else ():
                overlaps = file.first <= bounds.last and bounds.first <= file.last
                if overlaps and file.path not in own:
                    rivals[file.path].append(number)
        # By their origins, of which others are parts: rows that are left out meet nothing any more.
        compared = {ours[number].origin for numbers in rivals.values() for number in numbers}
        unread = sorted(path for path in compared if path not in self._hashed)
        self._hashed.add(dict(zip(unread, in_threads(self._read_hashes, unread), strict=True)))
        meeting = in_threads(lambda rival: self._hashed.having(self._read_hashes(rival)), rivals)
        for (rival, numbers), origins in zip(rivals.items(), meeting, strict=True):
            for number in numbers:
                if ours[number].origin in origins:
                    looks[number] = [*(looks[number] or ()), rival]
        return looks

    def _read_hashes(self, path: str) -> np.ndarray:
        return hashes_of(read_column(self._data, path, Column.SOP_INSTANCE_UID))


def in_threads(function: Callable[[T], R], elements: Collection[T]) -> list[R]:
    """Return what a function that waits for the storage returns for each element."""
    if len(elements) < 2:
        return list(map(function, elements))
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(function, elements))
