"""How a job ends: the outcomes are counted, and the operation gets its result."""

import itertools
from collections.abc import Iterator

from google.rpc.code_pb2 import DATA_LOSS, INVALID_ARGUMENT

from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.lagging import has_lost, lagging
from dicomferry.operations.outcomes import Outcome, OutcomeCounts, parse_outcome
from dicomferry.operations.record import OperationRecord, SampleError

MAX_SAMPLES = 25
# Read for the samples at most: lists of many files have millions of lines.
_SCAN_BYTES = 256 << 20


class OutcomeCountMismatchError(Exception):
    """There are more or fewer outcomes than files."""


def complete_from_outcomes(
    record: OperationRecord, folder: OperationFolder, total: int, noun: str
) -> None:
    """Finish an operation by its outcomes; the record is not written yet.

    Args:
        record: ends with an error if files failed.
        folder: has the counts of the outcomes.
        total: files or instances that the job has to account for.
        noun: "files" or "instances", for messages.

    Raises:
        OutcomeCountMismatchError: there are more or fewer outcomes than `total`.
    """
    counts = folder.counts()
    if counts.done != total:
        raise OutcomeCountMismatchError(
            f"{counts.done} outcomes were written for {total} {noun}; please report this"
        )
    record.set_counts(counts, total)
    record.metadata.lagging = lagging(folder)
    if counts.failures:
        record.finish(
            INVALID_ARGUMENT,
            f"{counts.failures} of {total} {noun} failed, the others are done; "
            f"every failure is listed in {folder.storage.uri('outcomes-*.jsonl')}",
            itertools.islice(_samples(folder, counts), MAX_SAMPLES),
        )
    elif has_lost(record):
        names = ", ".join(each.resource for each in record.metadata.lagging)
        record.finish(
            DATA_LOSS,
            f"all {total} {noun} are done, but not all can be sent to {names}; "
            f"those that cannot are listed in {folder.storage.uri('*-errors-*.jsonl')}",
        )
    else:
        record.finish()


def _samples(folder: OperationFolder, counts: OutcomeCounts) -> Iterator[SampleError]:
    """Yield what failed, in the order of the lists."""
    failures = [Outcome.FAILED, *([Outcome.CONFLICT] if counts.conflict_failed else [])]
    scanned = 0
    for shard in folder.outcome_shards():
        scanned += len(shard)
        for line in shard.splitlines():
            if any(each.encode() in line for each in failures):
                outcome = parse_outcome(line)
                if outcome["outcome"] in failures:
                    code, reason = outcome.get("code", ""), outcome.get("reason", "")
                    yield SampleError(outcome["source"], f"{code}: {reason}")
        if scanned > _SCAN_BYTES:
            return
