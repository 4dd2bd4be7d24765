"""Which files of a table are merged with which: the decisions of a log-structured merge tree.

A run is a list of files whose ranges do not overlap. Each file is sorted.
"""

import hashlib
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from dicomferry.store.index_files import IndexFile

# Names of the files of a run: sorted-{run}-{number}.parquet.
SORTED = "sorted-"
FAN_IN = 16
# A run is merged once all smaller ones together have a quarter of its rows.
SIZE_RATIO = 4
# Files of a job that do not overlap are a run as they are, if they have so many rows or bytes.
_LARGE_ROWS = 50_000
_LARGE_BYTES = 64 << 20


class Merge(NamedTuple):
    """A range of some runs, which becomes a part of a new run.

    Attributes:
        run: name of the new run; it follows from the files.
        runs: the files of each that overlap the range.
        low: the first UID of the range.
        high: the first UID behind it; None: there is no end.
    """

    run: str
    runs: tuple[tuple[IndexFile, ...], ...]
    low: str = ""
    high: str | None = None

    @property
    def files(self) -> list[IndexFile]:
        """All files."""
        return [file for run in self.runs for file in run]

    def divided(self, bounds: Sequence[str]) -> Iterator["Merge"]:
        """Yield the ranges of a whole merge that begin at some UIDs, and the one before these."""
        for low, high in zip(["", *bounds], [*bounds, None], strict=True):
            runs = (_between(run, low, high) for run in self.runs)
            yield Merge(self.run, tuple(filter(None, runs)), low, high)


def plan_merges(files: Sequence[IndexFile]) -> list[Merge]:
    """Return what to merge of the files of a table: no file is in two merges."""
    runs = sorted(split_into_runs(pick_runs(files)), key=_rows)
    some = (runs[start : start + FAN_IN] for start in range(0, len(runs), FAN_IN))
    return [Merge(_name_of(each), tuple(map(tuple, each))) for each in some]


def pick_runs(files: Sequence[IndexFile]) -> list[IndexFile]:
    """Select files to merge.

    Returns:
        Small files outside a sorted run, and each run with at most `SIZE_RATIO` times the rows
        selected before it. Large files outside one that do not overlap are one, too.
    """
    by_run = defaultdict(list)
    for file in files:
        by_run[run_of(file.path)].append(file)
    chosen: list[IndexFile] = []
    runs: list[list[IndexFile]] = []
    for chain in split_into_runs(by_run.pop("", [])):
        if _are_large(chain):
            runs.append(chain)
        else:
            chosen += chain
    total = _rows(chosen)
    waiting: list[IndexFile] = []
    for run in sorted([*runs, *by_run.values()], key=_rows):
        waiting += run
        if _rows(run) <= SIZE_RATIO * total:
            chosen += waiting
            waiting = []
        total += _rows(run)
    return chosen


def split_into_runs(files: Sequence[IndexFile]) -> list[list[IndexFile]]:
    """Split files into as few runs as possible: lists in which no ranges overlap, in order."""
    runs: list[list[IndexFile]] = []
    for file in sorted(files, key=lambda file: file.first):
        for run in runs:
            if run[-1].last < file.first:
                run.append(file)
                break
        else:
            runs.append([file])
    return runs


def run_of(path: str) -> str:
    """Return the name of the run that a file was written for; '' if it was for none."""
    return path.split("-")[1] if path.startswith(SORTED) else ""


def _are_large(files: Sequence[IndexFile]) -> bool:
    size = sum(file.size for file in files)
    return _rows(files) >= _LARGE_ROWS * len(files) or size >= _LARGE_BYTES * len(files)


def _between(run: Sequence[IndexFile], low: str, high: str | None) -> tuple[IndexFile, ...]:
    start = bisect_left(run, low, key=lambda file: file.last)
    end = len(run) if high is None else bisect_left(run, high, key=lambda file: file.first)
    return tuple(run[start:end])


def _name_of(runs: Iterable[Sequence[IndexFile]]) -> str:
    """Return a name that another attempt gives as well."""
    paths = sorted(file.path for run in runs for file in run)
    return hashlib.blake2b("\n".join(paths).encode(), digest_size=16).hexdigest()


def _rows(files: Sequence[IndexFile]) -> int:
    return sum(file.rows for file in files)
