"""Elements that flow between transforms: small, immutable, no pixels.

Only `Instance.metadata` holds patient data; it crosses one shuffle, compressed, on
its way into the index and appears in no outcome, log or message.
"""

import json
from typing import Any, NamedTuple, Self

from dicomferry.errors import InstanceError, Reason
from dicomferry.operations.outcomes import Outcome


class Instance(NamedTuple):
    """An instance whose blob is stored and whose row is not committed yet.

    Attributes:
        study_instance_uid: (0020,000D).
        series_instance_uid: (0020,000E).
        sop_instance_uid: (0008,0018).
        sop_class_uid: (0008,0016), '' if absent.
        transfer_syntax_uid: (0002,0010).
        modality: (0008,0060), '' if absent.
        number_of_frames: (0028,0008), 1 if absent.
        metadata: DICOM JSON (PS3.18 Annex F), UTF-8, zstd.
        structured_size: bytes of the uncompressed metadata.
        blob: path of the bytes below the data folder.
        size: bytes of the file.
        sha256: hex digest of the file, '' where a server-side copy spared reading it.
        crc32c: checksum of the file.
        source_uri: where the file was found.
        source_version: mtime or generation that it had there.
        stored: when the blob was written or renewed at the earliest, in seconds since the epoch by
            the clock of its storage; 0.0 if unknown.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    number_of_frames: int
    metadata: bytes
    structured_size: int
    blob: str
    size: int
    sha256: str
    crc32c: int
    source_uri: str
    source_version: str
    stored: float = 0.0


class FileOutcome(NamedTuple):
    """What became of one source file, or of one instance of an export.

    Attributes:
        source: the file's URI; the instance's resource path in an export.
        outcome: imported, duplicate, conflict, skipped, failed, exported or deleted.
        code: stable, '' for plain success; a `Reason` otherwise.
        sop_instance_uid: (0008,0018), '' if unknown.
        other: what it is a duplicate of or in conflict with: a source URI.
        size: bytes.
        version: mtime or generation of the source.
        fault: kind and place of an INTERNAL_ERROR, such as
            `IndexError at dicomferry/pixels/render/grayscale.py:118`.
        derived_uid: SOP Instance UID of what was written, where it is not that of the instance.
    """

    source: str
    outcome: Outcome
    code: str = ""
    sop_instance_uid: str = ""
    other: str = ""
    size: int = 0
    version: str = ""
    fault: str = ""
    derived_uid: str = ""

    @classmethod
    def of_failure(cls, source: str, error: InstanceError, **fields: Any) -> Self:
        """Return the outcome of a file or an instance that failed.

        Args:
            source: the file's URI, or the instance's resource path.
            error: why.
            fields: further fields.
        """
        return cls(source, Outcome.FAILED, error.code, fault=error.fault_text)._replace(**fields)


def instance_path(study: str, series: str, sop_instance: str) -> str:
    """Return /studies/{study}/series/{series}/instances/{sop_instance}."""
    return f"/studies/{study}/series/{series}/instances/{sop_instance}"


def to_line(outcome: FileOutcome) -> str:
    """Return an outcome as a line of JSON: fixed words, URIs and UIDs, nothing else."""
    record: dict[str, Any] = {"source": outcome.source, "outcome": outcome.outcome}
    if outcome.code:
        record |= {"code": outcome.code, "reason": Reason(outcome.code).sentence}
    if outcome.fault:
        record["fault"] = outcome.fault
    if outcome.sop_instance_uid:
        record["sopInstanceUid"] = outcome.sop_instance_uid
    if outcome.derived_uid:
        record["derivedSopInstanceUid"] = outcome.derived_uid
    if outcome.other:
        record["other"] = outcome.other
    record["bytes"] = outcome.size
    return json.dumps(record, ensure_ascii=False)
