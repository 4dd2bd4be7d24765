"""Finish an operation as the last step of its own pipeline.

On Dataflow no process of ours waits for the end: the job owns its operation, and writes its
record when everything else is done.
"""

import dataclasses
from collections import Counter
from typing import Any

import apache_beam as beam

from dicomferry.operations import operations
from dicomferry.operations.completion import OutcomeCountMismatchError, complete_from_outcomes
from dicomferry.operations.operations import OperationFolder


class OperationFailedError(Exception):
    """Ends the job as failed, for whoever looks at that; the operation says the same."""


@dataclasses.dataclass
class FinishOperation(beam.PTransform):
    """Finish an operation when its one element comes; a text that is not '' is why the job broke.

    At least once; an operation that is done stays as it is. The job fails, after its record is
    written, if it broke or if more than `max_failures` failed.

    Args (fields):
        folder: the operation's.
        total: how many files or instances there are, or a singleton view of that.
        noun: what they are: "files" or "instances".
        max_failures: how many may fail.
        if_none: why it is an error that there is nothing at all; '' if it is none.
        after: what else has to be done before; nothing is read from it.
    """

    folder: OperationFolder
    total: int | beam.pvalue.AsSingleton
    noun: str
    max_failures: int = 0
    if_none: str = ""
    after: beam.PCollection[Any] | None = None

    def expand(self, ended: beam.PCollection[Any]) -> beam.PCollection[Counter[str]]:
        """Wire it."""
        after = [] if self.after is None else [beam.pvalue.AsIter(self.after)]
        return ended | "Finish" >> beam.Map(
            finish_operation,
            self.folder,
            self.total,
            self.noun,
            self.max_failures,
            self.if_none,
            *after,
        )


def finish_operation(
    ended: Any,
    folder: OperationFolder,
    total: int,
    noun: str,
    max_failures: int,
    if_none: str,
    after: Any = None,
) -> Counter[str]:
    """Write the end of an operation, and return its counts.

    Raises:
        OperationFailedError: the job broke, or too much failed.
    """
    operation = folder.read()
    if not operation["done"]:
        broken = ended if isinstance(ended, str) else ""
        _end(operation, folder, total, noun, broken, if_none)
        folder.write(operation)
    error = operation.get("error")
    counts: Counter[str] = Counter(operation["counts"])
    is_tolerated = operations.failures(counts) <= max_failures
    if error and not (error["code"] == operations.INVALID_ARGUMENT and is_tolerated):
        raise OperationFailedError(f"{error['message']} ({folder.name})")
    return counts


def _end(
    operation: operations.Operation,
    folder: OperationFolder,
    total: int,
    noun: str,
    broken: str,
    if_none: str,
) -> None:
    if broken:
        operations.set_counts(operation, folder.counts(), total)
        operations.finish(operation, operations.FAILED_PRECONDITION, broken)
    elif if_none and not total:
        operations.finish(operation, operations.NOT_FOUND, if_none)
    else:
        try:
            complete_from_outcomes(operation, folder, total, noun)
        except OutcomeCountMismatchError as error:
            operations.set_counts(operation, folder.counts(), total)
            operations.finish(operation, operations.INTERNAL, str(error))
