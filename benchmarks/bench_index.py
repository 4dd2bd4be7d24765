"""A large index: what it costs to open it, and to look UIDs up in it.

python -m benchmarks.bench_index FOLDER [--rows N ...] [--runs R ...]

Makes an index in FOLDER as R large jobs leave it: each job is a sorted run, in files of 100,000
rows. UIDs are random (PS3.5, B.2), Metadata is 60 bytes. Whenever it has grown to N rows, a process
of its own opens it, and looks up 1,000 UIDs of a small job, one UID of each file, and 100,000 of
one bucket of a large job: spread over the whole index, and next to each other. Bytes are what the
process reads, of a disk or its cache.
"""

import argparse
import resource
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.machine import bytes_read, describe_machine, load
from dicomferry.resource_names import parse_store
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store, get_store
from dicomferry.store.index import Index
from dicomferry.store.index_files import WrittenFile, read_column
from dicomferry.store.index_schema import SCHEMA, Column
from dicomferry.store.index_writing import IMPORTED, write_files
from dicomferry.transforms.prepare_instances import BUCKET_ROWS

T = TypeVar("T")

_SMALL = 1_000
_COMMIT_FILES = 100
# The first digits of a UID are those of its place among all rows.
_FIRST, _LAST = 10**18, 9 * 10**18
_METADATA = '{"00080060":{"vr":"CS","Value":["CT"]},"00200013":{"vr":"IS"}}'
_TIME = 1_764_000_000_000_000


def make_uids(places: np.ndarray, count: int, seed: int) -> pa.Array:
    """Return the UIDs of rows.

    Args:
        places: shape (n,), among all rows in their order.
        count: of all rows.
        seed: of their last digits.
    """
    step = (_LAST - _FIRST) // count
    low = np.random.default_rng(seed).integers(_FIRST, _LAST, len(places))
    digits = [pc.cast(pa.array(each), pa.string()) for each in (_FIRST + places * step, low)]
    return pc.binary_join_element_wise("2.25.", *digits, "")


def make_rows(places: np.ndarray, count: int, seed: int) -> pa.Table:
    """Return index rows; see `make_uids`."""
    uids = make_uids(places, count, seed)
    numbers = pc.cast(pa.array(places), pa.string())
    series = pc.cast(pa.array(places // 100), pa.string())
    study = pc.binary_join_element_wise("1.2.840.1.", series, "")
    values = {
        Column.STUDY_INSTANCE_UID: study,
        Column.SERIES_INSTANCE_UID: pc.binary_join_element_wise(study, "1", "."),
        Column.SOP_INSTANCE_UID: uids,
        Column.BLOB_URI: pc.binary_join_element_wise("instances", study, uids, numbers, "/"),
        Column.SOURCE_URI: pc.binary_join_element_wise("gs://archive/", numbers, ".dcm", ""),
        Column.CRC32C: pa.array(places % 2**32),
    }
    same = {
        Column.SOP_CLASS_UID: "1.2.840.10008.5.1.4.1.1.2",
        Column.TRANSFER_SYNTAX_UID: "1.2.840.10008.1.2.1",
        Column.MODALITY: "CT",
        Column.NUMBER_OF_FRAMES: 1,
        Column.METADATA: _METADATA,
        Column.STRUCTURED_STORAGE_SIZE: len(_METADATA),
        Column.BLOB_STORAGE_SIZE: 525_000,
        Column.SHA256: None,
        Column.OPERATION: "benchmark",
        Column.LAST_UPDATED: _TIME,
    }
    for name, value in same.items():
        values[name] = pa.repeat(pa.scalar(value, SCHEMA.field(name).type), len(places))
    return pa.table({field.name: values[field.name] for field in SCHEMA}, schema=SCHEMA)


def grow_index(data: Storage, rows: range, count: int, runs: int) -> None:
    """Append the next rows of an index, which has as many of each run, and show how far it is."""
    written: list[WrittenFile] = []
    for start in range(rows.start // runs, rows.stop // runs, BUCKET_ROWS):
        for run in range(runs):
            end = min(start + BUCKET_ROWS, rows.stop // runs)
            places = run + runs * np.arange(start, end)
            written += write_files(data, iter([make_rows(places, count, start)]), IMPORTED)
        if len(written) >= _COMMIT_FILES or end == rows.stop // runs:
            Index(data).append(written)
            written = []
            print(f"{end * runs:,} rows, {load()}", file=sys.stderr, flush=True)


def measured(name: str, call: Callable[[], T]) -> T:
    """Call a function, show what it took, and return what it returns."""
    read, clock, cpu = bytes_read(), time.perf_counter(), time.process_time()
    result = call()
    taken = f"{time.perf_counter() - clock:.2f} s, {time.process_time() - cpu:.2f} s of CPU"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    found = f", {len(result)} found" if isinstance(result, pa.Table) else ""
    read = bytes_read() - read
    print(f"  {name}: {taken}, {read / 1e6:.1f} MB read{found}; so far at most {peak} MB")
    return result


def measure(root: str, name: str, of: int) -> None:
    """Open an index, and look UIDs up.

    Args:
        root: of its store.
        name: of its store.
        of: rows that it is to have when it has grown.
    """
    data = get_store(open_storage(root), parse_store(name)).data
    open_storage(root).head("warm")
    Index(create_store(open_storage(root), parse_store(f"empty-{secrets.token_hex(4)}")).data)
    index = measured("open the log", lambda: Index(data))
    stats = measured("list its files", index.file_stats)
    count, size = sum(file.rows for file in stats), sum(file.size for file in stats)
    print(f"  {count:,} rows, {len(stats):,} files, {size / 1e9:.1f} GB")
    for what, places in _looks(count, len(stats)):
        new = make_uids(places, of or count, secrets.randbits(32)).to_pylist()
        measured(f"look up {what}", lambda uids=new: index.lookup(uids))  # type: ignore[misc]
    known = _known_uids(data, index.files, _SMALL)
    measured(f"look up {len(known)} known UIDs", lambda: index.lookup(known))


def _looks(count: int, files: int) -> Iterator[tuple[str, np.ndarray]]:
    generator = np.random.default_rng()
    yield "1 new UID, the first look of the process", generator.integers(0, count, 1)
    yield f"{_SMALL:,} new UIDs", np.sort(generator.integers(0, count, _SMALL))
    step = count // files
    each = step * np.arange(files) + generator.integers(0, step, files)
    yield f"{files:,} new UIDs, one of each file of a run", each
    yield f"{BUCKET_ROWS:,}, spread", np.sort(generator.integers(0, count, BUCKET_ROWS))
    first = int(generator.integers(0, count - BUCKET_ROWS))
    yield f"{BUCKET_ROWS:,}, next to each other", np.arange(first, first + BUCKET_ROWS)


def _known_uids(data: Storage, files: list[str], count: int) -> list[str]:
    """Return some UIDs that the index has, of 20 files or fewer."""
    generator = np.random.default_rng()
    uids: list[str] = []
    for path in generator.choice(files, 20):
        column = read_column(data, str(path), Column.SOP_INSTANCE_UID)
        uids += column.take(generator.integers(0, len(column), count // 20)).to_pylist()
    return sorted(set(uids))


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_index")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000_000, 100_000_000])
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--measure", metavar="STORE", help="only this one, which is there")
    parser.add_argument("--of", type=int, default=0, help="rows that it was to have; default: all")
    known = parser.parse_args(argv)
    if known.measure:
        measure(str(known.folder), known.measure, known.of)
        return
    print(describe_machine(["deltalake", "pyarrow"]))
    root = open_storage(str(known.folder))
    for runs in known.runs:
        last, cpu, total = 0, 0.0, max(known.rows)
        name = f"rows-{total}-{runs}-{secrets.token_hex(2)}"
        store = create_store(root, parse_store(name))
        for rows in sorted(known.rows):
            began = time.process_time()
            grow_index(store.data, range(last, rows), total, runs)
            last, cpu = rows, cpu + time.process_time() - began
            print(f"{rows:,} rows in {runs} runs, made in {cpu:.0f} s of CPU; {load()}", flush=True)
            command = ["-m", "benchmarks.bench_index", root.root, "--measure", name]
            subprocess.run([sys.executable, *command, "--of", str(total)], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
