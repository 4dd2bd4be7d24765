"""Which copy of an instance is kept.

Identity is the SOP Instance UID (0008,0018), globally unique by DICOM PS3.5, Section 9.
The answer depends on the copies and the store alone, never on the order of arrival, so
a retried bundle, a second run and another runner agree.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from dicomferry.operations.outcomes import Outcome
from dicomferry.transforms.records import Instance


class Verdict(NamedTuple):
    """What becomes of one copy.

    Attributes:
        copy: the copy.
        outcome: imported, duplicate or conflict.
        other: source URI of the copy that is kept instead, '' if this one is kept.
        is_new: whether the index still lacks a row for it.
    """

    copy: Instance
    outcome: Outcome
    other: str
    is_new: bool


def resolve_copies(
    copies: Iterable[Instance], stored: Mapping[str, Any] | None, operation: str
) -> Iterator[Verdict]:
    """Decide on all copies of one SOP Instance UID.

    Args:
        copies: every copy in this batch.
        stored: the index row of that UID (`dicomferry.store.index_schema.LOOKUP_COLUMNS`), or
            None. A row of this very operation and source was committed by an earlier attempt of
            the same bundle: its copy is `imported` at each attempt.
        operation: id of the running import.
    """
    first, *rest = sorted(copies, key=_by_source)
    kept: Mapping[str, Any]
    if stored is None:
        yield Verdict(first, Outcome.IMPORTED, "", True)
        kept = _row_of(first)
    else:
        rest = [first, *rest]
        kept = stored
    for copy in rest:
        mine = kept["Operation"] == operation and kept["SourceUri"] == copy.source_uri
        same = _is_same(copy, kept)
        if stored is not None and mine and same:
            yield Verdict(copy, Outcome.IMPORTED, "", False)
        else:
            yield Verdict(
                copy, Outcome.DUPLICATE if same else Outcome.CONFLICT, kept["SourceUri"], False
            )


def _by_source(copy: Instance) -> tuple[str, str, str]:
    # The same URI can be listed twice with different content if it changed meanwhile.
    return copy.source_uri, copy.source_version, copy.blob


def _row_of(copy: Instance) -> dict[str, Any]:
    return {
        "StudyInstanceUID": copy.study_instance_uid,
        "SeriesInstanceUID": copy.series_instance_uid,
        "BlobStorageSize": copy.size,
        "Sha256": copy.sha256 or None,
        "Crc32c": copy.crc32c,
        "SourceUri": copy.source_uri,
        "Operation": None,
    }


def _is_same(copy: Instance, row: Mapping[str, Any]) -> bool:
    """Same study, series and bytes: by SHA-256, or by size and CRC-32C where one lacks it."""
    if (copy.study_instance_uid, copy.series_instance_uid) != (
        row["StudyInstanceUID"],
        row["SeriesInstanceUID"],
    ):
        return False
    if copy.sha256 and row["Sha256"]:
        return bool(copy.sha256 == row["Sha256"])
    return (copy.size, copy.crc32c) == (row["BlobStorageSize"], row["Crc32c"])
