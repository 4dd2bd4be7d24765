"""python -m benchmarks.bench_import: an import beside `cp -r` and a plain pydicom loop.

Files are below bench-data/ and created once. Each contender is a process of its own that writes
below bench-data/run, which is removed between runs; before each run the page cache is warmed and
writes of earlier runs are synced. Start and steady rate come from the difference between a long and
a short run of the same kind.
"""

import argparse
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import ct_files
from benchmarks.machine import describe_machine, load
from benchmarks.measuring import Run, run, settle, steady
from benchmarks.targets import Target, print_targets
from dicomferry.resource_names import parse_store
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import get_store
from dicomferry.store.index import Index

_RUN = ct_files.ROOT / "run"
_ROOT = _RUN / "root"
_COMMAND = Path(sys.executable).parent / "dicomferry"
_DISTRIBUTIONS = ("apache-beam", "pydicom", "numpy", "pyarrow", "deltalake", "obstore")
_MB = 1e6
_METHOD = (
    "Medians of {repeats}, contenders taking turns; page cache warm; earlier writes synced before "
    "each run.\nSteady: {many} files less {few} files. An import hashes each file and syncs what "
    "it stores to disk;\ncp -r and the loop do neither."
)

_Command = Callable[[Path], list[str | Path]]


class _Size(NamedTuple):
    """Sizes of the runs.

    Attributes:
        few: files of a short run; `many`: of a long one.
        small: files of the run whose memory is measured.
        gigabytes: of the single large file.
        listed: entries of the listing of files that do not exist.
        listed_seconds: after which that run is ended.
        repeats: of each run.
    """

    few: int
    many: int
    small: int
    gigabytes: int
    listed: int
    listed_seconds: float
    repeats: int


_FULL = _Size(200, 2_000, 20_000, 2, 1_000_000, 120, 3)
_QUICK = _Size(50, 300, 1_000, 1, 100_000, 30, 1)


def _copy(source: Path) -> list[str | Path]:
    return ["cp", "-r", source, _RUN / "copy"]


def _copy_synced(source: Path) -> list[str | Path]:
    return ["sh", "-c", 'cp -r "$1" "$2" && sync -f "$2"', "sh", source, _RUN / "copy"]


def _plain(source: Path) -> list[str | Path]:
    return [sys.executable, "-m", "benchmarks.plain_import", source, _RUN / "plain"]


def _import(source: Path) -> list[str | Path]:
    return [_COMMAND, "import", "bench", f"{source.resolve()}/**.dcm", "--root", _ROOT]


_OURS = "dicomferry import"
_CONTENDERS: dict[str, _Command] = {
    _OURS: _import,
    "cp -r": _copy,
    "cp -r, and sync": _copy_synced,
    "Pool(2): dcmread, to_json_dict, copyfile": _plain,
}


def _measure(command: _Command, source: Path, *, sampled: bool = False) -> Run:
    """One run into empty folders; for an import also the time until the first blob."""
    shutil.rmtree(_RUN, ignore_errors=True)
    _RUN.mkdir(parents=True)
    if command is _import:
        run([_COMMAND, "stores", "create", "bench", "--root", _ROOT])
    settle([source])
    first = _blob_appeared if command is _import and not sampled else None
    return run(command(source), sampled=sampled, appeared=first)


def _blob_appeared() -> bool:
    blobs = _ROOT.glob("projects/*/locations/*/datasets/*/dicomStores/*/data/*/instances/*/*/*/*")
    return next(blobs, None) is not None


def _take_turns(
    commands: Mapping[str, _Command], sources: Sequence[Path], repeats: int
) -> dict[str, list[list[Run]]]:
    """Run all commands on all sources: runs by name, then by source."""
    runs: dict[str, list[list[Run]]] = {name: [[] for _ in sources] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            for at, source in enumerate(sources):
                runs[name][at].append(_measure(command, source))
    return runs


def _compare(console: Console, size: _Size) -> list[Target]:
    """The contenders on CT-like files of 0.5 MB."""
    short, long = ct_files.make_nested("ct", [size.few, size.many])
    runs = _take_turns(_CONTENDERS, [short, long], size.repeats)
    results = {
        name: steady(brief, whole, size.few, size.many) for name, (brief, whole) in runs.items()
    }
    megabytes = _file_megabytes(long)
    table = Table(title=f"{size.many:,} files of {megabytes:.2f} MB", title_justify="left")
    for heading in ("", "start s", "steady files/s", "MB/s", "start and all files/s", "deviation"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, result in results.items():
        table.add_row(
            name,
            f"{result.start:.1f}",
            f"{result.rate:,.0f}",
            f"{result.rate * megabytes:,.0f}",
            f"{result.whole:,.0f}",
            f"±{result.deviation:.0%}",
        )
    console.print(table)
    ours, copied, synced, plain = (results[name].rate for name in _CONTENDERS)
    first = statistics.median(run.first for run in runs[_OURS][1])
    return [
        Target("steady rate beside the pydicom loop", ours / plain, 1.5, "times"),
        Target("steady rate beside cp -r (the aim)", ours / copied, 1.0, "times"),
        Target("steady rate beside cp -r, and sync", ours / synced, 1.0, "times"),
        Target("start to first file", first, 5.0, "s", at_most=True),
    ]


def _scale(console: Console, size: _Size) -> Target:
    """Cost a file at few and at many small files."""
    counts = [size.few, size.many, size.small]
    folders = ct_files.make_nested("small", counts, 96, 72)
    (runs,) = _take_turns({_OURS: _import}, folders, size.repeats).values()
    costs = []
    for many, long in zip(counts[1:], runs[1:], strict=True):
        result = steady(runs[0], long, size.few, many)
        costs.append(1 / result.rate)
        console.print(
            f"{many:,} files of {_file_megabytes(folders[0]) * 1000:.0f} KB: "
            f"{1000 / result.rate:.2f} ms a file beyond the first {size.few}, "
            f"start {result.start:.1f} s (±{result.deviation:.0%})"
        )
    name = f"cost a file at {size.small:,} small files beside {size.many:,}"
    return Target(name, costs[1] / costs[0], 1.1, "times", at_most=True)


def _memory(console: Console, size: _Size) -> Iterator[Target]:
    """The greatest memory of the process tree in each kind of run."""
    ct = ct_files.make_nested("ct", [size.few, size.many])[-1]
    small = ct_files.make_nested("small", [size.few, size.many, size.small], 96, 72)[-1]
    large = ct_files.make_large(size.gigabytes)
    kinds = {
        f"{size.many:,} CT-like files": ct,
        f"{size.small:,} small files": small,
        f"one multi-frame file of {size.gigabytes} GB": large,
    }
    for name, source in kinds.items():
        measured = _measure(_import, source, sampled=True)
        console.print(
            f"{name}: {measured.seconds:.1f} s, {measured.cpu:.1f} s of CPU, "
            f"{measured.peak / _MB:.0f} MB"
        )
        yield Target(f"memory, {name}", measured.peak / _MB, 800, "MB", at_most=True)
    shutil.rmtree(_RUN, ignore_errors=True)
    run([_COMMAND, "stores", "create", "bench", "--root", _ROOT])
    header = next(ct.rglob("*.dcm"))
    argv = ["benchmarks.million_sources", "bench", _ROOT, header, size.listed]
    measured = run([sys.executable, "-m", *map(str, argv)], sampled=True, limit=size.listed_seconds)
    done = Index(get_store(open_storage(str(_ROOT)), parse_store("bench")).data).count()
    console.print(
        f"a listing of {size.listed:,} entries, headers made up: {done:,} of them committed in "
        f"{measured.seconds:.0f} s, {measured.peak / _MB:.0f} MB"
    )
    name = f"memory, {size.listed:,} listed entries"
    yield Target(name, measured.peak / _MB if done else None, 800, "MB", at_most=True)


def _file_megabytes(folder: Path) -> float:
    return next(folder.rglob("*.dcm")).stat().st_size / _MB


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_import")
    parser.add_argument("--quick", action="store_true", help="few files, once: a trial")
    size = _QUICK if parser.parse_args(argv).quick else _FULL
    console = Console(width=110)
    console.print(describe_machine(_DISTRIBUTIONS), highlight=False)
    console.print(_METHOD.format(repeats=size.repeats, few=size.few, many=size.many))
    targets = [*_compare(console, size), _scale(console, size), *_memory(console, size)]
    print_targets(console, targets)
    console.print(load())
    shutil.rmtree(_RUN, ignore_errors=True)


if __name__ == "__main__":
    main()
