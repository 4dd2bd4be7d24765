"""Processes that do the heavy work of a stage, and survive what kills one of them.

Beam's local runner stays on one core; a codec or a hostile file can kill or hang the
process that reads it. So a stage hands chunks of elements to a pool: a worker that
dies or hangs costs the one element that did it. No Beam here.
"""

import atexit
import importlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_LOST_WORKER = (BrokenProcessPool, CancelledError, TimeoutError)
_START_SECONDS = 60
# Chunks under way per worker: one to work on, one waiting.
_AHEAD = 2


class _WorkerProcess(ForkServerProcess):
    """A process that does not import the main module of its parent.

    What workers run lies in modules; the main module would bring Beam into each of them,
    which takes two seconds and 100 MB, and run a script that has no `__main__` guard again.
    """

    def start(self) -> None:
        """Start it."""
        main = vars(sys.modules["__main__"])
        hidden: dict[str, Any] = {
            name: main.pop(name) for name in ("__file__", "__spec__") if name in main
        }
        main["__spec__"] = None
        try:
            super().start()
        finally:
            main.update(hidden)


class _WorkerContext(ForkServerContext):
    Process = _WorkerProcess


class WorkerPool:
    """A pool of processes that is started when first used and lives as long as its owner.

    Never forked from this process: gRPC and storage clients have threads.
    """

    def __init__(self, workers: int) -> None:
        """Set up `workers` processes; 0 runs everything in this one. Nothing starts yet."""
        self.workers = workers
        self._executor: ProcessPoolExecutor | None = None
        self._has_worked = False

    def warm(self, module: str) -> None:
        """Start the processes and let them import a module, while the caller goes on."""
        for _ in range(self.workers):
            self._opened().submit(_import, module)

    def map(
        self,
        function: Callable[[Sequence[T]], Sequence[R]],
        chunks: Iterable[Sequence[T]],
        lost: Callable[[T], R],
        seconds: Callable[[T], float],
    ) -> Iterator[Sequence[R]]:
        """Apply a module-level function to chunks of elements, in their order.

        Args:
            function: gives one result for each element of its chunk.
            chunks: what to work on, taken as workers become free.
            lost: the result for an element that killed or hung its worker.
            seconds: how long an element may take before its worker counts as hung.
        """
        if not self.workers:
            yield from map(function, chunks)
            return
        waiting: deque[tuple[Sequence[T], Future[Sequence[R]]]] = deque()
        for chunk in chunks:
            waiting.append((chunk, self._submit(function, chunk)))
            if len(waiting) >= self.workers * _AHEAD:
                yield self._result(function, *waiting.popleft(), lost, seconds)
        while waiting:
            yield self._result(function, *waiting.popleft(), lost, seconds)

    def close(self) -> None:
        """End the processes, at once and with whatever they are doing."""
        executor, self._executor = self._executor, None
        self._has_worked = False
        if executor is None:
            return
        for process in list((executor._processes or {}).values()):
            process.kill()
        executor.shutdown(wait=False, cancel_futures=True)

    def _submit(self, function: Callable[..., Any], chunk: Sequence[T]) -> "Future[Any]":
        try:
            return self._start().submit(function, chunk)
        except BrokenProcessPool:
            self.close()
            return self._start().submit(function, chunk)

    def _opened(self) -> ProcessPoolExecutor:
        if self._executor is None:
            self._executor = ProcessPoolExecutor(self.workers, mp_context=_WorkerContext())
            atexit.register(self.close)
        return self._executor

    def _start(self) -> ProcessPoolExecutor:
        executor = self._opened()
        if not self._has_worked:
            try:
                executor.submit(os.getpid).result(_START_SECONDS)
            except _LOST_WORKER as error:
                self.close()
                # Else each element would be tried, and lost, in a pool that never starts.
                raise RuntimeError(
                    "no worker process could start; --workers=0 does without"
                ) from error
            self._has_worked = True
        return executor

    def _result(
        self,
        function: Callable[[Sequence[T]], Sequence[R]],
        chunk: Sequence[T],
        future: "Future[Sequence[R]]",
        lost: Callable[[T], R],
        seconds: Callable[[T], float],
    ) -> Sequence[R]:
        try:
            return future.result(sum(map(seconds, chunk)))
        except _LOST_WORKER as error:
            _raise_if_own(error, future)
            self.close()
        # Which element did it is only known when each has a process of its own.
        return [self._alone(function, element, lost, seconds) for element in chunk]

    def _alone(
        self,
        function: Callable[[Sequence[T]], Sequence[R]],
        element: T,
        lost: Callable[[T], R],
        seconds: Callable[[T], float],
    ) -> R:
        future: Future[Sequence[R]] = self._submit(function, [element])
        try:
            return future.result(seconds(element))[0]
        except _LOST_WORKER as error:
            _raise_if_own(error, future)
            self.close()
            return lost(element)


def _import(module: str) -> None:
    importlib.import_module(module)


def _raise_if_own(error: Exception, future: "Future[Any]") -> None:
    """Raise a timeout that is the function's own, such as of a network: no worker hangs."""
    if isinstance(error, TimeoutError) and future.done() and future.exception() is error:
        raise error


_shared: dict[int, WorkerPool] = {}


def shared_pool(workers: int) -> WorkerPool:
    """The pool of this process: stages and parts of a job use one, started once."""
    if workers not in _shared:
        _shared[workers] = WorkerPool(workers)
    return _shared[workers]


def close_shared_pools() -> None:
    """End the pools of this process."""
    for pool in _shared.values():
        pool.close()
