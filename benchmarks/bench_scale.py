r"""Cost of a job as stores and listings grow: real dedupe, lookup and commits, but no files.

python -m benchmarks.bench_scale grow FOLDER [--rows N]
    makes two stores of N index rows (10 million by default) as many imports leave them:
    FOLDER/ascending, whose UIDs have one root and ascending numbers, as a scanner gives them, and
    FOLDER/random, whose UIDs are random numbers (PS3.5, B.2), so that they are all over the range
python -m benchmarks.bench_scale compare FOLDER
    imports 1,000 new files into a new store and into each of these, in turn: whole jobs, then
    each step of their commits
python -m benchmarks.bench_scale optimize FOLDER
    `stores optimize` of both; compare before and after

Rows are those of a CT slice.
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
from collections.abc import Sequence
from pathlib import Path

import zstandard

from benchmarks.ct_files import ct_image
from benchmarks.index_rows import append_rows
from benchmarks.machine import describe_machine
from benchmarks.measuring import run, settle
from dicomferry.resource_names import parse_store
from dicomferry.sources.source import Source
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store, get_store
from dicomferry.store.index import Index
from dicomferry.store.known_sources import known_sources
from dicomferry.store.sources_table import remember_sources
from dicomferry.transforms.commit_instances import commit
from dicomferry.transforms.prepare_instances import rows_of
from dicomferry.transforms.records import Instance

_COMMIT_ROWS = 50_000
_NEW = 1_000
_REPEATS = 7
_JOBS = 5
_IMPORT = (sys.executable, "-m", "dicomferry.pipelines.import_dicom")
_DICOMFERRY = (sys.executable, "-c", "from dicomferry.cli.main import main; main()")
# As long as the values that replace them.
_ANY_UID = b"777777777777"
_RANDOM_UID = b"8" * 39
_METADATA = json.dumps(
    {f"{0x00080000 + n:08X}": {"vr": "LO", "Value": [f"value {n}"]} for n in range(60)}
)
_PACKED = zstandard.compress(_METADATA.encode())
KINDS = ("ascending", "random")


def sop_instance_uid(kind: str, number: int) -> str:
    """Return the SOP Instance UID of the instance with a number, which is always the same."""
    if kind == "ascending":
        return f"1.2.840.113619.2.55.3.604688119.{100_000_000 + number}"
    return f"2.25.{int.from_bytes(hashlib.sha256(str(number).encode()).digest()[:16])}"


def make_instance(kind: str, number: int) -> Instance:
    """Return an instance without a blob, which commits do not look at."""
    uid = sop_instance_uid(kind, number)
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
        metadata=_PACKED,
        structured_size=len(_METADATA),
        blob=f"instances/{study}/{series}/{uid}/{digest[:16]}.dcm",
        size=525_000,
        sha256=digest,
        crc32c=number,
        source_uri=f"gs://archive/2026/{number // 200:08d}/{number:010d}.dcm",
        source_version="1710147612000000",
    )


def grow(folder: Path, kinds: Sequence[str], rows: int) -> None:
    """Create both stores."""
    root = open_storage(str(folder))
    for kind in kinds:
        store = create_store(root, parse_store(kind))
        for start in range(0, rows, _COMMIT_ROWS):
            numbers = range(start, min(start + _COMMIT_ROWS, rows))
            instances = [make_instance(kind, number) for number in numbers]
            instances.sort(key=lambda instance: instance.sop_instance_uid)
            append_rows(store.data, rows_of(instances, "benchmark"))
            sources = [(i.source_uri, i.size, i.source_version) for i in instances]
            remember_sources(store.data, [(*source, "imported") for source in sources])
            print(f"{kind}: {numbers.stop:,} rows", file=sys.stderr)


def steps(data: Storage, kind: str, first: int) -> dict[str, float]:
    """Seconds of each step of an import of 1,000 files, after these were read."""
    batch = [make_instance(kind, number) for number in range(first, first + _NEW)]
    batch.sort(key=lambda instance: instance.sop_instance_uid)
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


def compare(folder: Path, kinds: Sequence[str]) -> None:
    """Measure imports into both stores and into new ones."""
    print(describe_machine(["deltalake", "pyarrow"]))
    root = open_storage(str(folder))
    for kind in kinds:
        large = get_store(root, parse_store(kind))
        index = Index(large.data)
        print(f"{kind} UIDs: {index.count():,} rows in {len(index.files)} files")
        whole_jobs(folder, kind)
        empty = create_store(root, parse_store(f"empty-{secrets.token_hex(4)}"))
        show(measure({"empty": empty.data, "large": large.data}, kind))


def measure(stores: dict[str, Storage], kind: str) -> dict[str, dict[str, float]]:
    """Return the medians of each step by store; stores run in turn."""
    first = iter(range(2_000_000_000 + random.randrange(10**8), 10**12, _NEW))
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in stores}
    for _ in range(_REPEATS):
        for name, data in stores.items():
            runs[name].append(steps(data, kind, next(first)))
    return {
        name: {step: statistics.median(run[step] for run in done) for step in done[0]}
        for name, done in runs.items()
    }


def whole_jobs(folder: Path, kind: str) -> None:
    """Show how long an import takes for 1,000 files, the same but for their UIDs."""
    root = open_storage(str(folder))
    templates = [_file_bytes(kind, number) for number in range(_NEW)]
    seconds: dict[str, list[float]] = {"empty": [], "large": []}
    for _ in range(_JOBS):
        for name, taken in seconds.items():
            files = folder / "in" / secrets.token_hex(4)
            files.mkdir(parents=True)
            digits = str(random.randrange(10**11, 10**12)).encode()
            for number, content in enumerate(templates):
                one = str(random.randrange(10**38, 2**128)).encode()
                named = content.replace(_ANY_UID, digits).replace(_RANDOM_UID, one)
                (files / f"{number:04d}.dcm").write_bytes(named)
            store = parse_store(kind)
            if name == "empty":
                store = create_store(root, parse_store(f"empty-{digits.decode()}")).name
            settle([files])
            flags = (f"--store={store.id}", f"--source={files}/**", f"--root={root.root}")
            taken.append(run([*_IMPORT, *flags]).seconds)
            shutil.rmtree(files)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    print(
        f"import of {_NEW:,} files, {kind} UIDs: new store {medians['empty']:.2f} s, "
        f"large store {medians['large']:.2f} s ({medians['large'] / medians['empty'] - 1:+.0%}); "
        f"all runs {[{n: [round(s, 2) for s in t]} for n, t in seconds.items()]}"
    )


def _file_bytes(kind: str, number: int) -> bytes:
    buffer = io.BytesIO()
    dataset = ct_image(f"1.2.826.0.1.3680043.8.498.{_ANY_UID.decode()}", number, 256, 256)
    if kind == "random":
        dataset.SOPInstanceUID = f"2.25.{_RANDOM_UID.decode()}"
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def optimize(folder: Path, kinds: Sequence[str]) -> None:
    """Show the time and memory of `stores optimize`."""
    root = open_storage(str(folder))
    for kind in kinds:
        data = get_store(root, parse_store(kind)).data
        before = len(Index(data).files)
        command = (*_DICOMFERRY, "stores", "optimize", kind)
        done = run([*command, f"--root={root.root}"], sampled=True)
        print(
            f"stores optimize, {kind} UIDs: {before} files to {len(Index(data).files)} "
            f"in {done.seconds:.1f} s, {done.peak >> 20} MB"
        )


def show(medians: dict[str, dict[str, float]]) -> None:
    names = list(medians)
    print(f"{'milliseconds':36}" + "".join(f"{name:>10}" for name in names))
    for step in medians[names[0]]:
        print(f"{step:36}" + "".join(f"{medians[name][step] * 1e3:10.0f}" for name in names))


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_scale")
    parser.add_argument("command", choices=["grow", "compare", "optimize"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--uids", choices=KINDS, action="append", help="default: both")
    known = parser.parse_args(argv)
    kinds = known.uids or KINDS
    if known.command == "compare":
        compare(known.folder, kinds)
    elif known.command == "optimize":
        optimize(known.folder, kinds)
    else:
        shutil.rmtree(known.folder, ignore_errors=True)
        grow(known.folder, kinds, known.rows)


if __name__ == "__main__":
    main(sys.argv[1:])
