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
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from dicomferry.storage.base import Storage
from dicomferry.storage.retries import repeat_until_committed
from dicomferry.store.commit_conflicts import CommitConflictError
from dicomferry.store.index import Index
from dicomferry.store.index_files import IndexFile, WrittenFile, index_folder, read_column
from dicomferry.store.index_rivals import OwnFile, Rivals, in_threads
from dicomferry.store.index_schema import Column
from dicomferry.store.index_writing import IMPORTED
from dicomferry.store.renewal import renew, safe_time
from dicomferry.store.rewriting import rewrite

# Of one commit: its entry in the log has half a megabyte, and 16 bytes a row are in memory.
_MAX_FILES = 1000
_MAX_ROWS = 20_000_000
# Older files are not committed: `Index.vacuum` deletes those of 7 days that no version has.
_COMMITTED_SECONDS = 3 * 24 * 3600


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
        self._rivals = Rivals(data)
        # Outside the race: a file that is gone was committed long ago, or comes to be left out.
        self._pending = [
            _Pending(each.file.path, each if is_kept else None)
            for each, is_kept in zip(files, _are_kept(data, files), strict=True)
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
        since = self._rivals.since(self._index, {prepared.version for _, prepared in waiting})
        # The answer to a commit was lost, or came too late; it may have been compacted since.
        committed = set(self._index.files)
        committed.update(file.path for changes in since.values() for file in changes.added)
        waiting = [each for each in waiting if each[1].file.path not in committed]
        ours = [
            OwnFile(origin, prepared.file.bounds(), since[prepared.version])
            for origin, prepared in waiting
        ]
        looks = self._rivals.looks(ours, self._own)
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
        is_looked_into = any(look != [] for _, look in others)
        stats = {file.path: file for file in self._index.file_stats()} if is_looked_into else {}

        def bring(pair: tuple[tuple[str, PreparedFile], list[str] | None]) -> list[_Pending]:
            each, look = pair
            return self._bring(*each, [stats[path] for path in (stats if look is None else look)])

        for some in in_threads(bring, others):
            self._pending += some

    def _bring(
        self, origin: str, prepared: PreparedFile, among: Sequence[IndexFile]
    ) -> list[_Pending]:
        """Return what there is to commit of a file to the version that is loaded.

        Args:
            origin: the file that it is, or that it is left of.
            prepared: the file.
            among: the files of the index that may have some of its UIDs.
        """
        gone, renewed = self._renew(prepared)
        left_out = self._find_stored(prepared, among) | gone
        at_newest = prepared._replace(version=self._index.version, stored=renewed)
        if not left_out:
            return [_Pending(origin, at_newest)]
        self._changed.add(origin)
        # Another attempt of this step may commit the file as it was, even now: it is a rival from
        # here on, and it is not deleted. What no version comes to have is left to `Index.vacuum`.
        self._own.discard(prepared.file.path)
        written = self._rewrite(prepared.file, left_out)
        self._own.update(file.path for file in written)
        return [_Pending(origin, at_newest._replace(file=file)) for file in written]

    def _find_stored(self, prepared: PreparedFile, among: Sequence[IndexFile]) -> set[str]:
        """Return which UIDs of a file some files of the index have."""
        if not among:
            return set()
        uids = self._uids_of(prepared)
        try:
            found = self._index.lookup(uids, among)
        except FileNotFoundError:  # a deletion has purged it: look at what came in its place
            raise CommitConflictError("a file of the index was purged") from None
        return set(found[Column.SOP_INSTANCE_UID].to_pylist())

    def _uids_of(self, prepared: PreparedFile) -> list[str]:
        uids = read_column(self._data, prepared.file.path, Column.SOP_INSTANCE_UID)
        return list(uids.to_pylist())

    def _rewrite(self, file: WrittenFile, left_out: set[str]) -> list[WrittenFile]:
        if len(left_out) == file.bounds().rows:
            return []
        is_left_out = functools.partial(_is_among, left_out)
        return rewrite(self._data, file.path, self._index.schema, is_left_out, IMPORTED)

    def _is_young(self, prepared: PreparedFile) -> bool:
        """Whether all blobs of a file were written after the cut-off."""
        cutoff = self._index.cutoff
        return cutoff is None or prepared.stored >= safe_time(cutoff)

    def _renew(self, prepared: PreparedFile) -> tuple[set[str], float]:
        """Renew blobs that may be deleted; return whose are gone, and the oldest time."""
        cutoff = self._index.cutoff
        if cutoff is None or self._is_young(prepared):
            return set(), prepared.stored
        blobs = read_column(self._data, prepared.file.path, Column.BLOB_URI).to_pylist()
        gone = renew(self._data, blobs, cutoff)
        if not gone:
            return set(), safe_time(cutoff)
        pairs = zip(self._uids_of(prepared), blobs, strict=True)
        return {uid for uid, blob in pairs if blob in gone}, safe_time(cutoff)


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


def _are_kept(data: Storage, files: Sequence[PreparedFile]) -> list[bool]:
    """Whether each of some files is there, and stays until it is committed."""
    folder = index_folder(data)
    entries = in_threads(lambda each: folder.head(each.file.path), files)
    times = [0.0 if entry is None else entry.modified.timestamp() for entry in entries]
    now = time.time()
    if any(moment and now - moment > _COMMITTED_SECONDS / 2 for moment in times):
        # The storage's clock decides. It is read anew, as the machine may have been suspended.
        now = data.own_clock().timestamp()
    return [now - moment < _COMMITTED_SECONDS for moment in times]


def _is_among(uids: set[str], rows: pa.Table) -> pa.Array:
    return pa.array([uid in uids for uid in rows[Column.SOP_INSTANCE_UID].to_pylist()], pa.bool_())
