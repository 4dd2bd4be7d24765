"""python -m benchmarks.bench_table: an export to tables beside a plain pydicom loop.

The loop reads 2,000 real files below bench-data/; exports read index rows made from the headers of
the same files. Each contender is a process of its own, and they run in turn. Start and steady rate
come from the difference between a long and a short run.
"""

import argparse
import shutil
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import ct_files
from benchmarks.machine import describe_machine, load
from benchmarks.measuring import Run, run, settle, steady
from benchmarks.targets import Target, print_targets

_RUN = ct_files.ROOT / "run-table"
_ROOT = _RUN / "root"
_COMMAND = Path(sys.executable).parent / "dicomferry"
_DISTRIBUTIONS = ("apache-beam", "pydicom", "pyarrow", "deltalake", "duckdb", "orjson")
_PLAIN = "pydicom loop"
_MB = 1e6
# Target by schema: times the speed of the loop.
_FASTER = {"json": 5.0, "flattened": 2.0}
_METHOD = (
    "Medians of {repeats} (of the longest: 1), contenders taking turns; page cache warm.\n"
    "An export makes rows, a schema and a table in one transaction; the pydicom loop, a Pool(2)\n"
    "of dcmread, to_json_dict and json.dumps, makes one text file. Steady: beyond the shorter run."
)


class _Size(NamedTuple):
    """Sizes of the runs: files of the loop, instances of the exports, repetitions."""

    files: tuple[int, int]
    instances: tuple[int, int, int]
    repeats: int


_FULL = _Size((200, 2_000), (2_000, 20_000, 200_000), 3)
_QUICK = _Size((50, 300), (500, 2_000, 8_000), 1)


def _export(count: int, schema: str, kind: str) -> Run:
    """Run one export into a new table, with its memory sampled."""
    table = _RUN / f"{kind}-{schema}"
    for path in _RUN.glob(f"{table.name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    uri = f"duckdb:{table}.duckdb#instances" if kind == "duckdb" else f"delta:{table}"
    settle()
    argv: list[str | Path] = [_COMMAND, "export", "table", _store(count), uri]
    return run([*argv, f"--schema={schema}", f"--root={_ROOT}"], sampled=True)


def _store(count: int) -> str:
    return f"rows-{count}"


def _make_stores(size: _Size, source: Path) -> None:
    shutil.rmtree(_RUN, ignore_errors=True)
    _RUN.mkdir(parents=True)
    for count in size.instances:
        argv: list[str | Path] = [sys.executable, "-m", "benchmarks.index_rows"]
        run([*argv, _ROOT, _store(count), str(count), source])


def _measure_loop(size: _Size, folders: Sequence[Path]) -> list[Run]:
    runs = []
    for folder in folders:
        settle([folder])
        argv: list[str | Path] = [sys.executable, "-m", "benchmarks.plain_table", folder]
        runs.append(run([*argv, _RUN / "plain.ndjson"]))
    return runs


def _compare(console: Console, size: _Size) -> Iterator[Target]:
    folders = ct_files.make_nested("ct", size.files)
    _make_stores(size, folders[-1])
    kinds = [(schema, kind) for schema in _FASTER for kind in ("duckdb", "delta")]
    loops: tuple[list[Run], list[Run]] = ([], [])
    runs: dict[tuple[str, str], list[list[Run]]] = {kind: [[], [], []] for kind in kinds}
    for repeat in range(size.repeats):
        for found, measured in zip(loops, _measure_loop(size, folders), strict=True):
            found.append(measured)
        for at, count in enumerate(size.instances):
            if at < 2 or not repeat:
                for schema, kind in kinds:
                    runs[schema, kind][at].append(_export(count, schema, kind))
    loop = steady(loops[0], loops[1], *size.files)
    few, some, many = size.instances
    table = Table(title="Rows a second, of whole runs and steady", title_justify="left")
    names = [f"{count:,}" for count in size.instances]
    for heading in ("", *names, "start s", f"to {some:,}", f"to {many:,}", "peak MB"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row(_PLAIN, f"{loop.whole:,.0f}", "", "", f"{loop.start:.1f}", f"{loop.rate:,.0f}")
    for (schema, kind), (brief, middle, whole) in runs.items():
        first = steady(brief, middle, few, some)
        second = steady(middle, whole, some, many)
        peak = max(each.peak for each in (*brief, *middle, *whole)) / _MB
        table.add_row(
            f"{schema} into {kind}",
            *(
                f"{count / statistics.median(each.seconds for each in found):,.0f}"
                for count, found in zip(size.instances, (brief, middle, whole), strict=True)
            ),
            f"{first.start:.1f}",
            f"{first.rate:,.0f}",
            f"{second.rate:,.0f}",
            f"{peak:,.0f}",
        )
        name = f"{schema} into {kind}"
        yield Target(
            f"{name}: rate beside the loop", second.rate / loop.rate, _FASTER[schema], "times"
        )
        yield Target(
            f"{name}: cost a row to {many:,} beside to {some:,}",
            first.rate / second.rate,
            1.1,
            "times",
            at_most=True,
        )
        yield Target(f"{name}: memory", peak, 1000, "MB", at_most=True)
    console.print(table)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_table")
    parser.add_argument("--quick", action="store_true", help="few instances, once: a trial")
    size = _QUICK if parser.parse_args(argv).quick else _FULL
    console = Console(width=110)
    console.print(describe_machine(_DISTRIBUTIONS), highlight=False)
    console.print(_METHOD.format(repeats=size.repeats))
    targets = list(_compare(console, size))
    print_targets(console, targets)
    console.print(load())
    shutil.rmtree(_RUN, ignore_errors=True)


if __name__ == "__main__":
    main()
