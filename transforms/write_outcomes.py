"""Write the outcome of every file beside the operation, and count the outcomes."""

import dataclasses
import itertools
import logging
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from google.rpc.code_pb2 import INTERNAL, INVALID_ARGUMENT

from dicomferry.errors import Reason
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.outcomes import Outcome, OutcomeCounts
from dicomferry.storage.base import Storage
from dicomferry.store.known_sources import remember_sources
from dicomferry.transforms.records import FileOutcome, to_line

_LOGGER = logging.getLogger(__name__)
_LOGGED_FAILURES = 100


@dataclasses.dataclass
class WriteOutcomes(beam.PTransform):
    """Write outcomes-{part}-{shard}.jsonl and counts-{part}.json.

    At least once: shards are named by part and hash, a retry replaces its own. Outputs one
    element when all is written: the counts of the part.

    Args (fields):
        folder: the operation's.
        part: names this run among the parts of the job.
        shards: how many files.
        fail_conflicts: whether a conflict counts as a failure.
        remember: data folder whose sources table gets the imported files, or None.
        entry: type of log entry for a failure, of google.cloud.healthcare.logging.
        is_remote: whether remote workers write the log: their lines have a severity and a text,
            but no fields.

    The first failures of each shard are logged too; the file has all of them.
    """

    folder: OperationFolder
    part: str
    shards: int = 1
    fail_conflicts: bool = True
    remember: Storage | None = None
    entry: str = "ImportDicomLogEntry"
    is_remote: bool = False

    def expand(self, outcomes: beam.PCollection[FileOutcome]) -> beam.PCollection[OutcomeCounts]:
        """Group outcomes by shard, write each shard, and sum the counts."""
        return (
            outcomes
            | "KeyByShard" >> beam.Map(_key_by_shard, self.shards)
            | "Gather" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(_WriteFn(self))
            | "Sum" >> beam.CombineGlobally(_sum)
            | "WriteCounts" >> beam.Map(_write_counts, self.folder, self.part)
        )


def report_unmatched(paths: Sequence[str], folder: OperationFolder) -> None:
    """Write a failure for each path of a filter that matches no instance."""
    if paths:
        outcomes = [FileOutcome(path, Outcome.FAILED, Reason.NO_SUCH_RESOURCE) for path in paths]
        lines = "".join(f"{to_line(outcome)}\n" for outcome in outcomes)
        folder.write_outcomes("filter", lines.encode())
        folder.write_counts("filter", count(outcomes, fail_conflicts=True))


def count(outcomes: Sequence[FileOutcome], *, fail_conflicts: bool) -> OutcomeCounts:
    """Count outcomes, bytes, and the conflicts that are failures."""
    by_outcome: Counter[str] = Counter(outcome.outcome for outcome in outcomes)
    return OutcomeCounts(
        **by_outcome,
        bytes=sum(outcome.size for outcome in outcomes),
        already_imported=sum(o.code == Reason.ALREADY_IMPORTED for o in outcomes),
        conflict_failed=by_outcome[Outcome.CONFLICT] if fail_conflicts else 0,
    )


def _key_by_shard(outcome: FileOutcome, shards: int) -> tuple[int, tuple[Any, ...]]:
    shard = zlib.crc32(outcome.source.encode("utf-8", "surrogateescape")) % shards
    source, kind, code, *rest = outcome
    return shard, (source, str(kind), str(code), *rest)  # plain, or Beam would pickle each


def _to_outcome(fields: tuple[Any, ...]) -> FileOutcome:
    source, kind, *rest = fields
    return FileOutcome(source, Outcome(kind), *rest)


class _WriteFn(beam.DoFn):
    def __init__(self, options: WriteOutcomes) -> None:
        self._folder = options.folder
        self._part = options.part
        self._fail_conflicts = options.fail_conflicts
        self._remember = options.remember
        self._entry = options.entry
        self._is_remote = options.is_remote

    def process(self, shard: tuple[int, Iterable[tuple[Any, ...]]]) -> Iterator[OutcomeCounts]:
        outcomes = sorted(map(_to_outcome, shard[1]))
        lines = "".join(f"{to_line(outcome)}\n" for outcome in outcomes)
        self._folder.write_outcomes(f"{self._part}-{shard[0]:05d}", lines.encode())
        failed = (
            o
            for o in outcomes
            if o.outcome == Outcome.FAILED
            or (o.outcome == Outcome.CONFLICT and self._fail_conflicts)
        )
        for outcome in itertools.islice(failed, _LOGGED_FAILURES):
            _log(outcome, self._folder.name, self._entry, self._is_remote)
        if self._remember:
            stored = (Outcome.IMPORTED, Outcome.DUPLICATE)
            known = [o for o in outcomes if o.outcome in stored and o.version]
            rows = [(o.source, o.size, o.version, str(o.outcome)) for o in known]
            remember_sources(self._remember, rows)
        yield count(outcomes, fail_conflicts=self._fail_conflicts)


def _log(outcome: FileOutcome, operation: str, entry: str, is_remote: bool) -> None:
    reason = Reason(outcome.code).sentence + (f" ({outcome.fault})" if outcome.fault else "")
    code = INTERNAL if outcome.code == Reason.INTERNAL_ERROR else INVALID_ARGUMENT
    # INFO for Python, so that only programs that write a log show it.
    _LOGGER.log(
        logging.ERROR if is_remote else logging.INFO,
        "%s: %s: %s%s",
        outcome.source,
        outcome.code,
        reason,
        f" ({operation})" if is_remote else "",
        extra={
            "severity": "ERROR",
            "operation": operation,
            "payload": {
                "@type": f"type.googleapis.com/google.cloud.healthcare.logging.{entry}",
                "error": {"code": code, "message": reason, "reason": outcome.code},
                "source": outcome.source,
            },
        },
    )


def _sum(counts: Iterable[OutcomeCounts]) -> OutcomeCounts:
    return sum(counts, OutcomeCounts())


def _write_counts(counts: OutcomeCounts, folder: OperationFolder, part: str) -> OutcomeCounts:
    folder.write_counts(part, counts)
    return counts
