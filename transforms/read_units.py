"""Units of sources, each of which is kept as a whole once it is read, and found by a rerun.

Where a unit ends depends on the sources around its end alone, so a listing in which some sources
were added, changed or left out has almost the same units.
"""

import json
import zlib
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

import pyarrow as pa

import dicomferry
from dicomferry.errors import InstanceError, Reason
from dicomferry.operations.faults import fails_alone
from dicomferry.operations.outcomes import Outcome
from dicomferry.sources.allowed_folders import AllowedFolders
from dicomferry.sources.source import Source
from dicomferry.transforms.records import FileOutcome, Instance

UNIT_FILES = 256
UNIT_BYTES = 128 << 20
# No unit but the last of a listing is smaller. The less it is, the sooner units that begin
# differently end alike.
_LEAST = 1 / 8
# Then one source ends it of those that fill a quarter of it: 93 small files on average.
_ENDS = 4
# Less is read again as fast as it is kept.
_KEPT_SHARE = 1 / 16
# Raised whenever what is kept, or what is read of a file, changes.
_FORMAT = 1
# Reasons that follow from the bytes of a file alone. Others may be gone at the next attempt.
_LASTING = {
    Reason.NOT_DICOM,
    Reason.EMPTY_FILE,
    Reason.GZIPPED,
    Reason.ZIPPED,
    Reason.DICOMDIR,
    Reason.TRUNCATED,
    Reason.MALFORMED,
    Reason.NESTED_TOO_DEEP,
    Reason.HEADER_TOO_LARGE,
    Reason.BROKEN_DEFLATE,
    Reason.INFLATED_TOO_LARGE,
    Reason.MISSING_STUDY_INSTANCE_UID,
    Reason.MISSING_SERIES_INSTANCE_UID,
    Reason.MISSING_SOP_INSTANCE_UID,
    Reason.INVALID_STUDY_INSTANCE_UID,
    Reason.INVALID_SERIES_INSTANCE_UID,
    Reason.INVALID_SOP_INSTANCE_UID,
}
_INSTANCE = pa.schema(
    [
        ("study_instance_uid", pa.string()),
        ("series_instance_uid", pa.string()),
        ("sop_instance_uid", pa.string()),
        ("sop_class_uid", pa.string()),
        ("transfer_syntax_uid", pa.string()),
        ("modality", pa.string()),
        ("number_of_frames", pa.int64()),
        ("metadata", pa.binary()),
        ("structured_size", pa.int64()),
        ("blob", pa.string()),
        ("size", pa.int64()),
        ("sha256", pa.string()),
        ("crc32c", pa.int64()),
        ("source_uri", pa.string()),
        ("source_version", pa.string()),
        ("stored", pa.float64()),
    ]
)
# A failure has the source's URI, size and version, and these.
_FAILURE = pa.schema([("outcome", pa.string()), ("code", pa.string())])
SCHEMA = pa.unify_schemas([_INSTANCE, _FAILURE])

Result = Instance | FileOutcome
"""What became of a source that was read."""


def units(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """Divide sources into units, in their order.

    A unit has at most 256 files, and at most 128 MiB before its last one. It ends there, or after
    an eighth of that at a source whose hash says so.
    """
    unit: list[Source] = []
    filled = 0.0
    for source in sources:
        unit.append(source)
        share = _share(source)
        filled += share
        if filled >= 1 or (filled >= _LEAST and _hash(source) < _ENDS * share):
            yield unit
            unit, filled = [], 0.0
    if unit:
        yield unit


def is_worth_keeping(sources: Sequence[Source]) -> bool:
    """Whether sources would take longer to be read again than what was read of them."""
    return sum(map(_share, sources)) >= _KEPT_SHARE


def name_of(sources: Sequence[Source], allowed_folders: AllowedFolders | None) -> str:
    """Return the name under which a unit is kept, by this version of the software.

    Args:
        sources: as they were listed.
        allowed_folders: in which they were allowed to be.
    """
    known = [dicomferry.__version__, _FORMAT, allowed_folders, *sources]
    return sha256(json.dumps(known).encode()).hexdigest()


def to_table(results: Sequence[Result]) -> pa.Table:
    """Return results as a table (`SCHEMA`), without those that may differ at the next attempt.

    Nor has it those that Arrow cannot represent. What is left out is read again.
    """
    rows = [_to_row(result) for result in results if _is_lasting(result)]
    table = _convert(rows)
    if table is None:
        rows = [row for row in rows if _convert([row]) is not None]
        table = pa.Table.from_pylist(rows, SCHEMA)
    return table


def from_table(table: pa.Table) -> list[Result]:
    """Return the results in a table of `to_table`."""
    return list(map(_from_row, table.to_pylist()))


def source_of(result: Result) -> tuple[str, str]:
    """Return URI and version of the source that a result is of."""
    if isinstance(result, Instance):
        return result.source_uri, result.source_version
    return result.source, result.version


def _share(source: Source) -> float:
    """Return the share of a unit that a source fills."""
    return max(1 / UNIT_FILES, source.size / UNIT_BYTES)


def _hash(source: Source) -> float:
    """Return a number in [0, 1) that depends on a source alone."""
    key = "\0".join((source.uri, str(source.size), source.version))
    return zlib.crc32(key.encode("utf-8", "surrogateescape")) / (1 << 32)


def _convert(rows: list[dict[str, Any]]) -> pa.Table | None:
    try:
        with fails_alone():
            return pa.Table.from_pylist(rows, SCHEMA)
    except InstanceError:
        return None


def _is_lasting(result: Result) -> bool:
    _, version = source_of(result)
    return bool(version) and (isinstance(result, Instance) or result.code in _LASTING)


def _to_row(result: Result) -> dict[str, Any]:
    if isinstance(result, Instance):
        return result._asdict()
    return {
        "source_uri": result.source,
        "source_version": result.version,
        "size": result.size,
        "outcome": str(result.outcome),
        "code": str(result.code),
    }


def _from_row(row: dict[str, Any]) -> Result:
    if row["code"] is None:
        return Instance(*(row[name] for name in _INSTANCE.names))
    return FileOutcome(
        row["source_uri"],
        Outcome(row["outcome"]),
        Reason(row["code"]),
        size=row["size"],
        version=row["source_version"],
    )
