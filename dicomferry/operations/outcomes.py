"""Outcomes of files and instances, and counts of them.

Two vocabularies: `ProgressCounts` is an estimate while a job runs, `OutcomeCounts` is counted
from the outcomes that were written.
"""

import dataclasses
import json
from enum import StrEnum
from typing import Any, NamedTuple, Self

from dicomferry.operations.typed_fields import Fields, integer, text


class Outcome(StrEnum):
    """Outcome of a file or an instance; each has exactly one."""

    IMPORTED = "imported"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    SKIPPED = "skipped"
    FAILED = "failed"
    EXPORTED = "exported"
    DELETED = "deleted"


# Outcomes that a person has to look at.
PROBLEMS = (Outcome.CONFLICT, Outcome.FAILED)
# Stands for a line of a list of outcomes that was cut, or is damaged: no file is named in it.
UNREADABLE_OUTCOME = {
    "source": "",
    "outcome": Outcome.FAILED,
    "code": "OUTCOME_UNREADABLE",
    "reason": "a line of the list of outcomes is truncated or damaged, for example by a power cut",
}


def parse_outcome(line: bytes) -> dict[str, Any]:
    """Read a line of a list of outcomes; one that cannot be read is `UNREADABLE_OUTCOME`."""
    try:
        outcome = json.loads(line)
        fields = Fields(outcome)
        fields.take("source", text)
        fields.take("outcome", Outcome)
        names = ("code", "reason", "fault", "sopInstanceUid", "derivedSopInstanceUid", "other")
        for name in names:
            fields.take(name, text, "")
        fields.take("bytes", integer, 0)
    except (ValueError, RecursionError):
        return dict(UNREADABLE_OUTCOME)
    return dict(outcome)


@dataclasses.dataclass(frozen=True)
class _Counts:
    """Sums, and JSON in which a count of 0 is left out."""

    def __add__(self, other: Self) -> Self:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return type(self)(*(one + another for one, another in pairs))

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def to_json(self) -> dict[str, int]:
        """Return the counts that are not 0, by name."""
        return {name: number for name, number in vars(self).items() if number}

    @classmethod
    def from_json(cls, counts: object) -> Self:
        """Read counts by name; names of a later version are left out.

        Raises:
            FieldError: they are no counts.
        """
        fields = Fields(counts)
        return cls(*(fields.take(field.name, integer, 0) for field in dataclasses.fields(cls)))


@dataclasses.dataclass(frozen=True)
class ProgressCounts(_Counts):
    """Files or instances that workers have processed so far.

    Attributes:
        read: processed, failed ones included.
        failed: failed among these.
        bytes: their size.
        committed: those that stay, however the job ends: their rows are in the index, or they are
            exported.
    """

    read: int = 0
    failed: int = 0
    bytes: int = 0
    committed: int = 0

    @property
    def done(self) -> int:
        """Files or instances that were processed."""
        return self.read

    @property
    def failures(self) -> int:
        """Files or instances that failed."""
        return self.failed


@dataclasses.dataclass(frozen=True)
class OutcomeCounts(_Counts):
    """Files or instances by outcome, and details of them.

    Attributes:
        imported, duplicate, conflict, skipped, failed, exported, deleted: by `Outcome`.
        bytes: size of all of them.
        already_imported: skipped ones that an earlier import has imported from the same source.
        conflict_failed: conflicts that count as failures.
        warnings: values that did not fit the columns of a table.
    """

    imported: int = 0
    duplicate: int = 0
    conflict: int = 0
    skipped: int = 0
    failed: int = 0
    exported: int = 0
    deleted: int = 0
    bytes: int = 0
    already_imported: int = 0
    conflict_failed: int = 0
    warnings: int = 0

    def of(self, outcome: Outcome) -> int:
        """Return the number of files or instances with an outcome."""
        number: int = getattr(self, outcome)
        return number

    @property
    def done(self) -> int:
        """Files or instances that have an outcome."""
        return sum(self.of(outcome) for outcome in Outcome)

    @property
    def failures(self) -> int:
        """Files or instances that failed, including conflicts that count as failures."""
        return self.failed + self.conflict_failed

    @property
    def committed(self) -> int:
        """Files or instances with an outcome that is no failure."""
        return self.done - self.failures

    def as_progress(self) -> ProgressCounts:
        """Return the same in the terms in which workers report."""
        return ProgressCounts(self.done, self.failures, self.bytes, self.committed)


class ProgressCounter(NamedTuple):
    """google.cloud.healthcare.v1.ProgressCounter: files or instances."""

    pending: int = 0
    success: int = 0
    failure: int = 0


class Total(NamedTuple):
    """Files or instances that a job has to account for.

    Attributes:
        number: 0 if nothing is known yet.
        is_final: False while they are listed.
    """

    number: int = 0
    is_final: bool = True


class EndedPart(NamedTuple):
    """Parts of a job that have ended.

    Attributes:
        part: name of the last; '' if none has ended.
        counts: sum of all of them.
    """

    part: str = ""
    counts: ProgressCounts = ProgressCounts()

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {"part": self.part, "counts": self.counts.to_json()}

    @classmethod
    def from_json(cls, value: object) -> "EndedPart":
        """Read the fields by name."""
        fields = Fields(value)
        return cls(fields.take("part", text), fields.take("counts", ProgressCounts.from_json))


def counts_from_json(value: object) -> ProgressCounts | OutcomeCounts:
    """Read the counts of an operation's record, whichever they are."""
    is_progress = "read" in Fields(value).rest
    return ProgressCounts.from_json(value) if is_progress else OutcomeCounts.from_json(value)
