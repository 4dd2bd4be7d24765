"""Choose which copy of an instance is kept.

Identity is the SOP Instance UID (0008,0018), globally unique by DICOM PS3.5, Section 9. The choice
depends on the copies and the store alone, never on the order of arrival, so that a retried bundle,
a second run and another runner agree.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from dicomferry.operations.outcomes import Outcome
from dicomferry.store.index_schema import Column
from dicomferry.transforms.records import Instance


class Verdict(NamedTuple):
    """The outcome of one copy.

    Attributes:
        copy: the copy.
        outcome: imported, duplicate or conflict; failed if its blob was deleted meanwhile.
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
    """Yield the verdict on each copy of one SOP Instance UID, in their order.

    Args:
        copies: every copy in this batch, sorted by `by_source`; with `stored`, any of them.
        stored: the index row of that UID (`dicomferry.store.index_schema.LOOKUP_COLUMNS`), or
            None. A row of this very operation and source was committed by an earlier attempt of
            the same bundle: its copy is `imported` at each attempt.
        operation: id of the running import.
    """
    copies = iter(copies)
    kept: Mapping[str, Any]
    if stored is None:
        first = next(copies)
        yield Verdict(first, Outcome.IMPORTED, "", True)
        kept = _row_of(first)
    else:
        kept = stored
    for copy in copies:
        is_ours = kept[Column.OPERATION] == operation and kept[Column.SOURCE_URI] == copy.source_uri
        is_same = _is_same(copy, kept)
        if stored is not None and is_ours and is_same:
            yield Verdict(copy, Outcome.IMPORTED, "", False)
        else:
            yield Verdict(
                copy,
                Outcome.DUPLICATE if is_same else Outcome.CONFLICT,
                kept[Column.SOURCE_URI],
                False,
            )


def by_source(copy: Instance) -> tuple[str, str, str]:
    """Return what copies of a UID are sorted by: the first is kept."""
    # The same URI can be listed twice with different content if it changed meanwhile.
    return copy.source_uri, copy.source_version, copy.blob


def _row_of(copy: Instance) -> dict[str, Any]:
    return {
        Column.STUDY_INSTANCE_UID: copy.study_instance_uid,
        Column.SERIES_INSTANCE_UID: copy.series_instance_uid,
        Column.BLOB_STORAGE_SIZE: copy.size,
        Column.SHA256: copy.sha256 or None,
        Column.CRC32C: copy.crc32c,
        Column.SOURCE_URI: copy.source_uri,
        Column.OPERATION: None,
    }


def _is_same(copy: Instance, row: Mapping[str, Any]) -> bool:
    """Same study, series and bytes: by SHA-256, or by size and CRC-32C where one lacks it."""
    if (copy.study_instance_uid, copy.series_instance_uid) != (
        row[Column.STUDY_INSTANCE_UID],
        row[Column.SERIES_INSTANCE_UID],
    ):
        return False
    if copy.sha256 and row[Column.SHA256]:
        return bool(copy.sha256 == row[Column.SHA256])
    return (copy.size, copy.crc32c) == (row[Column.BLOB_STORAGE_SIZE], row[Column.CRC32C])
