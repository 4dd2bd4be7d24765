"""Run commands and measure them: wall time, process tree's memory and CPU time.

All contenders are whole processes, so that their start counts; start and steady rate come from a
short and a long run of each. Contenders run in turn, so that other work on the machine affects all
of them alike, and the median of the repetitions counts.
"""

import math
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]

_SAMPLE_SECONDS = 0.1
_POLL_SECONDS = 0.01


class Run(NamedTuple):
    """One run of a command.

    Attributes:
        seconds: wall time of the process.
        first: seconds until `appeared` was true; 0 without such a function.
        peak: largest size of the process tree in bytes; 0 if not sampled.
        cpu: CPU time of the process tree in seconds; 0 if not sampled.
    """

    seconds: float
    first: float = 0.0
    peak: int = 0
    cpu: float = 0.0


class Steady(NamedTuple):
    """Start and steady rate of a contender.

    Attributes:
        rate: files per second beyond those of the short run.
        start: seconds of a run that do not depend on its files.
        whole: files per second of the long run, including its start.
        deviation: largest distance of a long run from the median, as a fraction of the median.
    """

    rate: float
    start: float
    whole: float
    deviation: float


def run(
    argv: Sequence[str | Path],
    *,
    sampled: bool = False,
    appeared: Callable[[], bool] | None = None,
    limit: float | None = None,
) -> Run:
    """Run a command to its end, or for at most `limit` seconds.

    Args:
        argv: the command.
        sampled: whether to sample memory and CPU, which costs the machine a little.
        appeared: polled until it returns True.
        limit: seconds after which the process tree is killed, which is not an error.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    started = time.perf_counter()
    with subprocess.Popen(
        list(map(str, argv)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        sampler = Sampler(process.pid) if sampled else None
        first = 0.0
        while appeared and not first and process.poll() is None:
            time.sleep(_POLL_SECONDS)
            first = time.perf_counter() - started if appeared() else 0.0
        try:
            _, errors = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            end_tree(process.pid)
            _, errors = process.communicate()
        seconds = time.perf_counter() - started
        peak, cpu = sampler.end() if sampler else (0, 0.0)
    if process.returncode and (limit is None or seconds < limit):
        sys.stderr.buffer.write(errors)
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return Run(seconds, first, peak, cpu)


def settle(folders: Iterable[Path] = ()) -> None:
    """Warm the page cache with the files of folders, and sync the writes of earlier runs."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and path.stat().st_blocks:
                with path.open("rb", buffering=0) as file:
                    while file.read(1 << 20):
                        pass
    os.sync()


def steady(short: Sequence[Run], long: Sequence[Run], few: int, many: int) -> Steady:
    """Return start and steady rate, from the medians of short and long runs.

    The rate is NaN if the long run was not slower, because the machine was too busy to measure.
    """
    brief = statistics.median(run.seconds for run in short)
    whole = statistics.median(run.seconds for run in long)
    rate = (many - few) / (whole - brief) if whole > brief else math.nan
    deviation = max(abs(run.seconds - whole) for run in long) / whole
    return Steady(rate, max(0.0, brief - few / rate), many / whole, deviation)


def end_tree(pid: int) -> None:
    """Kill a process and its descendants."""
    for process in _tree(pid):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


class Sampler:
    """Samples a process tree until `end`: largest memory, and CPU time.

    Memory is the proportional set size, which counts shared pages once; workers that are forked
    from one template share much.
    """

    def __init__(self, pid: int, seconds: float = _SAMPLE_SECONDS) -> None:
        """Begin, with a look every so many seconds."""
        self._pid = pid
        self._seconds = seconds
        self._peak = 0
        self._cpu: dict[psutil.Process, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def so_far(self) -> tuple[int, float]:
        """Return the largest memory in bytes, and the CPU time in seconds."""
        return self._peak, sum(dict(self._cpu).values())

    def end(self) -> tuple[int, float]:
        """Return the same at the end."""
        self._over.set()
        self._thread.join()
        return self.so_far()

    def _sample(self) -> None:
        while not self._over.wait(self._seconds):
            memory = 0
            for process in _tree(self._pid):
                try:
                    memory += process.memory_full_info().pss
                    times = process.cpu_times()
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
                self._cpu[process] = times.user + times.system
            self._peak = max(self._peak, memory)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
