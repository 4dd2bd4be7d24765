"""What a server counts, in Prometheus' text format (https://prometheus.io/docs/instrumenting)."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Metrics:
    """Counters of one server; their labels have few values, whoever calls."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._calls = Counter(
            "dicomferry_calls",
            "Calls of the API that were answered, by method and google.rpc.Code.",
            ("method", "code"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "dicomferry_call_seconds",
            "Time until a call was answered.",
            ("method",),
            registry=self._registry,
            buckets=_SECONDS,
        )

    def count(self, method: str, code: str, seconds: float) -> None:
        """Count a call that was answered.

        Args:
            method: name of the method, such as GetDicomStore.
            code: name of the google.rpc.Code of its answer.
            seconds: time that it took.
        """
        self._calls.labels(method, code).inc()
        self._seconds.labels(method).observe(seconds)

    def text(self) -> bytes:
        """Return all counters in the text format."""
        return generate_latest(self._registry)
