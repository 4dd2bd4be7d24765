"""Processes that do the heavy work of a stage, and survive what kills one of them.

Beam's local runner stays on one core; a codec or a hostile file can kill or hang the
process that reads it. So a stage hands chunks of elements to a pool: a worker that
dies or hangs costs the one element that did it. No Beam here.
"""

import atexit
import gc
import importlib
import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import ForkServerContext, ForkServerProcess
from time import monotonic
from typing import Any, Generic, TypeVar

from dicomferry.transforms.core_budget import CoreBudget

T = TypeVar("T")
R = TypeVar("R")

_LOST_WORKER = (BrokenProcessPool, CancelledError, TimeoutError)
_START_SECONDS = 60
# Chunks under way per worker: one to work on, one waiting.
_AHEAD = 2
# Results per worker that wait for that of an earlier chunk.
_WAITING = 8


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
        work = self.begin(function, lost, seconds)
        for chunk in chunks:
            yield from work.add(chunk)
        yield from work.rest()

    def begin(
        self,
        function: Callable[[Sequence[T]], Sequence[R]],
        lost: Callable[[T], R],
        seconds: Callable[[T], float],
    ) -> "Work[T, R]":
        """Begin what `map` does, for chunks that come bit by bit."""
        return Work(self, function, lost, seconds)

    def close(self) -> None:
        """End the processes, at once and with whatever they are doing."""
        executor, self._executor = self._executor, None
        self._has_worked = False
        if executor is None:
            return
        processes = list((executor._processes or {}).values())
        for process in processes:
            process.kill()
        for process in processes:
            process.join()  # whoever cleans up after them shall find them idle
        executor.shutdown(wait=False, cancel_futures=True)

    def submit(self, function: Callable[..., Any], chunk: Sequence[T]) -> "Future[Any]":
        """Hand a chunk to a worker; a pool that is broken starts anew."""
        try:
            return self._start().submit(_work, function, chunk)
        except BrokenProcessPool:
            self.close()
            return self._start().submit(_work, function, chunk)

    def _opened(self) -> ProcessPoolExecutor:
        if self._executor is None:
            # numpy's own threads would only look for work that a codec never gives them.
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
            context = _WorkerContext()
            cores = CoreBudget(self.workers, context)
            self._executor = ProcessPoolExecutor(self.workers, context, _begin, (cores,))
            # All start before any works. One that dies while another is started would close that
            # one's pipes: its start fails, and the fork server dies of it.
            self._executor._safe_to_dynamically_spawn_children = False  # type: ignore[attr-defined]
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


class Work(Generic[T, R]):
    """Chunks under way in a pool, their results in the order of the chunks."""

    def __init__(
        self,
        pool: WorkerPool,
        function: Callable[[Sequence[T]], Sequence[R]],
        lost: Callable[[T], R],
        seconds: Callable[[T], float],
    ) -> None:
        """Use `WorkerPool.begin`."""
        self._pool = pool
        self._function = function
        self._lost = lost
        self._seconds = seconds
        self._waiting: deque[tuple[Sequence[T], Future[Sequence[R]]]] = deque()
        self._deadline = 0.0

    def add(self, chunk: Sequence[T]) -> Iterator[Sequence[R]]:
        """Hand over a chunk; yield what is done until a worker has use for another one."""
        workers = self._pool.workers
        if not workers:
            yield self._function(chunk)
            return
        self._waiting.append((chunk, self._pool.submit(self._function, chunk)))
        if len(self._waiting) == 1:
            self._set_deadline()
        while self._waiting:
            under_way = [future for _, future in self._waiting if not future.done()]
            if self._waiting[0][1].done() or len(self._waiting) >= workers * _WAITING:
                yield self._result()
            elif len(under_way) < workers * _AHEAD:
                return
            elif not wait(under_way, self._left(), FIRST_COMPLETED).done:
                yield self._result()

    def rest(self) -> Iterator[Sequence[R]]:
        """Yield the results that are not yet."""
        while self._waiting:
            yield self._result()

    def _set_deadline(self) -> None:
        """Give the first chunk its time: it has begun, since chunks begin in their order."""
        if self._waiting:
            self._deadline = monotonic() + sum(map(self._seconds, self._waiting[0][0]))

    def _left(self) -> float:
        return max(0.0, self._deadline - monotonic())

    def _result(self) -> Sequence[R]:
        chunk, future = self._waiting[0]
        try:
            return future.result(self._left())
        except _LOST_WORKER as error:
            _raise_if_own(error, future)
            self._pool.close()
            # Which element did it is only known when each has a process of its own.
            return [self._alone(element) for element in chunk]
        finally:
            self._waiting.popleft()
            self._set_deadline()

    def _alone(self, element: T) -> R:
        future: Future[Sequence[R]] = self._pool.submit(self._function, [element])
        try:
            return future.result(self._seconds(element))[0]
        except _LOST_WORKER as error:
            _raise_if_own(error, future)
            self._pool.close()
            return self._lost(element)


def _begin(cores: CoreBudget) -> None:
    """Make this process a worker."""
    _set_cores(cores)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End when the process that this one works for has, however that died.

    A worker would else wait for ever for work from it, and hold its memory.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _import(module: str) -> None:
    importlib.import_module(module)
    gc.freeze()  # modules stay; to look through them again and again takes a part of each file


_cores: CoreBudget | None = None


def own_cores() -> CoreBudget | None:
    """Who else is at work in the pool of this worker process; None outside of one."""
    return _cores


def _set_cores(cores: CoreBudget) -> None:
    global _cores  # noqa: PLW0603 (what a process is started with)
    _cores = cores


def _work(function: Callable[[Sequence[T]], Sequence[R]], chunk: Sequence[T]) -> Sequence[R]:
    assert _cores is not None
    _cores.enter()
    try:
        return function(chunk)
    finally:
        _cores.leave()


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
