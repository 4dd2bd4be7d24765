"""Write instances of a store as files, in the asked-for form."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics import Metrics

from transforms.progress import Progress
from transforms.records import FAILED, Outcome
from transforms.worker_pool import shared_pool
from transforms.write_instance import FileTarget, StoredInstance, resource_path, write_all

_CHUNK_INSTANCES = 8


@dataclasses.dataclass
class ExportFiles(beam.PTransform):
    """Turn shares of stored instances into files; outputs one outcome an instance.

    At least once; harmless, since a file's name comes from its UIDs and a second attempt
    writes the same bytes. The work is done by a pool of processes (`workers`; 0: in this
    one), and an instance that kills or hangs its process fails alone.

    Counters, in namespace "export": instances, bytes, failed.
    """

    target: FileTarget
    workers: int
    progress: Progress

    def expand(self, shares: beam.PCollection[list[StoredInstance]]) -> beam.PCollection[Outcome]:
        """Wire it."""
        return shares | "Write" >> beam.ParDo(_WriteFn(self.target, self.workers, self.progress))


class _WriteFn(beam.DoFn):
    def __init__(self, target: FileTarget, workers: int, progress: Progress) -> None:
        self._target = target
        self._workers = workers
        self._progress = progress
        self._instances = Metrics.counter("export", "instances")
        self._bytes = Metrics.counter("export", "bytes")
        self._failed = Metrics.counter("export", "failed")

    def process(self, share: list[StoredInstance]) -> Iterator[Outcome]:
        pool = shared_pool(self._workers)
        step = _CHUNK_INSTANCES
        chunks = (share[i : i + step] for i in range(0, len(share), step))
        # A partial of a function that knows no Beam: workers stay small and start fast.
        write = functools.partial(write_all, target=self._target)
        for outcomes in pool.map(write, chunks, _lost, _seconds):
            self._count(outcomes)
            yield from outcomes

    def _count(self, outcomes: Sequence[Outcome]) -> None:
        failed = sum(outcome.outcome == FAILED for outcome in outcomes)
        size = sum(outcome.size for outcome in outcomes)
        self._instances.inc(len(outcomes))
        self._bytes.inc(size)
        self._failed.inc(failed)
        self._progress.add(Counter(read=len(outcomes), bytes=size, failed=failed))


def _seconds(instance: StoredInstance) -> float:
    """Far beyond what the slowest codec takes: 0.1 MB/s of what is stored, compressed."""
    return 20 + instance.size / 1e5


def _lost(instance: StoredInstance) -> Outcome:
    return Outcome(resource_path(instance), FAILED, "WORKER_LOST", instance.sop_instance_uid)
