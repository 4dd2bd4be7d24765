"""Any number of index rows of real headers, in a store without blobs.

python -m benchmarks.index_rows ROOT STORE COUNT SOURCE

Reads the headers of the files below SOURCE and commits COUNT rows made from them in turn, each
with a SOP Instance UID of its own, in commits as large as an import's.
"""

import itertools
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from dicomferry.dicom.header import Header, read_header
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.resource_names import parse_store
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store
from dicomferry.store.index import Index
from dicomferry.store.index_schema import SCHEMA
from dicomferry.store.index_writing import write_files

_UID = "1.2.826.0.1.3680043.8.498.78"
_COMMIT_ROWS = 4096
_SERIES_IN_STUDY = 4
_INSTANCES_IN_SERIES = 100


def read_headers(folder: Path) -> list[Header]:
    """Return the headers of all files below a folder, in the order of their names."""
    return [read_header(BytesReader(path.read_bytes())) for path in sorted(folder.rglob("*.dcm"))]


def make_rows(headers: list[Header], count: int) -> Iterator[pa.Table]:
    """Yield `count` index rows (`dicomferry.store.index_schema.SCHEMA`), a table per commit."""
    chosen = itertools.cycle(headers)
    for start in range(0, count, _COMMIT_ROWS):
        numbers = range(start, min(start + _COMMIT_ROWS, count))
        rows = [_row(header, number) for number, header in zip(numbers, chosen, strict=False)]
        yield pa.Table.from_pylist(rows, SCHEMA)


def _row(header: Header, number: int) -> dict[str, object]:
    series = number // _INSTANCES_IN_SERIES
    uids = {
        header.sop_instance_uid: f"{_UID}.3.{number}",
        header.series_instance_uid: f"{_UID}.2.{series}",
        header.study_instance_uid: f"{_UID}.1.{series // _SERIES_IN_STUDY}",
    }
    pattern = "|".join(f'"{re.escape(uid)}"' for uid in uids)
    metadata = re.sub(pattern, lambda m: f'"{uids[m[0][1:-1]]}"', header.metadata.decode())
    sop, series_uid, study = uids.values()
    return {
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series_uid,
        "SOPInstanceUID": sop,
        "SOPClassUID": header.sop_class_uid,
        "TransferSyntaxUID": header.transfer_syntax_uid,
        "Modality": header.modality,
        "NumberOfFrames": 1,
        "Metadata": metadata,
        "StructuredStorageSize": len(metadata.encode()),
        "BlobUri": f"instances/{study}/{series_uid}/{sop}/none.dcm",
        "BlobStorageSize": 525_000,
        "Sha256": None,
        "Crc32c": 0,
        "SourceUri": f"/archive/{number}.dcm",
        "Operation": "benchmark",
        "LastUpdated": datetime(2026, 11, 24, tzinfo=UTC),
    }


def append_rows(data: Storage, rows: pa.Table) -> None:
    """Commit rows, sorted by UID, without a look into the index."""
    Index(data).append(write_files(data, iter([rows]), "import-"))


def main(root: str, name: str, count: str, source: str) -> None:
    store = create_store(open_storage(root), parse_store(name))
    for rows in make_rows(read_headers(Path(source)), int(count)):
        append_rows(store.data, rows.sort_by("SOPInstanceUID"))


if __name__ == "__main__":
    main(*sys.argv[1:])
