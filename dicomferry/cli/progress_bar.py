"""Show how far a job is: a live bar on a terminal, plain log lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dicomferry.operations.outcomes import ProgressCounts
from dicomferry.operations.ownership import ProgressCallback

_LINE_SECONDS = 10.0


@contextmanager
def showing_progress(verb: str) -> Iterator[ProgressCallback]:
    """Yield a function that shows the counts so far and the total (0: not known yet)."""
    if sys.stderr.isatty():
        with Progress(
            TextColumn(verb),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} files"),
            TextColumn("{task.fields[size]}  {task.fields[rate]}"),
            TextColumn("[red]{task.fields[failed]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        ) as bar:
            yield _Bar(bar, verb)
    else:
        yield _Lines(verb)


class _Bar:
    def __init__(self, bar: Progress, verb: str) -> None:
        self._bar = bar
        self._started = time.monotonic()
        self._task = bar.add_task(verb, total=0, size="", rate="", failed="")

    def __call__(self, counts: ProgressCounts, total: int) -> None:
        self._bar.update(
            self._task,
            completed=counts.read,
            total=total,
            size=f"{counts.bytes / 1e6:,.0f} MB",
            rate=f"{counts.read / (time.monotonic() - self._started):,.0f} files/s",
            failed=f"{counts.failed:,} failed" if counts.failed else "",
        )


class _Lines:
    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._started = self._said = time.monotonic()

    def __call__(self, counts: ProgressCounts, total: int) -> None:
        now = time.monotonic()
        if now - self._said < _LINE_SECONDS:
            return
        self._said = now
        print(
            f"{self._verb}: {counts.read} of {total} files, {counts.bytes / 1e6:.0f} MB, "
            f"{counts.read / (now - self._started):.0f} files/s, {counts.failed} failed",
            file=sys.stderr,
            flush=True,
        )
