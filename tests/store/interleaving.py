"""Runs two programs step by step, in every order of their steps with a few switches.

A step ends before each call that the programs share: of a storage, or of an index. The programs are
threads, of which one runs at a time.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_WAIT_SECONDS = 20


class Program:
    """A function in a thread, which stops before each shared call."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._may_run = threading.Semaphore(0)
        self._has_stopped = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.is_done = False
        self.error: BaseException | None = None
        self.steps = 0
        self._thread.start()

    def step(self) -> None:
        """Run until the next shared call, or the end."""
        if not self.is_done:
            self._may_run.release()
            assert self._has_stopped.acquire(timeout=_WAIT_SECONDS), "a step does not end"

    def finish(self) -> None:
        """Run to the end; raise what the function raised."""
        while not self.is_done:
            self.step()
        if self.error:
            raise self.error

    def stop_here(self) -> None:
        """End a step, if this is the thread of the program."""
        if threading.current_thread() is self._thread:
            self.steps += 1
            self._has_stopped.release()
            assert self._may_run.acquire(timeout=_WAIT_SECONDS), "nobody goes on"

    def _run(self) -> None:
        self._may_run.acquire()
        try:
            self._function()
        except BaseException as error:
            self.error = error
        self.is_done = True
        self._has_stopped.release()


@contextmanager
def stopping_at(monkeypatch, programs: list[Program], calls: list[tuple[type, str]]):
    """Let the programs stop before each call of some methods."""
    with monkeypatch.context() as patch:
        for owner, name in calls:
            patch.setattr(owner, name, _stopping(getattr(owner, name), programs))
        yield


def _stopping(function, programs):
    def stopping(*args, **kwargs):
        for program in programs:
            program.stop_here()
        return function(*args, **kwargs)

    return stopping


def orders(first: int, second: int) -> Iterator[list[tuple[int, int]]]:
    """Yield every way in which a program of so many steps is stopped once, beside another one.

    Each is a list of (program, steps): one goes some steps, the other one some, then the one to its
    end, then the other.
    """
    for one, other in ((0, 1), (1, 0)):
        ends = (first, second) if one == 0 else (second, first)
        for before in range(ends[0] + 1):
            for between in range(1, ends[1] + 1):
                yield [(one, before), (other, between), (one, 10**6), (other, 10**6)]


def run(programs: list[Program], order: list[tuple[int, int]]) -> None:
    """Run programs in an order, to their ends; raise what they raised."""
    for number, steps in order:
        for _ in range(steps):
            if programs[number].is_done:
                break
            programs[number].step()
    for program in programs:
        program.finish()
