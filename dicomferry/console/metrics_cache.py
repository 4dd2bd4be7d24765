"""Metrics of stores, counted in background threads: pages show those that are known."""

import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import NamedTuple

from dicomferry.store import maintenance
from dicomferry.store.dicom_store import DicomStore
from dicomferry.store.formats import StoreFormatError
from dicomferry.store.index import Index

Metrics = dict[str, str]

_THREADS = 2
_FRESH_SECONDS = 10.0
_MAX_KEPT = 5000


class _Kept(NamedTuple):
    metrics: Metrics | None
    at: float
    version: int | None


class MetricsCache:
    """Cache of metrics that are at most ten seconds old, or are being counted again.

    Only a new version of the index is counted: a page that reloads costs a look at its log.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, "console-metrics")
        self._lock = Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._counting: dict[str, Future[None]] = {}

    def get(self, stores: list[DicomStore], seconds: float) -> dict[str, Metrics | None]:
        """Return metrics by the name of the store.

        Args:
            stores: whose metrics to return.
            seconds: maximum time to wait for counts.

        Returns:
            The last known metrics; None if there are none yet, or the store is gone.
        """
        futures = [future for store in stores if (future := self._refresh(store))]
        wait(futures, seconds)
        with self._lock:
            kept = {str(store.name): self._kept.get(store.data.root) for store in stores}
        return {name: entry.metrics if entry else None for name, entry in kept.items()}

    def _refresh(self, store: DicomStore) -> Future[None] | None:
        key = store.data.root
        with self._lock:
            kept = self._kept.get(key)
            if kept and time.monotonic() - kept.at < _FRESH_SECONDS:
                return None
            if key not in self._counting:
                self._counting[key] = self._threads.submit(self._count, store)
            return self._counting[key]

    def _count(self, store: DicomStore) -> None:
        metrics: Metrics | None = None
        version: int | None = None
        with self._lock:
            kept = self._kept.get(store.data.root)
        try:
            version = Index(store.data).version
            is_known = kept is not None and kept.metrics and kept.version == version
            metrics = kept.metrics if kept and is_known else maintenance.metrics(store)
        except (LookupError, StoreFormatError):  # deleted since it was listed, or not ours to read
            metrics = None
        finally:
            with self._lock:
                self._kept[store.data.root] = _Kept(metrics, time.monotonic(), version)
                self._kept.move_to_end(store.data.root)
                while len(self._kept) > _MAX_KEPT:
                    self._kept.popitem(last=False)
                del self._counting[store.data.root]
