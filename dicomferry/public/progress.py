"""Progress of a job: a bar in terminals and notebooks, plain lines in logs on request."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table

from dicomferry.operations.outcomes import ProgressCounts, Total
from dicomferry.operations.ownership import ProgressCallback

_LINE_SECONDS = 10.0
_WIDE = 120


@contextmanager
def progress_bar(
    verb: str, noun: str = "file", *, is_shown: bool | None = None
) -> Iterator[ProgressCallback | None]:
    """Yield a function that shows counts and the total; None shows nothing.

    Args:
        verb: import or export.
        noun: what is counted.
        is_shown: whether to show it; default: only in a terminal or a notebook.
    """
    if is_shown is False:
        yield None
    elif _is_notebook():
        yield _NotebookBar(verb, noun)
    elif is_shown or sys.stderr.isatty():
        bar = _TerminalBar(verb, noun, Console(stderr=True, force_jupyter=False))
        with Live(bar, console=bar.console, redirect_stdout=False) as live:
            try:
                yield bar
            finally:
                live.transient = not bar.has_begun
    else:
        yield None


def progress_lines(
    verb: str, noun: str = "file", say: Callable[[str], None] | None = None
) -> ProgressCallback:
    """Return a function that reports the progress in one line, at most every 10 seconds.

    Args:
        verb: import or export.
        noun: what is counted.
        say: receives the line; default: prints to standard error.
    """
    pace = _Pace(verb, noun)
    said = time.monotonic()

    def show(counts: ProgressCounts, total: Total) -> None:
        nonlocal said
        pace.look(counts, total)
        now = time.monotonic()
        if now - said >= _LINE_SECONDS:
            said = now
            line = pace.line(is_wide=True)
            if say:
                say(f"{verb}: {line}")
            else:
                print(f"{verb}: {line}", file=sys.stderr, flush=True)

    return show


class _Pace:
    """Counts, rate and remaining time of a job, in words."""

    def __init__(self, verb: str, noun: str) -> None:
        self.verb = verb
        self._noun = noun
        self.counts, self.total = ProgressCounts(), Total(is_final=False)
        self._began = time.monotonic()
        self._working_since: float | None = None

    def look(self, counts: ProgressCounts, total: Total) -> None:
        """Take what a job reports."""
        self.counts, self.total = counts, total
        if self._working_since is None and not self.is_listing:
            # The rate leaves out the time of the listing, if that is known.
            self._working_since = self._began if counts.read else time.monotonic()

    @property
    def is_listing(self) -> bool:
        """Whether the total still grows."""
        return not (self.total.is_final or self.counts.read)

    @property
    def is_done(self) -> bool:
        """Whether everything was processed."""
        return self.total.is_final and self.counts.read >= self.total.number > 0

    def line(self, *, is_wide: bool) -> str:
        """Return the progress in a few words."""
        counts, total = self.counts, self.total.number
        if self.is_listing:
            return f"listing … {total:,} found" if total else "starting …"
        now = time.monotonic()
        rate = counts.read / max(now - (self._working_since or self._began), 1e-6)
        parts = [f"{counts.read:,} of {total:,} {self._noun}s"]
        if counts.read:
            parts.append(f"{rate:,.0f}/s" if rate >= 1 else f"{rate * 60:,.1f}/min")
        if is_wide and counts.bytes:
            parts.append(f"{counts.bytes / 1e6:,.0f} MB")
        if self.is_done:
            parts.append(f"in {_clock(now - self._began)}")
        elif counts.read and total > counts.read:
            parts.append(f"{_clock((total - counts.read) / rate)} left")
        if counts.failed:
            parts.append(f"{counts.failed:,} failed")
        return ", ".join(parts)


class _TerminalBar:
    def __init__(self, verb: str, noun: str, console: Console) -> None:
        self.console = console
        self._pace = _Pace(verb, noun)
        self._spinner = Spinner("dots")

    @property
    def has_begun(self) -> bool:
        """Whether anything was processed."""
        return bool(self._pace.counts.read)

    def __call__(self, counts: ProgressCounts, total: Total) -> None:
        self._pace.look(counts, total)

    def __rich__(self) -> RenderableType:
        pace = self._pace
        is_wide = self.console.width >= _WIDE
        line = Table.grid(padding=(0, 1))
        if pace.is_listing:
            line.add_row(self._spinner, f"{pace.verb}: {pace.line(is_wide=is_wide)}")
        else:
            bar = ProgressBar(
                total=max(pace.total.number, pace.counts.read, 1),
                completed=pace.counts.read,
                width=_WIDE // 4 if is_wide else 12,
            )
            line.add_row(pace.verb, bar, pace.line(is_wide=is_wide))
        return line


class _NotebookBar:
    """The output of a notebook cell, replaced with each update; needs no widgets."""

    def __init__(self, verb: str, noun: str) -> None:
        from IPython.display import display

        self._pace = _Pace(verb, noun)
        self._output: Any = display({"text/plain": verb}, raw=True, display_id=True)

    def __call__(self, counts: ProgressCounts, total: Total) -> None:
        self._pace.look(counts, total)
        line = f"{self._pace.verb}: {self._pace.line(is_wide=True)}"
        bar = f'<progress value="{counts.read}" max="{total.number or 1}"></progress>'
        self._output.update({"text/plain": line, "text/html": f"{bar} {line}"}, raw=True)


def _is_notebook() -> bool:
    """Whether this process is the kernel of a notebook, by the class of IPython's shell."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return type(shell).__name__ in ("ZMQInteractiveShell", "Shell")  # Jupyter, Colab


def _clock(seconds: float) -> str:
    """Return a time as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))
