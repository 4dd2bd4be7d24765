"""Commit instances to the index: files of rows first, then few commits, then what became of each.

Every bucket is prepared at once with the others. The commits are one step for the whole job, or
part of a job. Outcomes are told after them: a bucket of which a file lost rows to another import
is looked up again.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from dicomferry.errors import Reason
from dicomferry.operations.outcomes import Outcome, ProgressCounts
from dicomferry.storage.base import Storage
from dicomferry.store.index import Index
from dicomferry.store.index_commit import PreparedFile, commit_files
from dicomferry.store.index_schema import Column
from dicomferry.store.purged_files import repeat_where_purged
from dicomferry.transforms.dedupe import Verdict, resolve_copies
from dicomferry.transforms.prepare_instances import JudgedCopies, PrepareInstances, prepare
from dicomferry.transforms.progress import ProgressReporter
from dicomferry.transforms.records import FileOutcome, Instance


@dataclasses.dataclass
class CommitInstances(beam.PTransform):
    """Commit instances; outputs one FileOutcome per instance.

    Input: (bucket number, instances), all copies of a UID in one bucket. At least once; a second
    attempt finds its own rows and returns the same.

    Counters, in namespace "commit": commits, retries, instances. Distributions, per commit: rows,
    append_ms.
    """

    data: Storage
    operation: str
    dry_run: bool = False
    progress: ProgressReporter = dataclasses.field(default_factory=ProgressReporter)

    def expand(self, buckets: beam.PCollection[tuple[int, Iterable[Instance]]]) -> Any:
        """Prepare each bucket, commit all files, and say what became of each instance."""
        prepared = buckets | PrepareInstances(self.data, self.operation, self.dry_run)
        changed = (
            prepared.files
            | "KeyAlike" >> beam.Map(lambda file: (0, file))
            | "GatherFiles" >> beam.GroupByKey()
            | "Commit" >> beam.ParDo(_CommitFn(self.data))
        )
        confirm = beam.ParDo(_ConfirmFn(self), beam.pvalue.AsIter(changed))
        confirmed = prepared.judged | "Confirm" >> confirm  # after all commits
        return (prepared.outcomes, confirmed) | "AllCopies" >> beam.Flatten()


def commit(
    data: Storage, instances: Iterable[Instance], operation: str, *, dry_run: bool = False
) -> list[Verdict]:
    """Commit instances, all copies of some UIDs, and return the verdict on each.

    Raises:
        LookupError: the store was deleted meanwhile.
        CommitConflictError: a commit is refused although nobody else commits.
    """
    prepared = prepare(data, instances, operation, dry_run=dry_run)
    load = functools.cache(lambda: Index(data))
    changed = commit_files(data, prepared.files).changed if prepared.files else set()
    return [
        verdict
        for judged in prepared.judged()
        for verdict in confirm(load, judged, changed, operation)
    ]


def confirm(
    load: Callable[[], Index], judged: JudgedCopies, changed: Set[str], operation: str
) -> list[Verdict]:
    """Return the verdicts on copies, after the commit of their files.

    Args:
        load: returns a version of the index after the commit; called if the verdicts need it.
        judged: the verdicts before the commit.
        changed: paths of files that lost rows. What the index has by now decides then; a copy that
            it has nothing of has lost its blob.
        operation: id of the running import.
    """
    if changed.isdisjoint(judged.files):
        return judged.verdicts
    uids = sorted({verdict.copy.sop_instance_uid for verdict in judged.verdicts})
    index = load()
    found = repeat_where_purged(index, lambda: index.lookup(uids))
    rows = {row[Column.SOP_INSTANCE_UID]: row for row in found.to_pylist()}
    confirmed: list[Verdict] = []
    for verdict in judged.verdicts:
        row = rows.get(verdict.copy.sop_instance_uid)
        if verdict.outcome == Outcome.FAILED:
            confirmed.append(verdict)
        elif row is None:
            confirmed.append(Verdict(verdict.copy, Outcome.FAILED, "", is_new=False))
        else:
            confirmed += resolve_copies([verdict.copy], row, operation)
    return confirmed


class _CommitFn(beam.DoFn):
    def __init__(self, data: Storage) -> None:
        self._data = data

    def process(self, files: tuple[int, Iterable[PreparedFile]]) -> Iterator[str]:
        committed = commit_files(self._data, list(files[1]))
        Metrics.counter("commit", "retries").inc(committed.lost_races)
        for rows, seconds in committed.commits:
            Metrics.counter("commit", "commits").inc()
            Metrics.distribution("commit", "rows").update(rows)
            Metrics.distribution("commit", "append_ms").update(round(seconds * 1000))
        yield from committed.changed


class _ConfirmFn(beam.DoFn):
    def __init__(self, options: CommitInstances) -> None:
        self._data = options.data
        self._operation = options.operation
        self._dry_run = options.dry_run
        self._progress = options.progress

    def start_bundle(self) -> None:
        self._changed: Set[str] | None = None
        self._load = functools.cache(lambda: Index(self._data))

    def process(self, judged: JudgedCopies, changed: Iterable[str]) -> Iterator[FileOutcome]:
        if self._changed is None:  # the same for all of a bundle
            self._changed = frozenset(changed)
        verdicts = confirm(self._load, judged, self._changed, self._operation)
        self._count(verdicts)
        yield from map(_outcome, verdicts)

    def _count(self, verdicts: Sequence[Verdict]) -> None:
        stored = sum(v.outcome in (Outcome.IMPORTED, Outcome.DUPLICATE) for v in verdicts)
        if stored and not self._dry_run:
            Metrics.counter("commit", "instances").inc(stored)
            self._progress.add(ProgressCounts(committed=stored))
            self._progress.report()


_CODES = {Outcome.CONFLICT: Reason.ALREADY_EXISTS, Outcome.FAILED: Reason.BLOB_DELETED}


def _outcome(verdict: Verdict) -> FileOutcome:
    copy = verdict.copy
    return FileOutcome(
        copy.source_uri,
        verdict.outcome,
        _CODES.get(verdict.outcome, ""),
        copy.sop_instance_uid,
        verdict.other,
        copy.size,
        copy.source_version,
    )
