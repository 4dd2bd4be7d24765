"""Processes that do the heavy work of a stage, and survive the loss of one of them.

Beam's local runner uses one core, and a codec or a hostile file can kill or hang the process that
reads it. So a stage hands chunks of elements to a pool: only the element that killed or hung its
worker is lost. No Beam here.
"""

import atexit
import contextlib
import gc
import importlib
import logging
import multiprocessing
import os
import signal
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
from dicomferry.transforms.crossing_errors import crossing
from dicomferry.transforms.worker_log import log_formatter, set_up_log

T = TypeVar("T")
R = TypeVar("R")

_WORKER_LOST = (BrokenProcessPool, CancelledError, TimeoutError)
_START_SECONDS = 60
# Chunks per worker: one in progress, one waiting.
_MAX_CHUNKS = 2
# Results per worker that wait for the result of an earlier chunk.
_MAX_RESULTS = 8


class _WorkerProcess(ForkServerProcess):
    """A process that does not import the main module of its parent.

    Workers run functions of modules. The main module would import Beam into each of them, which
    takes two seconds and 100 MB, and would run a script without a `__main__` guard again.
    """

    def start(self) -> None:
        """Start the process, with the main module hidden from it."""
        main = vars(sys.modules["__main__"])
        hidden: dict[str, Any] = {
            name: main.pop(name) for name in ("__file__", "__spec__") if name in main
        }
        main["__spec__"] = None
        # The fork server, which the first start starts, and its children inherit the mask.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            main.update(hidden)


class _WorkerContext(ForkServerContext):
    Process = _WorkerProcess


class WorkerPool:
    """A pool of processes that starts when first used and ends with its owner.

    Its processes are not forked from this one: gRPC and storage clients have threads.
    """

    def __init__(self, workers: int) -> None:
        """Create a pool; no process starts yet.

        Args:
            workers: number of processes; 0 runs everything in this one.
        """
        self.workers = workers
        self._executor: ProcessPoolExecutor | None = None
        self._has_worked = False

    def warm(self, fn: Callable[..., Any]) -> None:
        """Start the processes and let them import a function's module in the background."""
        with _interrupted_later():
            for _ in range(self.workers):
                self._opened().submit(_import, fn.__module__)

    def map(
        self,
        fn: Callable[[Sequence[T]], Sequence[R]],
        chunks: Iterable[Sequence[T]],
        on_worker_lost: Callable[[T], R],
        timeout_for: Callable[[T], float],
    ) -> Iterator[Sequence[R]]:
        """Apply a module-level function to chunks of elements.

        Args:
            fn: returns one result for each element of its chunk.
            chunks: the elements; the next chunk is read when a worker becomes free.
            on_worker_lost: returns the result for an element that killed or hung its worker.
            timeout_for: returns the seconds after which an element's worker counts as hung.

        Yields:
            The results of each chunk, in the order of the chunks.
        """
        work = self.open(fn, on_worker_lost, timeout_for)
        for chunk in chunks:
            yield from work.submit(chunk)
        yield from work.drain()

    def open(
        self,
        fn: Callable[[Sequence[T]], Sequence[R]],
        on_worker_lost: Callable[[T], R],
        timeout_for: Callable[[T], float],
    ) -> "Work[T, R]":
        """Return what does the same as `map` for chunks that are submitted one by one."""
        return Work(self, fn, on_worker_lost, timeout_for)

    def close(self) -> None:
        """Kill the processes, even if they are working."""
        executor, self._executor = self._executor, None
        self._has_worked = False
        if executor is None:
            return
        processes = list((executor._processes or {}).values())
        for process in processes:
            process.kill()
        for process in processes:
            process.join()  # so that nothing is written after a cleanup
        executor.shutdown(wait=False, cancel_futures=True)

    def submit(self, fn: Callable[..., Any], chunk: Sequence[T]) -> "Future[Any]":
        """Hand a chunk to a worker; a broken pool is restarted."""
        try:
            return self._started().submit(_run, fn, chunk)
        except BrokenProcessPool:
            self.close()
            return self._started().submit(_run, fn, chunk)

    def _opened(self) -> ProcessPoolExecutor:
        if self._executor is None:
            # numpy's own threads would spin without ever getting work from a codec.
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
            context = _WorkerContext()
            cores = CoreBudget(self.workers, context)
            self._executor = ProcessPoolExecutor(
                self.workers, context, _become_worker, (cores, log_formatter())
            )
            # All processes start before any works. One that dies while another starts would close
            # the pipes of the other, whose start then fails and takes the fork server with it.
            self._executor._safe_to_dynamically_spawn_children = False  # type: ignore[attr-defined]
            atexit.register(self.close)
        return self._executor

    def _started(self) -> ProcessPoolExecutor:
        executor = self._opened()
        if not self._has_worked:
            try:
                with _interrupted_later():
                    started = executor.submit(os.getpid)
                started.result(_START_SECONDS)
            except _WORKER_LOST as error:
                self.close()
                # Otherwise each element would be tried, and lost, in a pool that never starts.
                raise RuntimeError(
                    "no worker process could start; --workers=0 works without them"
                ) from error
            self._has_worked = True
        return executor


class Work(Generic[T, R]):
    """Chunks in progress in a pool; their results come in the order of the chunks."""

    def __init__(
        self,
        pool: WorkerPool,
        fn: Callable[[Sequence[T]], Sequence[R]],
        on_worker_lost: Callable[[T], R],
        timeout_for: Callable[[T], float],
    ) -> None:
        """Use `WorkerPool.open`."""
        self._pool = pool
        self._fn = fn
        self._on_worker_lost = on_worker_lost
        self._timeout_for = timeout_for
        self._waiting: deque[tuple[Sequence[T], Future[Sequence[R]]]] = deque()
        self._deadline = 0.0

    def submit(self, chunk: Sequence[T]) -> Iterator[Sequence[R]]:
        """Hand over a chunk; yield finished results until the pool needs another chunk."""
        workers = self._pool.workers
        if not workers:
            yield self._fn(chunk)
            return
        self._waiting.append((chunk, self._pool.submit(self._fn, chunk)))
        if len(self._waiting) == 1:
            self._set_deadline()
        while self._waiting:
            running = [future for _, future in self._waiting if not future.done()]
            if self._waiting[0][1].done() or len(self._waiting) >= workers * _MAX_RESULTS:
                yield self._result()
            elif len(running) < workers * _MAX_CHUNKS:
                return
            elif not wait(running, self._seconds_left(), FIRST_COMPLETED).done:
                yield self._result()

    def drain(self) -> Iterator[Sequence[R]]:
        """Yield the remaining results."""
        while self._waiting:
            yield self._result()

    def _set_deadline(self) -> None:
        """Start the time of the first chunk; it is in progress, since chunks start in order."""
        if self._waiting:
            self._deadline = monotonic() + sum(map(self._timeout_for, self._waiting[0][0]))

    def _seconds_left(self) -> float:
        return max(0.0, self._deadline - monotonic())

    def _result(self) -> Sequence[R]:
        chunk, future = self._waiting[0]
        try:
            return future.result(self._seconds_left())
        except _WORKER_LOST as error:
            _raise_if_raised_by_fn(error, future)
            self._pool.close()
            # Only a process of its own for each element shows which of them was the cause.
            return [self._result_alone(element) for element in chunk]
        finally:
            self._waiting.popleft()
            self._set_deadline()

    def _result_alone(self, element: T) -> R:
        future: Future[Sequence[R]] = self._pool.submit(self._fn, [element])
        try:
            return future.result(self._timeout_for(element))[0]
        except _WORKER_LOST as error:
            _raise_if_raised_by_fn(error, future)
            self._pool.close()
            return self._on_worker_lost(element)


@contextlib.contextmanager
def _interrupted_later() -> Iterator[None]:
    """Take Ctrl-C at the end of a block that starts processes: none is left that nobody knows."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    came: list[tuple[int, Any]] = []
    signal.signal(signal.SIGINT, lambda *signaled: came.append(signaled))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            before(*came[0])


def _become_worker(cores: CoreBudget, formatter: logging.Formatter | None) -> None:
    """Make this process a worker of a pool, which its owner ends: Ctrl-C reaches both."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_up_log(formatter)
    _set_cores(cores)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Exit when the parent process has ended, in whatever way.

    Otherwise a worker would wait for work forever and keep its memory.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _import(module: str) -> None:
    importlib.import_module(module)
    gc.freeze()  # modules remain; scanning them again and again takes a share of each file's time


_cores: CoreBudget | None = None


def own_cores() -> CoreBudget | None:
    """Return the core budget of this worker process's pool; None outside a worker."""
    return _cores


def _set_cores(cores: CoreBudget) -> None:
    global _cores  # noqa: PLW0603 (set once, when the process starts)
    _cores = cores


def _run(fn: Callable[[Sequence[T]], Sequence[R]], chunk: Sequence[T]) -> Sequence[R]:
    assert _cores is not None
    _cores.enter()
    try:
        return fn(chunk)
    except Exception as error:
        raise crossing(error) from None
    finally:
        _cores.leave()


def _raise_if_raised_by_fn(error: Exception, future: "Future[Any]") -> None:
    """Re-raise a TimeoutError raised by the function itself; the worker is not hung."""
    if isinstance(error, TimeoutError) and future.done() and future.exception() is error:
        raise error


_shared: dict[int, WorkerPool] = {}


def shared_pool(workers: int) -> WorkerPool:
    """Return this process's pool of that size, which all stages and parts of a job share."""
    if workers not in _shared:
        _shared[workers] = WorkerPool(workers)
    return _shared[workers]


def close_shared_pools() -> None:
    """Close the pools of this process."""
    for pool in _shared.values():
        pool.close()
