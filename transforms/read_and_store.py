"""Read each source once and store its bytes; only the commit remains to be done."""

import dataclasses
import functools
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from dicomferry.errors import Reason
from dicomferry.operations.outcomes import Outcome, ProgressCounts
from dicomferry.sources.source import Source
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import capabilities_of
from dicomferry.storage.retries import patience
from dicomferry.transforms.batch_by_size import batch_by_size
from dicomferry.transforms.ingest import ImportTarget, ingest_all
from dicomferry.transforms.keep_reads import KeptReads, Unit
from dicomferry.transforms.progress import ProgressReporter
from dicomferry.transforms.read_units import Result
from dicomferry.transforms.records import FileOutcome, Instance
from dicomferry.transforms.worker_pool import shared_pool

# Enough to hide the cost of handing over, few enough to keep all workers busy until the end of a
# share and to show progress.
_CHUNK_FILES = 16
_CHUNK_BYTES = 64 << 20


@dataclasses.dataclass
class ReadAndStore(beam.PTransform):
    """Turn shares of sources into instances whose blobs are stored.

    At least once; harmless, since a blob is named after its content. A pool of processes reads the
    files (`workers`; 0: in this process). What was read is kept in the store until it is deleted by
    path (`DeleteKeptReads`), and what an earlier import kept is not read again.

    Counters, in namespace "read": files, bytes, failed; of these files, kept: not read again.
    Distribution: file_bytes.
    """

    target: ImportTarget
    workers: int
    progress: ProgressReporter

    def expand(self, shares: beam.PCollection[list[Source]]) -> Any:
        """Read every source of every share.

        Returns:
            A tuple of PCollections, whose annotation Beam would warn about. `instances`: an
            `Instance` per file whose blob is stored; `outcomes`: a `FileOutcome` per file that
            failed alone or has no instance of its own. A file is in exactly one. `kept`: paths of
            what is kept in the store.
        """
        return shares | "Read" >> beam.ParDo(
            _ReadFn(self.target, self.workers, self.progress)
        ).with_outputs("outcomes", "kept", main="instances")


class _ReadFn(beam.DoFn):
    def __init__(self, target: ImportTarget, workers: int, progress: ProgressReporter) -> None:
        self._target = target
        self._workers = workers
        self._progress = progress
        self._files = Metrics.counter("read", "files")
        self._bytes = Metrics.counter("read", "bytes")
        self._failed = Metrics.counter("read", "failed")
        self._kept = Metrics.counter("read", "kept")
        self._file_bytes = Metrics.distribution("read", "file_bytes")

    def start_bundle(self) -> None:
        self._reads = KeptReads(self._target)

    def process(self, share: list[Source]) -> Iterator[Any]:
        waiting: deque[Unit] = deque()
        yield from self._take(share, waiting)
        for results in self._read([source for unit in waiting for source in unit.missing]):
            self._count(results)
            for result in results:
                yield _tagged(result)
                if waiting[0].add(result):
                    self._reads.keep(waiting.popleft())

    def _take(self, share: Sequence[Source], waiting: deque[Unit]) -> Iterator[Any]:
        """Yield what is kept of a share; units of which something is missing are left waiting."""
        for unit in self._reads.take(share):
            if unit.path:
                yield TaggedOutput("kept", unit.path)
            if unit.taken:
                self._kept.inc(len(unit.taken))
                self._count(unit.taken)
                yield from map(_tagged, unit.taken)
            if unit.missing:
                waiting.append(unit)

    def _read(self, sources: Sequence[Source]) -> Iterator[Sequence[Result]]:
        """Yield the results of sources, in their order."""
        pool = shared_pool(self._workers)
        # A partial of a function that knows no Beam: workers stay small and start fast.
        ingest = functools.partial(ingest_all, target=self._target)
        timeout_for = functools.partial(_timeout_for, data=self._target.data)
        chunks = batch_by_size(sources, _size, _CHUNK_FILES, _CHUNK_BYTES)
        yield from pool.map(ingest, chunks, _on_worker_lost, timeout_for)

    def finish_bundle(self) -> None:
        self._reads.finish()
        self._progress.report()

    def _count(self, results: Sequence[Result]) -> None:
        failed = sum(isinstance(r, FileOutcome) and r.outcome == Outcome.FAILED for r in results)
        size = sum(result.size for result in results)
        for result in results:
            self._file_bytes.update(result.size)
        self._files.inc(len(results))
        self._bytes.inc(size)
        self._failed.inc(failed)
        self._progress.add(ProgressCounts(read=len(results), bytes=size, failed=failed))


def _tagged(result: Result) -> Any:
    return result if isinstance(result, Instance) else TaggedOutput("outcomes", result)


def _size(source: Source) -> int:
    """Return the bytes that occupy a core: where requests wait, many files are read at once."""
    return source.size if capabilities_of(source.uri).concurrency == 1 else 0


def _timeout_for(source: Source, data: Storage) -> float:
    """Return seconds far beyond what a slow disk or network takes: 1 MB/s, and an outage."""
    return 60 + source.size / 1e6 + patience(data.capabilities, capabilities_of(source.uri))


def _on_worker_lost(source: Source) -> FileOutcome:
    return FileOutcome(
        source.uri, Outcome.FAILED, Reason.WORKER_LOST, size=source.size, version=source.version
    )
