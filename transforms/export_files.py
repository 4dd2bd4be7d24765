"""Write instances of a store as files, in a requested format."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from dicomferry.dicom.transfer_syntaxes import is_encapsulated
from dicomferry.errors import Reason
from dicomferry.operations.outcomes import Outcome, ProgressCounts
from dicomferry.pixels.formats import DICOM, Format
from dicomferry.storage.retries import patience
from dicomferry.transforms.batch_by_size import batch_by_size
from dicomferry.transforms.progress import ProgressReporter
from dicomferry.transforms.records import FileOutcome
from dicomferry.transforms.worker_pool import Work, shared_pool
from dicomferry.transforms.write_instance import (
    FileTarget,
    StoredInstance,
    discard,
    is_copied,
    resource_path,
    write_all,
)

# Enough to be worth handing over, little enough that no core is idle for long at the end of a job.
_CHUNK_INSTANCES = 64
_CHUNK_BYTES = 32 << 20  # of copies: the last files of a chunk are waited for until they are synced
_RENDER_COST = 4  # at least so many times the cost of copying
_CODEC_COST = 16


@dataclasses.dataclass
class ExportFiles(beam.PTransform):
    """Turn shares of stored instances into files.

    At least once; harmless, since a file's name comes from its UIDs and a second attempt writes
    the same bytes. A pool of processes does the work (`workers`; 0: in this process), and an
    instance that kills or hangs its process fails alone.

    Counters, in namespace "export": instances, written, bytes, failed. Distribution:
    instance_bytes.
    """

    target: FileTarget
    workers: int
    progress: ProgressReporter

    def expand(
        self, shares: beam.PCollection[list[StoredInstance]]
    ) -> beam.PCollection[FileOutcome]:
        """Write every instance of every share.

        Returns:
            One outcome per instance.
        """
        return shares | "Write" >> beam.ParDo(_WriteFn(self.target, self.workers, self.progress))


class _WriteFn(beam.DoFn):
    def __init__(self, target: FileTarget, workers: int, progress: ProgressReporter) -> None:
        self._target = target
        self._workers = workers
        self._progress = progress
        self._instances = Metrics.counter("export", "instances")
        self._bytes = Metrics.counter("export", "bytes")
        self._work: Work[StoredInstance, FileOutcome]
        self._written = Metrics.counter("export", "written")
        self._failed = Metrics.counter("export", "failed")
        self._instance_bytes = Metrics.distribution("export", "instance_bytes")

    def start_bundle(self) -> None:
        pool = shared_pool(self._workers)
        # A partial of a function that knows no Beam: workers stay small and start fast.
        write = functools.partial(write_all, target=self._target)
        timeout_for = functools.partial(_timeout_for, target=self._target)
        self._work = pool.open(write, self._on_worker_lost, timeout_for)

    def process(self, share: list[StoredInstance]) -> Iterator[FileOutcome]:
        # Chunks in progress at the end of a share continue while the next one is read.
        cost = functools.partial(_cost, target=self._target.format)
        for chunk in batch_by_size(share, cost, _CHUNK_INSTANCES, _CHUNK_BYTES):
            for outcomes in self._work.submit(chunk):
                yield from self._counted(outcomes)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for outcomes in self._work.drain():
            yield from map(GlobalWindows.windowed_value, self._counted(outcomes))

    def _on_worker_lost(self, instance: StoredInstance) -> FileOutcome:
        discard(instance, self._target)
        return FileOutcome(
            resource_path(instance), Outcome.FAILED, Reason.WORKER_LOST, instance.sop_instance_uid
        )

    def _counted(self, outcomes: Sequence[FileOutcome]) -> Sequence[FileOutcome]:
        failed = sum(outcome.outcome == Outcome.FAILED for outcome in outcomes)
        size = sum(outcome.size for outcome in outcomes)
        for outcome in outcomes:
            self._instance_bytes.update(outcome.size)
        self._instances.inc(len(outcomes))
        self._bytes.inc(size)
        self._written.inc(len(outcomes) - failed)
        self._failed.inc(failed)
        self._progress.add(ProgressCounts(len(outcomes), failed, size, len(outcomes) - failed))
        return outcomes


def _cost(instance: StoredInstance, target: Format) -> int:
    """Return the instance's bytes, times what the work for each is more than that of a copy."""
    source = instance.transfer_syntax_uid
    if is_copied(instance, target):
        return instance.size
    to_codec = target.media_type == DICOM and is_encapsulated(target.transfer_syntax)
    return instance.size * (_CODEC_COST if to_codec or is_encapsulated(source) else _RENDER_COST)


def _timeout_for(instance: StoredInstance, target: FileTarget) -> float:
    """Return seconds far beyond what the slowest codec takes: 0.1 MB/s of it, and an outage."""
    storages = target.data.capabilities, target.destination.capabilities
    return 10 + instance.size / 1e5 + patience(*storages)
