"""Finish an operation as the last step of its own pipeline.

On Dataflow no process of ours waits for the end: the job owns its operation, and writes its
record when everything else is done.
"""

import dataclasses
from typing import Any

import apache_beam as beam
from google.rpc.code_pb2 import FAILED_PRECONDITION, INTERNAL, INVALID_ARGUMENT, NOT_FOUND

from dicomferry.operations.completion import OutcomeCountMismatchError, complete_from_outcomes
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.lagging import has_lost
from dicomferry.operations.outcomes import OutcomeCounts
from dicomferry.operations.record import OperationRecord


class OperationFailedError(Exception):
    """Ends the Dataflow job as failed; the operation has the same message."""


@dataclasses.dataclass
class FinishOperation(beam.PTransform):
    """Finish the operation when its single input element arrives; output its counts.

    A non-empty string element is the reason of a failure. At least once; an operation that is
    done stays as it is. The job fails, after its record is written, if it broke or if more than
    `max_failures` files failed.

    Args (fields):
        folder: the operation's.
        total: number of files or instances, or a singleton view of it.
        noun: "files" or "instances".
        max_failures: failures up to which the job succeeds.
        empty_error: message if `total` is 0; '' if an empty job is a success.
        after: a PCollection that must be complete before; its elements are not read.
    """

    folder: OperationFolder
    total: int | beam.pvalue.AsSingleton
    noun: str
    max_failures: int = 0
    empty_error: str = ""
    after: beam.PCollection[Any] | None = None

    def expand(self, ended: beam.PCollection[Any]) -> beam.PCollection[OutcomeCounts]:
        """Finish after `ended` and `after`, with `total` as a side input."""
        ending = Ending(self.folder, self.noun, self.max_failures, self.empty_error)
        after = [] if self.after is None else [beam.pvalue.AsIter(self.after)]
        return ended | "Finish" >> beam.Map(finish_operation, ending, self.total, *after)


@dataclasses.dataclass(frozen=True)
class Ending:
    """How an operation ends; see the fields of `FinishOperation`."""

    folder: OperationFolder
    noun: str
    max_failures: int = 0
    empty_error: str = ""


def finish_operation(ended: Any, ending: Ending, total: int, after: Any = None) -> OutcomeCounts:
    """Write the end of an operation, and return its counts.

    Args:
        ended: a non-empty string is the reason of a failure.
        ending: the operation and how it ends.
        total: number of files or instances.
        after: not read; Beam waits for it.

    Raises:
        OperationFailedError: the job broke, or more than `max_failures` files failed.
    """
    record = ending.folder.read()
    if not record.done:
        _finish(record, ending, total, ended if isinstance(ended, str) else "")
        ending.folder.write(record)
    is_tolerated = record.counts.failures <= ending.max_failures and not has_lost(record)
    if record.error and not (record.error.code == INVALID_ARGUMENT and is_tolerated):
        raise OperationFailedError(f"{record.error.message} ({ending.folder.name})")
    return ending.folder.counts()


def _finish(record: OperationRecord, ending: Ending, total: int, failure: str) -> None:
    folder = ending.folder
    if failure:
        record.set_counts(folder.counts(), total)
        record.finish(FAILED_PRECONDITION, failure)
    elif ending.empty_error and not total:
        record.finish(NOT_FOUND, ending.empty_error)
    else:
        try:
            complete_from_outcomes(record, folder, total, ending.noun)
        except OutcomeCountMismatchError as error:
            record.set_counts(folder.counts(), total)
            record.finish(INTERNAL, str(error))
