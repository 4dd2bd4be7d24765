"""Write the outcome of every file beside the operation, and count the outcomes."""

import bisect
import dataclasses
import itertools
import logging
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from google.rpc.code_pb2 import INTERNAL, INVALID_ARGUMENT

from dicomferry.errors import Reason
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.outcomes import Outcome, OutcomeCounts
from dicomferry.storage.base import Storage
from dicomferry.store.sources_table import SourcesFile, commit_sources, write_sources
from dicomferry.transforms.records import FileOutcome, to_line

_LOGGER = logging.getLogger(__name__)
_LOGGED_FAILURES = 100
SHARD_OUTCOMES = 50_000
"""Outcomes of a shard, which are in memory at once: some 50 MB."""

_Written = tuple[OutcomeCounts, tuple[SourcesFile, ...]]
"""Counts of outcomes, and the files of known sources that were written with them."""


@dataclasses.dataclass
class WriteOutcomes(beam.PTransform):
    """Write outcomes-{part}-{shard}.jsonl and counts-{part}.json.

    Elements in are outcomes, or lists of them. At least once: shards are named by part and number,
    a retry replaces its own. Outputs one element when all is written: the counts of the part.
    Memory: one shard.

    Args (fields):
        folder: the operation's.
        part: names this run among the parts of the job.
        bounds: the shards, as sorted sources that the second and later ones begin with
            (`OutcomeBounds`), or a singleton view of them; or how many there are, by a hash.
        fail_conflicts: whether a conflict counts as a failure.
        remember: data folder whose sources table gets the imported files, or None.
        entry: type of log entry for a failure, of google.cloud.healthcare.logging.
        is_remote: whether remote workers write the log: their lines have a severity and a text,
            but no fields.

    The first failures of each shard are logged too; the file has all of them.
    """

    folder: OperationFolder
    part: str
    bounds: Sequence[str] | beam.pvalue.AsSingleton | int = 1
    fail_conflicts: bool = True
    remember: Storage | None = None
    entry: str = "ImportDicomLogEntry"
    is_remote: bool = False

    def expand(
        self, outcomes: beam.PCollection[FileOutcome | list[FileOutcome]]
    ) -> beam.PCollection[OutcomeCounts]:
        """Group outcomes by shard, write each shard, and sum the counts."""
        return (
            outcomes
            | "KeyByShard" >> beam.FlatMap(_key_by_shard, self.bounds)
            | "Gather" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(_WriteFn(self))
            | "Sum" >> beam.CombineGlobally(_sum)
            | "WriteCounts" >> beam.Map(_write_counts, self)
        )


def report_unmatched(paths: Sequence[str], folder: OperationFolder, shard: str = "filter") -> None:
    """Write a failure for each path of a filter that matches no instance."""
    if paths:
        outcomes = [FileOutcome(path, Outcome.FAILED, Reason.NO_SUCH_RESOURCE) for path in paths]
        lines = "".join(f"{to_line(outcome)}\n" for outcome in outcomes)
        folder.write_outcomes(shard, lines.encode())
        folder.write_counts(shard, count(outcomes, fail_conflicts=True))


def count(outcomes: Sequence[FileOutcome], *, fail_conflicts: bool) -> OutcomeCounts:
    """Count outcomes, bytes, and the conflicts that are failures."""
    by_outcome: Counter[str] = Counter(outcome.outcome for outcome in outcomes)
    return OutcomeCounts(
        **by_outcome,
        bytes=sum(outcome.size for outcome in outcomes),
        already_imported=sum(o.code == Reason.ALREADY_IMPORTED for o in outcomes),
        conflict_failed=by_outcome[Outcome.CONFLICT] if fail_conflicts else 0,
    )


def shards_for(total: int) -> int:
    """Return how many shards hold a number of outcomes."""
    return -(-total // SHARD_OUTCOMES) or 1


def _key_by_shard(
    outcomes: FileOutcome | list[FileOutcome], bounds: Sequence[str] | int
) -> Iterator[tuple[int, list[tuple[Any, ...]]]]:
    each = outcomes if isinstance(outcomes, list) else [outcomes]
    by_shard: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for outcome in each:
        source, kind, code, *rest = outcome
        # Plain, or Beam would pickle each.
        by_shard[_shard_of(source, bounds)].append((source, str(kind), str(code), *rest))
    yield from by_shard.items()


def _shard_of(source: str, bounds: Sequence[str] | int) -> int:
    if isinstance(bounds, int):
        return zlib.crc32(source.encode("utf-8", "surrogateescape")) % bounds
    return bisect.bisect_right(bounds, source)


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

    def process(self, shard: tuple[int, Iterable[list[tuple[Any, ...]]]]) -> Iterator[_Written]:
        outcomes = sorted(map(_to_outcome, itertools.chain.from_iterable(shard[1])))
        lines = b"".join(to_line(outcome).encode() + b"\n" for outcome in outcomes)
        self._folder.write_outcomes(f"{self._part}-{shard[0]:05d}", lines)
        failed = (
            o
            for o in outcomes
            if o.outcome == Outcome.FAILED
            or (o.outcome == Outcome.CONFLICT and self._fail_conflicts)
        )
        for outcome in itertools.islice(failed, _LOGGED_FAILURES):
            _log(outcome, self._folder.name, self._entry, self._is_remote)
        counts = count(outcomes, fail_conflicts=self._fail_conflicts)
        yield counts, self._write_sources(outcomes)

    def _write_sources(self, outcomes: Sequence[FileOutcome]) -> tuple[SourcesFile, ...]:
        stored = (Outcome.IMPORTED, Outcome.DUPLICATE)
        known = [o for o in outcomes if o.outcome in stored and o.version]
        if not self._remember or not known:
            return ()
        rows = [(o.source, o.size, o.version, str(o.outcome)) for o in known]
        return (write_sources(self._remember, rows),)


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


def _sum(written: Iterable[_Written]) -> _Written:
    counts, files = OutcomeCounts(), list[SourcesFile]()
    for each, more in written:
        counts += each
        files += more
    return counts, tuple(files)


def _write_counts(written: _Written, options: WriteOutcomes) -> OutcomeCounts:
    counts, files = written
    if options.remember:
        commit_sources(options.remember, files)
    options.folder.write_counts(options.part, counts)
    return counts
