"""python -m benchmarks.bench_export: exports beside plain loops, dcmtk, gdcm and Orthanc.

Each row is the export of CT-like files, or of one multi-frame instance, to one format. Our command
and the plain loop are processes of their own; start and steady rate come from a short and a long
run. Peers get the files of the short run: dcmtk and gdcm as one process per file, two at a time;
Orthanc as a running server that holds the files already, with two clients. All rows are repeated in
rounds while there is time; a peer that is far behind the best one is not repeated.
"""

import argparse
import math
import os
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.export_rows import FULL, QUICK, ROWS, Row, Size
from benchmarks.export_runs import RUN, RowRuns, Stores
from benchmarks.machine import describe_machine, load
from benchmarks.measuring import Run, steady
from benchmarks.performance_page import write_block
from benchmarks.targets import Target, print_targets

_DISTRIBUTIONS = ("apache-beam", "pydicom", "numpy", "imagecodecs", "pyjpegls", "pylibjpeg-rle")
_MB = 1e6
_LONG_ENOUGH_SECONDS = 2.0
_CORES = os.cpu_count() or 1
_ROUNDS = 3
_MINUTES = 12.0


class _Result(NamedTuple):
    """Result of one row; rates are in files or frames per second."""

    row: Row
    repeats: int
    rate: float
    start: float
    whole: float
    plain: float
    peers: dict[str, float | None]
    peak: int
    cores: float

    @property
    def best_peer(self) -> float | None:
        """None if a peer is missing, since it was not measured."""
        counted = [rate for name, rate in self.peers.items() if name not in self.row.not_counted]
        rates = [rate for rate in counted if rate is not None]
        return max(rates) if rates and len(rates) == len(counted) else None


def _result(runs: RowRuns) -> _Result:
    few, many = runs.counts
    ours = steady(*runs.ours, few, many)
    return _Result(
        runs.row,
        runs.repeats,
        rate=ours.rate,
        start=ours.start,
        whole=few / statistics.median(each.seconds for each in runs.ours[0]),
        plain=steady(*runs.plain, few, many).rate,
        peers=runs.peer_rates(),
        peak=max(each.peak for each in runs.sampled),
        cores=_cores(*runs.sampled),
    )


def _cores(short: Run, long: Run) -> float:
    """Return CPU time by wall time, both without the start; NaN where too little is left."""
    seconds = long.seconds - short.seconds
    return (long.cpu - short.cpu) / seconds if seconds >= _LONG_ENOUGH_SECONDS else math.nan


def _measure(
    console: Console, size: Size, rows: Sequence[Row], rounds: int, minutes: float
) -> list[RowRuns]:
    """Repeat the rows in rounds until the time is over; each runs at least once."""
    end = time.monotonic() + 60 * minutes
    stores = Stores(size)
    measured: list[RowRuns] = []
    longest: dict[str, float] = {}
    for number in range(rounds):
        for row in rows:
            began = time.monotonic()
            if number and began + longest[row.name] > end:
                continue
            if not number:
                measured.append(RowRuns(row, size, stores))
                began = time.monotonic()
            next(each for each in measured if each.row is row).repeat()
            longest[row.name] = time.monotonic() - began
        console.print(f"round {number + 1} of {rounds} done; {load()}", highlight=False)
    return measured


_HEADINGS = ("", "steady", "start s", "whole", "plain loop", "peers", "memory MB", "cores", "runs")


def _cells(result: _Result) -> list[str]:
    rates = (
        f"{name} {'MISSING' if rate is None else format(rate, ',.0f') if rate else 'cannot'}"
        + (" (not counted)" if name in result.row.not_counted else "")
        for name, rate in result.peers.items()
    )
    return [
        result.row.name,
        f"{result.rate:,.0f}",
        f"{result.start:.1f}",
        f"{result.whole:,.0f}",
        f"{result.plain:,.0f}",
        ", ".join(rates) or "none",
        f"{result.peak / _MB:,.0f}",
        "-" if math.isnan(result.cores) else f"{result.cores:.1f}",
        str(result.repeats),
    ]


def _print(console: Console, results: Sequence[_Result]) -> None:
    table = Table(title="files or frames a second", title_justify="left")
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading in ("", "peers") else "right")
    for result in results:
        table.add_row(*_cells(result))
    console.print(table)


def _targets(results: Sequence[_Result]) -> Iterator[Target]:
    for result in results:
        row = result.row
        plain = _times(result.rate, result.plain)
        yield Target(f"{row.name}, beside the plain loop", plain, 0.9, "times")
        if row.peer_factor:
            best = _times(result.rate, result.best_peer)
            yield Target(f"{row.name}, beside the best peer", best, row.peer_factor, "times")
    peak = max(result.peak for result in results) / _MB
    yield Target("memory, of all rows the most", peak, 1000, "MB", at_most=True)
    cores = [result.cores for result in results if not math.isnan(result.cores)]
    busy = statistics.median(cores) if cores else None
    yield Target("cores busy, median of the rows that last", busy, 0.8 * _CORES, "cores")


def _times(rate: float, other: float | None) -> float | None:
    """Return the ratio of two rates; None where one was not measured."""
    return rate / other if other and math.isfinite(rate) and math.isfinite(other) else None


def _markdown(results: Sequence[_Result], targets: Sequence[Target], method: str) -> str:
    lines = [
        describe_machine(_DISTRIBUTIONS).partition("\n")[0] + ".",
        "Files or frames a second. " + method.replace("\n", " "),
        "",
        "| " + " | ".join(_HEADINGS) + " |",
        "|---|" + "--:|" * 4 + "---|" + "--:|" * 3,
        *("| " + " | ".join(_cells(result)) + " |" for result in results),
        "",
    ]
    missed = [
        f"{each.name} {each.verdict if each.measured is None else format(each.measured, ',.2f')}"
        f" of {each.bound:,.2f}"
        for each in targets
        if each.verdict != "pass"
    ]
    reached = f"{len(targets) - len(missed)} of {len(targets)} targets reached"
    lines.append(f"{reached}. Not reached: {'; '.join(missed)}." if missed else f"{reached}.")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_export")
    parser.add_argument("--quick", action="store_true", help="few files, once: a trial")
    parser.add_argument("--rows", default="", help="only rows whose name contains this")
    parser.add_argument("--repeats", type=int, default=0, help="rounds at most")
    parser.add_argument("--minutes", type=float, default=_MINUTES, help="no new run after these")
    known = parser.parse_args(argv)
    size = QUICK if known.quick else FULL
    rounds = known.repeats or (1 if known.quick else _ROUNDS)
    rows = [row for row in ROWS if known.rows in row.name]
    console = Console(width=120)
    console.print(describe_machine(_DISTRIBUTIONS), highlight=False)
    method = (
        f"Medians of {rounds} rounds, fewer where time was short (runs); page cache warm; earlier "
        "writes synced before each run; memory and cores of a run of its own.\n"
        f"Whole: {size.few} files or one of {size.few_frames} frames, start included. Steady: "
        "more of them less these.\nPeers: the same files; the time in which Orthanc starts and "
        "imports the files is left out."
    )
    console.print(method, highlight=False)
    shutil.rmtree(RUN, ignore_errors=True)
    RUN.mkdir(parents=True)
    try:
        runs = _measure(console, size, rows, rounds, known.minutes)
    finally:
        shutil.rmtree(RUN, ignore_errors=True)
    results = [_result(each) for each in runs]
    targets = list(_targets(results))
    _print(console, results)
    print_targets(console, targets)
    if known.quick or known.rows:
        return
    if not write_block("bench-export", _markdown(results, targets, method)):
        console.print("docs/performance.md has no <!-- bench-export --> and <!-- /bench-export -->")


if __name__ == "__main__":
    main()
