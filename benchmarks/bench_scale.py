r"""What a job costs as stores and listings grow: real dedupe, lookup and commits, no files.

python -m benchmarks.bench_scale grow FOLDER [--rows N]
    makes FOLDER/large, a store of N index rows (10 million by default) as many imports leave it,
    and FOLDER/empty
python -m benchmarks.bench_scale compare FOLDER
    imports 1,000 new files into a new store and into the large one, in turn: whole jobs, then
    each step of their commits; then what `stores optimize` changes

Rows are those of a CT slice, with made-up UIDs: half of them from one root with ascending numbers,
as a scanner gives them, half with random ones (PS3.5, B.2), so that they lie all over the range.
"""

import argparse
import hashlib
import io
import json
import random
import secrets
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import zstandard

from benchmarks.ct_files import ct_image
from benchmarks.machine import describe_machine
from benchmarks.measuring import run, settle
from stores.dicom_store import DicomStore, create_store, get_store
from stores.index import SCHEMA, Index
from stores.known_sources import known_sources, remember_sources
from stores.listing import Source
from stores.maintenance import optimize
from stores.names import parse_store
from stores.storage import Storage
from transforms.commit_instances import commit
from transforms.records import Instance

_COMMIT_ROWS = 50_000
_NEW = 1_000
_REPEATS = 7
_JOBS = 5
_COMMAND = (sys.executable, "-m", "pipelines.import_dicom")
_ANY_UID = b"777777777777"
_METADATA = json.dumps(
    {f"{0x00080000 + n:08X}": {"vr": "LO", "Value": [f"value {n}"]} for n in range(60)}
)


def sop_instance_uid(number: int) -> str:
    """Of the instance with a number: always the same."""
    if number % 2:
        return f"1.2.840.113619.2.55.3.604688119.{100_000_000 + number}"
    return f"2.25.{int.from_bytes(hashlib.sha256(str(number).encode()).digest()[:16])}"


def make_instance(number: int) -> Instance:
    """An instance whose blob is not there: commits do not look."""
    uid = sop_instance_uid(number)
    series = f"1.2.840.113619.2.55.3.1.{number // 200}"
    study = f"1.2.840.113619.2.55.3.2.{number // 800}"
    digest = hashlib.sha256(uid.encode()).hexdigest()
    return Instance(
        study,
        series,
        uid,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="CT",
        number_of_frames=1,
        metadata=zstandard.compress(_METADATA.encode()),
        structured_size=len(_METADATA),
        blob=f"instances/{study}/{series}/{uid}/{digest[:16]}.dcm",
        size=525_000,
        sha256=digest,
        crc32c=number,
        source_uri=f"gs://archive/2026/{number // 200:08d}/{number:010d}.dcm",
        source_version="1710147612000000",
    )


def make_rows(numbers: range) -> pa.Table:
    """Index rows, sorted as a commit sorts them."""
    instances = sorted(map(make_instance, numbers), key=lambda i: i.sop_instance_uid)
    now = datetime(2026, 11, 24, tzinfo=UTC)
    columns = {
        "StudyInstanceUID": [i.study_instance_uid for i in instances],
        "SeriesInstanceUID": [i.series_instance_uid for i in instances],
        "SOPInstanceUID": [i.sop_instance_uid for i in instances],
        "SOPClassUID": [i.sop_class_uid for i in instances],
        "TransferSyntaxUID": [i.transfer_syntax_uid for i in instances],
        "Modality": [i.modality for i in instances],
        "NumberOfFrames": [1] * len(instances),
        "Metadata": [_METADATA] * len(instances),
        "StructuredStorageSize": [len(_METADATA)] * len(instances),
        "BlobUri": [i.blob for i in instances],
        "BlobStorageSize": [i.size for i in instances],
        "Sha256": [i.sha256 for i in instances],
        "Crc32c": [i.crc32c for i in instances],
        "SourceUri": [i.source_uri for i in instances],
        "Operation": ["benchmark"] * len(instances),
        "LastUpdated": [now] * len(instances),
    }
    return pa.table({f.name: pa.array(columns[f.name], f.type) for f in SCHEMA}, schema=SCHEMA)


def grow(folder: Path, rows: int) -> None:
    """Make both stores."""
    root = Storage(str(folder))
    create_store(root, parse_store("empty"))
    store = create_store(root, parse_store("large"))
    for start in range(0, rows, _COMMIT_ROWS):
        numbers = range(start, min(start + _COMMIT_ROWS, rows))
        Index(store.data).append(make_rows(numbers))
        sources = [(i.source_uri, i.size, i.source_version) for i in map(make_instance, numbers)]
        remember_sources(store.data, [(*source, "imported") for source in sources])
        print(f"{numbers.stop:,} rows", file=sys.stderr)


def steps(data: Storage, first: int) -> dict[str, float]:
    """Seconds of each step of an import of 1,000 files, after these were read."""
    batch = sorted(map(make_instance, range(first, first + _NEW)), key=lambda i: i.sop_instance_uid)
    sources = [Source(i.source_uri, i.size, i.source_version) for i in batch]
    taken = {}

    def timed(name: str, started: float) -> float:
        now = time.perf_counter()
        taken[name] = now - started
        return now

    clock = time.perf_counter()
    known_sources(data, sources)
    clock = timed("known sources", clock)
    index = Index(data)
    clock = timed("load the log", clock)
    index.lookup([instance.sop_instance_uid for instance in batch])
    clock = timed("look up", clock)
    commit(data, batch, "compare")
    timed("commit, its own lookup included", clock)
    remember_sources(data, [(s.uri, s.size, s.version, "imported") for s in sources])
    return taken


def measure(folder: Path, names: list[str], first: Iterator[int]) -> dict[str, dict[str, float]]:
    """Medians of each step by store; the stores take turns."""
    root = Storage(str(folder))
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(_REPEATS):
        for name in names:
            runs[name].append(steps(get_store(root, parse_store(name)).data, next(first)))
    return {
        name: {step: statistics.median(run[step] for run in done) for step in done[0]}
        for name, done in runs.items()
    }


def compare(folder: Path) -> None:
    """Measure, compact, and measure again."""
    print(describe_machine(["deltalake", "pyarrow"]))
    large = get_store(Storage(str(folder)), parse_store("large"))
    index = Index(large.data)
    print(f"{index.count():,} rows in {len(index.files)} files")
    first = iter(range(2_000_000_000 + random.randrange(10**8), 10**12, _NEW))
    whole_jobs(folder, large)
    show(measure(folder, ["empty", "large"], first))
    started = time.perf_counter()
    before, after = optimize(large)
    took = time.perf_counter() - started
    print(f"stores optimize: {before} files to {after} in {took:.1f} s")
    whole_jobs(folder, large)
    show(measure(folder, ["empty", "large"], first))


def whole_jobs(folder: Path, large: DicomStore) -> None:
    """Show how long an import takes for 1,000 files, the same but for their UIDs."""
    root = Storage(str(folder))
    templates = [_file_bytes(number) for number in range(_NEW)]
    seconds: dict[str, list[float]] = {"empty": [], "large": []}
    for _ in range(_JOBS):
        for name, taken in seconds.items():
            files = folder / "in" / secrets.token_hex(4)
            files.mkdir(parents=True)
            uids = str(random.randrange(10**11, 10**12)).encode()
            for number, content in enumerate(templates):
                (files / f"{number:04d}.dcm").write_bytes(content.replace(_ANY_UID, uids))
            store = large.name
            if name == "empty":
                store = create_store(root, parse_store(f"empty-{uids.decode()}")).name
            settle([files])
            flags = (f"--store={store.id}", f"--source={files}/**", f"--root={root.root}")
            taken.append(run([*_COMMAND, *flags]).seconds)
            shutil.rmtree(files)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    print(
        f"import of {_NEW:,} files: new store {medians['empty']:.2f} s, "
        f"large store {medians['large']:.2f} s ({medians['large'] / medians['empty'] - 1:+.0%}); "
        f"all runs {[{n: [round(s, 2) for s in t]} for n, t in seconds.items()]}"
    )


def _file_bytes(number: int) -> bytes:
    buffer = io.BytesIO()
    root = f"1.2.826.0.1.3680043.8.498.{_ANY_UID.decode()}"
    ct_image(root, number, 256, 256).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def show(medians: dict[str, dict[str, float]]) -> None:
    names = list(medians)
    print(f"{'milliseconds':36}" + "".join(f"{name:>10}" for name in names))
    for step in medians[names[0]]:
        print(f"{step:36}" + "".join(f"{medians[name][step] * 1e3:10.0f}" for name in names))


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_scale")
    parser.add_argument("command", choices=["grow", "compare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=10_000_000)
    known = parser.parse_args(argv)
    if known.command == "compare":
        compare(known.folder)
        return
    shutil.rmtree(known.folder, ignore_errors=True)
    grow(known.folder, known.rows)


if __name__ == "__main__":
    main(sys.argv[1:])
