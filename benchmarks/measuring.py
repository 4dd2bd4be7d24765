"""Run commands and measure them: wall time, process tree's memory and CPU time.

All contenders are whole processes of their own, so that what they need to start counts; a short
and a long run of each tell start and steady rate apart. Runs take turns, so that what else the
machine does hits all alike, and the median of the repetitions is taken.
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
        seconds: wall time, start of the process to its end.
        first: seconds until `appeared` was true, 0 if not asked for.
        peak: bytes of the process tree at its largest, 0 if not sampled.
        cpu: seconds of CPU that the process tree took, 0 if not sampled.
    """

    seconds: float
    first: float = 0.0
    peak: int = 0
    cpu: float = 0.0


class Steady(NamedTuple):
    """What a short and a long run tell apart.

    Attributes:
        rate: files a second, between the short run and the long one.
        start: seconds that a run takes beside its files.
        whole: files a second of the long run, its start included.
        spread: greatest distance of a long run from the median, as a part of it.
    """

    rate: float
    start: float
    whole: float
    spread: float


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
        appeared: polled until it is true.
        limit: then the process tree is killed, and that is no error.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    started = time.perf_counter()
    with subprocess.Popen(
        list(map(str, argv)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        sampler = _Sampler(process.pid) if sampled else None
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
    """Warm the page cache with what is read next, and write out what earlier runs left dirty."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and path.stat().st_blocks:
                with path.open("rb", buffering=0) as file:
                    while file.read(1 << 20):
                        pass
    os.sync()


def steady(short: Sequence[Run], long: Sequence[Run], few: int, many: int) -> Steady:
    """Tell start and steady rate apart by the medians of short and long runs.

    The rate is not a number if the long run took no longer: the machine was too busy to tell.
    """
    brief = statistics.median(run.seconds for run in short)
    whole = statistics.median(run.seconds for run in long)
    rate = (many - few) / (whole - brief) if whole > brief else math.nan
    spread = max(abs(run.seconds - whole) for run in long) / whole
    return Steady(rate, max(0.0, brief - few / rate), many / whole, spread)


def end_tree(pid: int) -> None:
    """Kill a process and all below it."""
    for process in _tree(pid):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


class _Sampler:
    """Samples a process tree until `end`: greatest memory, and CPU time.

    Memory is the proportional set size, which counts a page that processes share once; workers
    that are forked from one template share much.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._cpu: dict[psutil.Process, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def end(self) -> tuple[int, float]:
        self._over.set()
        self._thread.join()
        return self._peak, sum(self._cpu.values())

    def _sample(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
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
