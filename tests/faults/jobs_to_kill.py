"""Run a pipeline as a program and kill it, and all that it started, at a random moment of its work.

A reader looks on all the while: whatever it sees at any moment has to be whole.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# Small parts, so that a kill finds some done and one under way.
PART_FILES = 40
_LOOK_SECONDS = 0.005
_MAX_SECONDS = 100
_PROGRAM = """
import sys
from dicomferry.pipelines import export_dicom, import_dicom
import_dicom.PART_FILES = {part_files}
sys.exit({module}.main(sys.argv[1:]))
"""


class Job:
    """A running pipeline in a process group of its own."""

    def __init__(self, module: str, *flags: str) -> None:
        program = _PROGRAM.format(part_files=PART_FILES, module=module)
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, *flags],
            cwd=REPOSITORY,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def wait(self) -> int:
        """Its exit code."""
        _, self.stderr = self._process.communicate(timeout=_MAX_SECONDS)
        return self._process.returncode

    def wait_for(self, begun: Callable[[], bool]) -> None:
        """Wait until its work has begun."""
        deadline = time.monotonic() + _MAX_SECONDS
        while not begun():
            assert self._process.poll() is None, self._process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(_LOOK_SECONDS)

    def kill(self) -> bool:
        """Kill the group; tell whether the job was still at work."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self.wait() == -signal.SIGKILL


def seconds_of_work(start: Callable[[], Job], begun: Callable[[], bool]) -> float:
    """How long a job takes that nothing befalls, from what can be seen first to its end."""
    job = start()
    job.wait_for(begun)
    since = time.monotonic()
    assert job.wait() in (0, 1), job.stderr
    return time.monotonic() - since


def kill_at_random(
    start: Callable[[], Job], begun: Callable[[], bool], seconds: float, dice: random.Random
) -> float | None:
    """Kill a job at some moment of its work; return when, None if it had ended before."""
    job = start()
    job.wait_for(begun)
    moment = dice.uniform(0, seconds)
    time.sleep(moment)
    return moment if job.kill() else None


@contextmanager
def looking_on(look: Callable[[], str]) -> Iterator[list[int]]:
    """Call a function all the while in a thread; it gives '', or what is wrong.

    Yields:
        A list of one number: how often it looked.
    """
    over = threading.Event()
    wrong: list[str] = []
    looks = [0]

    def run() -> None:
        while not over.is_set() and not wrong:
            problem = look()
            looks[0] += 1
            if problem:
                wrong.append(problem)
            time.sleep(_LOOK_SECONDS)  # the killer wants to get a turn too

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield looks
    finally:
        over.set()
        thread.join()
    assert not wrong, wrong
