"""Queries that read much of an index: in a process of their own, with a deadline, and kept.

A result holds for a version of the index, so that a page that many look at reads it once.
"""

import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import Any, NamedTuple

import duckdb
import pyarrow.dataset as ds
from google.rpc.code_pb2 import UNAVAILABLE

from dicomferry.api.errors import ApiError
from dicomferry.storage.base import Storage
from dicomferry.store.index import Index
from dicomferry.transforms.worker_pool import WorkerPool

_MAX_KEPT = 500
_MEMORY = "1GB"
_Key = tuple[Any, ...]


class Query(NamedTuple):
    """A question about a store.

    Attributes:
        function: of a module; called with the data folder and the arguments.
        data: data folder of the store.
        arguments: of the question, hashable.
    """

    function: Callable[..., Any]
    data: Storage
    arguments: tuple[Any, ...] = ()


class SlowQueries:
    """Answers one query at a time, in a process that ends with its deadline."""

    def __init__(self, seconds: float) -> None:
        """Set the deadline of each query; the process starts with the first one."""
        self._seconds = seconds
        self._pool = WorkerPool(1)
        self._asking = Lock()
        self._lock = Lock()
        self._kept: OrderedDict[_Key, Any] = OrderedDict()
        self._threads = ThreadPoolExecutor(1, "console-queries")
        self._coming: dict[_Key, Future[Any]] = {}

    def get(self, query: Query) -> Any:
        """Return the answer, which may be a kept one of the index's newest version.

        Raises:
            ApiError: UNAVAILABLE: it took too long, or too much memory.
            LookupError: the store was deleted meanwhile.
        """
        return _answered(self._get(_key(query), query))

    def ask(self, query: Query) -> Any:
        """Return the answer and keep nothing of it: it has patient data.

        Raises:
            ApiError, LookupError: as `get` does.
        """
        return _answered(self._ask(query))

    def soon(self, query: Query, seconds: float) -> tuple[bool, Any]:
        """Return whether there is an answer after some seconds, and the answer; None: too large.

        Raises:
            LookupError: the store was deleted meanwhile.
        """
        key = _key(query)
        with self._lock:
            if key in self._kept:
                return True, self._kept[key]
            future = self._coming.get(key)
            if future is None:
                future = self._coming[key] = self._threads.submit(self._get, key, query)
                # Whether or not anyone still waits for it.
                future.add_done_callback(lambda _: self._coming.pop(key, None))
        if not wait([future], seconds).done:
            return False, None
        return True, future.result()

    def _get(self, key: _Key, query: Query) -> Any:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        answer = self._ask(query)
        with self._lock:
            self._kept[key] = answer
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        return answer

    def _ask(self, query: Query) -> Any:
        with self._asking:
            [[answer]] = self._pool.map(
                _answer_all, [[query]], lambda _: None, lambda _: self._seconds
            )
        return answer


def connect(instances: ds.Dataset) -> duckdb.DuckDBPyConnection:
    """Return a connection of bounded memory, with a table `instances`."""
    connection = duckdb.connect()
    connection.execute(f"SET memory_limit = '{_MEMORY}'; SET threads = 2; SET temp_directory = ''")
    connection.register("instances", instances)
    return connection


def _key(query: Query) -> _Key:
    version = Index(query.data).version
    return (query.function.__qualname__, query.data.root, version, query.arguments)


def _answer_all(queries: Sequence[Query]) -> list[Any]:
    return [_answer(query) for query in queries]


def _answer(query: Query) -> Any:
    try:
        return functools.partial(query.function, query.data)(*query.arguments)
    except duckdb.OutOfMemoryException:
        return None


def _answered(answer: Any) -> Any:
    if answer is None:
        raise ApiError(
            UNAVAILABLE,
            "the store is too large for this page: `dicomferry export table` writes its index to "
            "a table that can be searched",
        )
    return answer
