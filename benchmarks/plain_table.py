"""A loop that a user would write: python -m benchmarks.plain_table SOURCE DESTINATION.

A pool of two processes that parses each header with pydicom and makes its DICOM JSON; the lines go
to one file. No table, no columns, no schema, nothing in one transaction: less than an export does.
"""

import json
import multiprocessing
import sys
from pathlib import Path

import pydicom

WORKERS = 2


def _line(path: Path) -> str:
    return json.dumps(pydicom.dcmread(path, stop_before_pixels=True).to_json_dict())


def main(source: str, destination: str) -> None:
    paths = sorted(Path(source).rglob("*.dcm"))
    with multiprocessing.Pool(WORKERS) as pool, Path(destination).open("w") as file:
        for line in pool.imap_unordered(_line, paths, chunksize=16):
            file.write(line + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
