"""Progress of a job: a bar in terminals and notebooks, plain lines in logs if they are wanted."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dicomferry.operations.outcomes import ProgressCounts
from dicomferry.operations.ownership import ProgressCallback

_LINE_SECONDS = 10.0


@contextmanager
def progress_bar(verb: str, *, is_shown: bool | None = None) -> Iterator[ProgressCallback | None]:
    """Yield a function that shows counts and the total (0: not known yet); None shows nothing.

    Args:
        verb: import or export.
        is_shown: default: in a terminal or a notebook, where somebody looks at it.
    """
    if is_shown is False:
        yield None
    elif _is_notebook():
        yield _NotebookBar(verb)
    elif is_shown or sys.stderr.isatty():
        with Progress(
            TextColumn(verb),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} files"),
            TextColumn("{task.fields[size]}  {task.fields[rate]}"),
            TextColumn("[red]{task.fields[failed]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True, force_jupyter=False),
        ) as bar:
            yield _TerminalBar(bar, verb)
    else:
        yield None


@contextmanager
def progress_bar_or_lines(verb: str) -> Iterator[ProgressCallback]:
    """Yield a function that shows a bar in a terminal, and elsewhere a line now and then."""
    with progress_bar(verb) as bar:
        yield bar or _Lines(verb)


class _TerminalBar:
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
            rate=f"{_rate(counts, self._started):,.0f} files/s",
            failed=f"{counts.failed:,} failed" if counts.failed else "",
        )


class _NotebookBar:
    """An output of a cell that is replaced; needs no widgets."""

    def __init__(self, verb: str) -> None:
        from IPython.display import display

        self._verb = verb
        self._started = time.monotonic()
        self._output: Any = display({"text/plain": verb}, raw=True, display_id=True)

    def __call__(self, counts: ProgressCounts, total: int) -> None:
        line = _line(self._verb, counts, total, self._started)
        bar = f'<progress value="{counts.read}" max="{total or 1}"></progress>'
        self._output.update({"text/plain": line, "text/html": f"{bar} {line}"}, raw=True)


class _Lines:
    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._started = self._said = time.monotonic()

    def __call__(self, counts: ProgressCounts, total: int) -> None:
        now = time.monotonic()
        if now - self._said >= _LINE_SECONDS:
            self._said = now
            line = _line(self._verb, counts, total, self._started)
            print(line, file=sys.stderr, flush=True)


def _is_notebook() -> bool:
    """Whether this process is the kernel of a notebook, by the class of IPython's shell."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return type(shell).__name__ in ("ZMQInteractiveShell", "Shell")  # Jupyter, Colab


def _line(verb: str, counts: ProgressCounts, total: int, started: float) -> str:
    return (
        f"{verb}: {counts.read} of {total} files, {counts.bytes / 1e6:.0f} MB, "
        f"{_rate(counts, started):.0f} files/s, {counts.failed} failed"
    )


def _rate(counts: ProgressCounts, started: float) -> float:
    return counts.read / max(time.monotonic() - started, 1e-6)
