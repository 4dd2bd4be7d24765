"""A loop that a user would write: python -m benchmarks.plain_import SOURCE DESTINATION.

A pool of two processes that parses each header with pydicom, makes its DICOM JSON, and copies the
file. No checksum, no index, no duplicates, nothing synced: less than an import does.
"""

import json
import multiprocessing
import shutil
import sys
from pathlib import Path

import pydicom

WORKERS = 2


def _import(job: tuple[Path, Path]) -> int:
    source, copy = job
    dataset = pydicom.dcmread(source, stop_before_pixels=True)
    document = json.dumps(dataset.to_json_dict())
    shutil.copyfile(source, copy)
    return len(document)


def main(source: str, destination: str) -> None:
    out = Path(destination)
    out.mkdir(parents=True)
    jobs = [(path, out / f"{i}.dcm") for i, path in enumerate(Path(source).rglob("*.dcm"))]
    with multiprocessing.Pool(WORKERS) as pool:
        for _ in pool.imap_unordered(_import, jobs, chunksize=16):
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
