"""Instances without files, for jobs of any size. No Beam here: worker processes import it."""

import hashlib
import zlib
from collections.abc import Iterator, Sequence

import zstandard

from dicomferry.dicom.header import Header
from dicomferry.sources.source import Source
from dicomferry.transforms.ingest import ImportTarget
from dicomferry.transforms.records import FileOutcome, Instance

_FILE_BYTES = 525_000


def list_synthetic(count: int) -> Iterator[Source]:
    """Yield `count` listing entries, with paths as long as those of real archives."""
    for number in range(count):
        folder = f"/archive/2024/03/{number // 4000:06d}/series{number // 100:07d}"
        yield Source(f"{folder}/image{number:08d}.dcm", _FILE_BYTES, "1710147612000000000")


def ingest_synthetic(
    sources: Sequence[Source], target: ImportTarget, header: Header
) -> list[Instance | FileOutcome]:
    """Return an instance with a SOP Instance UID of its own per source; write nothing."""
    template = header.metadata.decode()
    results: list[Instance | FileOutcome] = []
    for source in sources:
        number = int(source.uri[-12:-4])
        uid = f"1.2.826.0.1.3680043.8.498.79.{number}"
        metadata = template.replace(header.sop_instance_uid, uid).encode()
        digest = hashlib.sha256(uid.encode()).hexdigest()
        results.append(
            Instance(
                *(header.study_instance_uid, header.series_instance_uid, uid),
                sop_class_uid=header.sop_class_uid,
                transfer_syntax_uid=header.transfer_syntax_uid,
                modality=header.modality,
                number_of_frames=1,
                metadata=zstandard.compress(metadata),
                structured_size=len(metadata),
                blob=f"instances/{header.study_instance_uid}/{uid}/{digest}.dcm",
                size=source.size,
                sha256=digest,
                crc32c=zlib.crc32(metadata),
                source_uri=source.uri,
                source_version=source.version,
            )
        )
    return results
