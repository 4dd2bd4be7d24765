"""List what became of every file beside the operation, and count it from that list."""

import dataclasses
import itertools
import json
import logging
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam

from dicomferry.errors import Reason
from dicomferry.operations.operations import INVALID_ARGUMENT, OperationFolder
from dicomferry.storage.base import Storage
from dicomferry.store.known_sources import remember_sources
from dicomferry.transforms.records import CONFLICT, DUPLICATE, FAILED, IMPORTED, FileOutcome

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
        remember: data folder whose sources table learns what was taken in, or None.
        entry: which of the API's log entries a failure is, google.cloud.healthcare.logging.
        is_remote: whether workers elsewhere write the log: their lines have a severity and a text,
            but no fields.

    The first failures of each shard are logged too, for whoever watches logs; the list has all.
    """

    folder: OperationFolder
    part: str
    shards: int = 1
    fail_conflicts: bool = True
    remember: Storage | None = None
    entry: str = "ImportDicomLogEntry"
    is_remote: bool = False

    def expand(self, outcomes: beam.PCollection[FileOutcome]) -> beam.PCollection[Counter[str]]:
        """Wire it."""
        return (
            outcomes
            | "KeyByShard" >> beam.Map(_key_by_shard, self.shards)
            | "Gather" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(_WriteFn(self))
            | "Sum" >> beam.CombineGlobally(_sum)
            | "WriteCounts" >> beam.Map(_write_counts, self.folder, self.part)
        )


def report_unmatched(paths: Sequence[str], folder: OperationFolder) -> None:
    """List the paths of a filter that no instance is below: each is a failure."""
    if paths:
        outcomes = [FileOutcome(path, FAILED, Reason.NO_SUCH_RESOURCE) for path in paths]
        lines = "".join(f"{to_line(outcome)}\n" for outcome in outcomes)
        folder.write_outcomes("filter", lines.encode())
        folder.write_counts("filter", count(outcomes, fail_conflicts=True))


def to_line(outcome: FileOutcome) -> str:
    """One outcome as a line of JSON: fixed words, URIs and UIDs, nothing else."""
    record: dict[str, Any] = {"source": outcome.source, "outcome": outcome.outcome}
    if outcome.code:
        record |= {"code": outcome.code, "reason": Reason(outcome.code).sentence}
    if outcome.sop_instance_uid:
        record["sopInstanceUid"] = outcome.sop_instance_uid
    if outcome.other:
        record["other"] = outcome.other
    record["bytes"] = outcome.size
    return json.dumps(record, ensure_ascii=False)


def count(outcomes: Iterable[FileOutcome], *, fail_conflicts: bool) -> Counter[str]:
    """Count outcomes, bytes, and the conflicts that are failures."""
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        counts[outcome.outcome] += 1
        counts["bytes"] += outcome.size
        if outcome.code == Reason.ALREADY_IMPORTED:
            counts["already_imported"] += 1
    if fail_conflicts and counts[CONFLICT]:
        counts["conflict_failed"] = counts[CONFLICT]
    return counts


def _key_by_shard(outcome: FileOutcome, shards: int) -> tuple[int, tuple[Any, ...]]:
    shard = zlib.crc32(outcome.source.encode("utf-8", "surrogateescape")) % shards
    return shard, tuple(outcome)  # plain, or Beam would pickle each


class _WriteFn(beam.DoFn):
    def __init__(self, options: WriteOutcomes) -> None:
        self._folder = options.folder
        self._part = options.part
        self._fail_conflicts = options.fail_conflicts
        self._remember = options.remember
        self._entry = options.entry
        self._is_remote = options.is_remote

    def process(self, shard: tuple[int, Iterable[tuple[Any, ...]]]) -> Iterator[Counter[str]]:
        outcomes = sorted(map(FileOutcome._make, shard[1]))
        lines = "".join(f"{to_line(outcome)}\n" for outcome in outcomes)
        self._folder.write_outcomes(f"{self._part}-{shard[0]:05d}", lines.encode())
        failed = (
            o
            for o in outcomes
            if o.outcome == FAILED or (o.outcome == CONFLICT and self._fail_conflicts)
        )
        for outcome in itertools.islice(failed, _LOGGED_FAILURES):
            _log(outcome, self._folder.name, self._entry, self._is_remote)
        if self._remember:
            taken = [o for o in outcomes if o.outcome in (IMPORTED, DUPLICATE) and o.version]
            rows = [(o.source, o.size, o.version, o.outcome) for o in taken]
            remember_sources(self._remember, rows)
        yield count(outcomes, fail_conflicts=self._fail_conflicts)


def _log(outcome: FileOutcome, operation: str, entry: str, is_remote: bool) -> None:
    reason = Reason(outcome.code).sentence
    # Here of severity INFO for Python, so that only programs that write a log show it.
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
                "error": {"code": INVALID_ARGUMENT, "message": reason, "reason": outcome.code},
                "source": outcome.source,
            },
        },
    )


def _sum(counts: Iterable[Counter[str]]) -> Counter[str]:
    return sum(counts, Counter())


def _write_counts(counts: Counter[str], folder: OperationFolder, part: str) -> Counter[str]:
    folder.write_counts(part, counts)
    return counts
