"""Keep what was read of sources until it is committed, and take what an earlier import kept.

Kept rows point at blobs of which no row of the index may know yet, so they count like rows that an
import has in memory: `stores vacuum` and `stores delete-instances` raise the cut-off of the index
before they delete blobs, and rows of blobs from before the cut-off are not taken. Those of a
cut-off that comes later find out when they are committed (`dicomferry.store.vacuum`).
"""

import functools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from dicomferry.sources.source import Source
from dicomferry.storage.clock import clock_of
from dicomferry.store.deletion import end_if_deleted
from dicomferry.store.index import Index
from dicomferry.store.kept_reads import folder_of_reads, read_kept, write_kept
from dicomferry.store.renewal import safe_time
from dicomferry.transforms.ingest import ImportTarget
from dicomferry.transforms.read_units import (
    SCHEMA,
    Result,
    from_table,
    is_worth_keeping,
    name_of,
    source_of,
    to_table,
    units,
)
from dicomferry.transforms.records import Instance

# A day before vacuum may take the blobs.
_TAKEN_SECONDS = 6 * 24 * 3600
_WRITTEN_BEHIND = 2
# Metadata of a unit. What is beyond is read again.
_KEPT_BYTES = 8 << 20


class Unit:
    """Sources that are kept as a whole.

    Attributes:
        path: of the file that they are kept in; '' if they are not worth one.
        taken: what an earlier import read of some.
        missing: the others.
    """

    def __init__(self, path: str, sources: Sequence[Source], kept: Sequence[Result]) -> None:
        """Divide sources by whether there is a result of them."""
        results = {source_of(result): result for result in kept}
        found = [results.get((source.uri, source.version)) for source in sources]
        self.path = path
        self.taken = [result for result in found if result]
        self.missing = [s for s, result in zip(sources, found, strict=True) if not result]
        self._read: list[Result] = []
        self._read_count = 0
        self._size = sum(map(_metadata_size, self.taken))

    def add(self, result: Result) -> bool:
        """Add what was read of the next source that was missing; return whether it was the last."""
        self._read_count += 1
        size = self._size + _metadata_size(result)
        if self.path and size <= _KEPT_BYTES:
            self._read.append(result)
            self._size = size
        return self._read_count == len(self.missing)

    def results(self) -> list[Result]:
        """Return what was taken and read, with no more than 8 MiB of Metadata."""
        return self.taken + self._read


class KeptReads:
    """What imports have read of the sources of a store, before it is committed.

    For one bundle: `finish` ends it.
    """

    def __init__(self, target: ImportTarget) -> None:
        """Name the store, and what may be read."""
        self._target = target
        # One can look while another writes.
        self._threads = ThreadPoolExecutor(max(2, target.data.capabilities.concurrency))
        self._written: deque[Future[None]] = deque()

    def take(self, sources: Sequence[Source]) -> list[Unit]:
        """Divide sources into units, with what is kept of them."""
        divided = list(units(sources))
        paths = [self._path_of(unit) for unit in divided]
        kept = self._threads.map(self._read, paths)
        return [
            Unit(path, unit, list(self._valid(results)))
            for path, unit, results in zip(paths, divided, kept, strict=True)
        ]

    def _path_of(self, sources: Sequence[Source]) -> str:
        if self._target.dry_run or not is_worth_keeping(sources):
            return ""
        return f"{self._folder}/{name_of(sources, self._target.allowed_folders)}"

    @functools.cached_property
    def _folder(self) -> str:
        return folder_of_reads(self._target.data)

    def _read(self, path: str) -> list[Result]:
        table = read_kept(self._target.data, path, SCHEMA) if path else None
        return [] if table is None else from_table(table)

    def _valid(self, results: Sequence[Result]) -> Iterator[Result]:
        for result in results:
            if not isinstance(result, Instance) or result.stored >= self._oldest:
                yield result

    @functools.cached_property
    def _oldest(self) -> float:
        """The time from which a blob that has no row yet is surely there."""
        data = self._target.data
        cutoff = Index(data).cutoff
        oldest = clock_of(data).now() - _TAKEN_SECONDS
        return oldest if cutoff is None else max(oldest, safe_time(cutoff))

    def keep(self, unit: Unit) -> None:
        """Keep a unit whose sources are all read; it may be written a little later."""
        if unit.path:
            self._written.append(self._threads.submit(self._write, unit.path, unit.results()))
        while len(self._written) > _WRITTEN_BEHIND:
            self._written.popleft().result()

    def finish(self) -> None:
        """Wait until everything is written."""
        while self._written:
            self._written.popleft().result()
        self._threads.shutdown()

    def _write(self, path: str, results: Sequence[Result]) -> None:
        write_kept(self._target.data, path, to_table(results))
        end_if_deleted(self._target.data)


def _metadata_size(result: Result) -> int:
    return len(result.metadata) if isinstance(result, Instance) else 0
