"""How a job ends: its outcomes are counted, and its operation says what they come to."""

from dicomferry.operations import operations
from dicomferry.operations.operations import Operation, OperationFolder


class OutcomeCountMismatchError(Exception):
    """There are more or fewer outcomes than files."""


def complete_from_outcomes(
    operation: Operation, folder: OperationFolder, total: int, noun: str
) -> None:
    """Finish an operation by its outcomes, not written yet; many files may have failed.

    Args:
        operation: the record.
        folder: where its outcomes were counted.
        total: how many files or instances the job had to account for.
        noun: what they are, for messages: "files" or "instances".

    Raises:
        OutcomeCountMismatchError: the outcomes do not account for everything.
    """
    counts = folder.counts()
    accounted = sum(counts[outcome] for outcome in operations.OUTCOMES)
    if accounted != total:
        raise OutcomeCountMismatchError(
            f"{accounted} outcomes were written for {total} {noun}; please report this"
        )
    operations.set_counts(operation, counts, total)
    if failures := operations.failures(counts):
        operations.finish(
            operation,
            operations.INVALID_ARGUMENT,
            f"{failures} of {total} {noun} failed, the others are done; "
            f"which and why: {folder.storage.uri('outcomes-*.jsonl')}",
        )
    else:
        operations.finish(operation)
