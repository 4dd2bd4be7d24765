"""How a job ends: the outcomes are counted, and the operation gets its result."""

from google.rpc.code_pb2 import INVALID_ARGUMENT

from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.record import OperationRecord


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
    if counts.failures:
        record.finish(
            INVALID_ARGUMENT,
            f"{counts.failures} of {total} {noun} failed, the others are done; "
            f"which and why: {folder.storage.uri('outcomes-*.jsonl')}",
        )
    else:
        record.finish()
