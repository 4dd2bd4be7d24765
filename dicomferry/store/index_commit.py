"""Commit files of rows that are written already: many files by one entry of the log.

Imports write and sync their rows first, any number at once, after a look into a version of the
index. What remains between the load of a version and its successor is a look at what was committed
since, and one write. A file is written anew only if it has lost rows meanwhile: because another
import was faster, or because their blobs were deleted (`dicomferry.store.vacuum`).

A commit whose answer was lost, or that another attempt of the same step made, is found by the names
of its files. If the files were written anew by that attempt, all of their rows are found in the
index, and nothing is committed twice. No attempt deletes a file: another one, at the same time or
after it was killed, may have to commit it.
"""

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dicomferry.storage.base import Storage
from dicomferry.storage.retries import repeat_until_committed
from dicomferry.store.commit_conflicts import CommitConflictError
from dicomferry.store.compaction import rewrite
from dicomferry.store.index import Index
from dicomferry.store.index_files import (
    Changes,
    WrittenFile,
    changes_of,
    index_folder,
    read_column,
)
from dicomferry.store.index_schema import Column
from dicomferry.store.renewal import renew, safe_time

T = TypeVar("T")
R = TypeVar("R")

# Of one commit: its entry in the log has half a megabyte, and 8 bytes a row are in memory.
_MAX_FILES = 1000
_MAX_ROWS = 20_000_000
_THREADS = 8


class PreparedFile(NamedTuple):
    """A file of new rows that is in no version yet.

    Attributes:
        file: written and synced.
        version: of the index, which has none of its rows.
        stored: when the oldest of its blobs was written or renewed at the earliest, in seconds
            since the epoch by the clock of the data folder.
    """

    file: WrittenFile
    version: int
    stored: float


class Committed(NamedTuple):
    """What became of prepared files.

    Attributes:
        changed: paths of those that lost rows: the index has these already, or their blobs are
            gone.
        commits: rows and seconds of each commit.
        lost_races: how often another writer was faster.
    """

    changed: set[str]
    commits: list[tuple[int, float]]
    lost_races: int


class _Pending(NamedTuple):
    """A prepared file, or what is left of it."""

    origin: str
    prepared: PreparedFile | None


def commit_files(data: Storage, files: Sequence[PreparedFile]) -> Committed:
    """Commit prepared files, up to a thousand at a time.

    Returns when every row is in the index, or is left out as `Committed.changed` tells.

    Args:
        data: the data folder of a store.
        files: no two of them have a UID in common.

    Raises:
        LookupError: the store was deleted meanwhile.
        CommitConflictError: a commit is refused although nobody else commits.
    """
    done = Committed(set(), [], 0)
    ordered = sorted(files, key=lambda prepared: prepared.file.path)
    own = {prepared.file.path for prepared in files}
    for some in _divided(ordered):
        committed = _Commit(data, some, own).run()
        done = Committed(
            done.changed | committed.changed,
            done.commits + committed.commits,
            done.lost_races + committed.lost_races,
        )
    return done


class _Commit:
    """One commit of several files."""

    def __init__(self, data: Storage, files: Sequence[PreparedFile], own: set[str]) -> None:
        self._data = data
        self._own = own
        self._hashes: dict[str, np.ndarray] = {}
        self._changes: dict[int, Changes] = {}
        folder = index_folder(data)
        # Outside the race: a file that is gone was committed long ago, or comes to be left out.
        is_there = _in_threads(lambda each: folder.head(each.file.path) is not None, files)
        self._pending = [
            _Pending(each.file.path, each if there else None)
            for each, there in zip(files, is_there, strict=True)
        ]
        self._changed = {each.origin for each in self._pending if each.prepared is None}
        self._lost_races = 0
        self._index = Index(data)
        self._is_fresh = True

    def run(self) -> Committed:
        rows, seconds = repeat_until_committed(
            self._try, CommitConflictError, lambda: self._index.version
        )
        commits = [(rows, seconds)] if rows else []
        return Committed(self._changed, commits, self._lost_races)

    def _try(self) -> tuple[int, float]:
        began = time.monotonic()
        if not self._is_fresh:
            self._index.refresh()
        self._is_fresh = False
        self._look_at_changes()
        files = [each.prepared.file for each in self._pending if each.prepared]
        if not files:
            return 0, 0.0
        try:
            self._index.append(files)
        except CommitConflictError:
            self._lost_races += 1
            raise
        return sum(file.bounds().rows for file in files), time.monotonic() - began

    def _look_at_changes(self) -> None:
        """Bring the files to the version that is loaded."""
        newest = self._index.version
        waiting = [(each.origin, each.prepared) for each in self._pending if each.prepared]
        oldest = min((prepared.version for _, prepared in waiting), default=newest)
        unread = set(range(oldest + 1, newest + 1)) - set(self._changes)
        self._changes |= changes_of(self._data, sorted(unread))
        files = frozenset(self._index.files)
        versions = {prepared.version for _, prepared in waiting}
        since = {version: self._since(version, files) for version in versions}
        waiting = [each for each in waiting if not self._is_committed(each[1], since, files)]
        looks = self._looks(waiting, since)
        # Most files have lost nothing, which takes no request: threads would only be in the way.
        is_idle = [
            look == [] and self._is_young(w[1]) for w, look in zip(waiting, looks, strict=True)
        ]
        self._pending = [
            _Pending(origin, prepared._replace(version=newest))
            for (origin, prepared), idle in zip(waiting, is_idle, strict=True)
            if idle
        ]
        others = [
            pair
            for pair, idle in zip(zip(waiting, looks, strict=True), is_idle, strict=True)
            if not idle
        ]
        for some in _in_threads(lambda pair: self._bring(*pair), others):
            self._pending += some

    def _since(self, version: int, files: frozenset[str]) -> Changes:
        """Return what was done after a version; what is in no file any more is not known."""
        changes = [self._changes[n] for n in range(version + 1, self._index.version + 1)]
        added = [file for change in changes for file in change.added]
        are_known = all(change.are_known for change in changes)
        return Changes(added, are_known and files.issuperset(file.path for file in added))

    def _is_committed(
        self, prepared: PreparedFile, since: Mapping[int, Changes], files: frozenset[str]
    ) -> bool:
        """Whether a file is in the index: the answer to a commit was lost, or came too late."""
        path = prepared.file.path
        added = since[prepared.version].added
        return path in files or any(file.path == path for file in added)

    def _looks(
        self, waiting: Sequence[tuple[str, PreparedFile]], since: Mapping[int, Changes]
    ) -> list[list[str] | None]:
        """Return for each file which files of the index have some of its UIDs; None for any."""
        looks: list[list[str] | None] = []
        rivals: dict[str, list[int]] = defaultdict(list)
        for number, (_, prepared) in enumerate(waiting):
            own, changes = prepared.file.bounds(), since[prepared.version]
            looks.append([] if changes.are_known else None)
            for file in changes.added if changes.are_known else ():
                overlaps = file.first <= own.last and own.first <= file.last
                if overlaps and file.path not in self._own:
                    rivals[file.path].append(number)
        compared = {number for numbers in rivals.values() for number in numbers}
        paths = [waiting[number][1].file.path for number in compared]
        unread = [path for path in paths if path not in self._hashes]
        self._hashes |= zip(unread, _in_threads(self._read_hashes, unread), strict=True)

        def compare(rival: str) -> list[int]:
            theirs = self._read_hashes(rival)
            return [
                n for n in rivals[rival] if _meet(self._hashes[waiting[n][1].file.path], theirs)
            ]

        for rival, numbers in zip(rivals, _in_threads(compare, list(rivals)), strict=True):
            for number in numbers:
                looks[number] = [*(looks[number] or ()), rival]
        return looks

    def _read_hashes(self, path: str) -> np.ndarray:
        """Return a hash of each UID of a file, sorted: 8 bytes stand for it."""
        uids = read_column(self._data, path, Column.SOP_INSTANCE_UID).to_pylist()
        return np.sort(np.fromiter(map(hash, uids), np.int64, len(uids)))

    def _bring(self, waiting: tuple[str, PreparedFile], look: list[str] | None) -> list[_Pending]:
        """Return what there is to commit of a file to the version that is loaded."""
        origin, prepared = waiting
        path = prepared.file.path
        stored = self._find_stored(path, look) if look != [] else set()
        gone, renewed = self._renew(prepared)
        at_newest = prepared._replace(version=self._index.version, stored=renewed)
        if not stored and not gone:
            return [_Pending(origin, at_newest)]
        self._changed.add(origin)
        written = rewrite(
            self._data, path, self._index.schema, functools.partial(_is_left_out, stored, gone)
        )
        # Another attempt of this step may commit the file as it was, even now: it is a rival from
        # here on, and it is not deleted. What no version comes to have is left to `Index.vacuum`.
        self._own.discard(path)
        self._own.update(file.path for file in written)
        return [_Pending(origin, at_newest._replace(file=file)) for file in written]

    def _find_stored(self, path: str, among: list[str] | None) -> set[str]:
        """Return which UIDs of a file some of the index's files have, or any."""
        uids = read_column(self._data, path, Column.SOP_INSTANCE_UID).to_pylist()
        found = self._index.lookup(uids, among)
        return set(found[Column.SOP_INSTANCE_UID].to_pylist())

    def _is_young(self, prepared: PreparedFile) -> bool:
        """Whether all blobs of a file were written after the cut-off."""
        cutoff = self._index.cutoff
        return cutoff is None or prepared.stored >= safe_time(cutoff)

    def _renew(self, prepared: PreparedFile) -> tuple[set[str], float]:
        """Renew blobs that may be deleted; return those that are gone, and the oldest time."""
        cutoff = self._index.cutoff
        if cutoff is None or self._is_young(prepared):
            return set(), prepared.stored
        blobs = read_column(self._data, prepared.file.path, Column.BLOB_URI).to_pylist()
        return renew(self._data, blobs, cutoff), safe_time(cutoff)


def _divided(files: Sequence[PreparedFile]) -> Iterator[list[PreparedFile]]:
    some: list[PreparedFile] = []
    rows = 0
    for file in files:
        if some and (len(some) == _MAX_FILES or rows + file.file.bounds().rows > _MAX_ROWS):
            yield some
            some, rows = [], 0
        some.append(file)
        rows += file.file.bounds().rows
    if some:
        yield some


def _meet(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether sorted arrays have a number in common."""
    few, many = (ours, theirs) if len(ours) < len(theirs) else (theirs, ours)
    places = np.searchsorted(many, few)
    return bool((many[np.minimum(places, len(many) - 1)] == few).any()) if len(many) else False


def _is_left_out(uids: set[str], blobs: set[str], rows: pa.Table) -> pa.Array:
    is_stored = pc.is_in(rows[Column.SOP_INSTANCE_UID], pa.array(sorted(uids), pa.string()))
    is_gone = pc.is_in(rows[Column.BLOB_URI], pa.array(sorted(blobs), pa.string()))
    return pc.or_(is_stored, is_gone)


def _in_threads(function: Callable[[T], R], elements: Sequence[T]) -> list[R]:
    if len(elements) < 2:
        return list(map(function, elements))
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(function, elements))
