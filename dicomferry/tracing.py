"""Traces by OpenTelemetry, where its usual settings ask for them; else nothing of it is imported.

A span has what the log of calls and an operation's record have: a method, the name of a resource,
a code, counts. Contents of requests and files, tokens and messages of errors stay out. Spans go to
the exporters of this module alone: no other library's spans leave by them.

The settings are those of
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables.
"""

import atexit
import functools
import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from google.rpc import code_pb2

from dicomferry.extras import MissingExtraError, require

Attributes = Mapping[str, str | int]

_LOGGER = logging.getLogger(__name__)
_EXPORTERS = "OTEL_TRACES_EXPORTER"
# Where one is set, spans go by OTLP unless the first setting says otherwise.
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_FILES = tuple(
    f"OTEL_EXPORTER_OTLP_{signal}{file}"
    for signal in ("TRACES_", "")
    for file in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
)
_NAME = "dicomferry"
# What a process that ends waits for a collector.
_LAST_SECONDS = 3.0
# Codes of calls that are faults of the server, by the conventions for RPC; others are the caller's.
_FAULTS = frozenset(
    (
        code_pb2.UNKNOWN,
        code_pb2.DEADLINE_EXCEEDED,
        code_pb2.UNIMPLEMENTED,
        code_pb2.INTERNAL,
        code_pb2.UNAVAILABLE,
        code_pb2.DATA_LOSS,
    )
)


class Span:
    """One call or operation; it does nothing where no traces are asked for."""

    def __init__(self, span: Any = None) -> None:
        """Wrap a span that has begun.

        Args:
            span: of OpenTelemetry, or None.
        """
        self._span = span

    def end(
        self, code: int | None = 0, attributes: Attributes | None = None, *, is_fault: bool = False
    ) -> None:
        """End it; further ends change nothing.

        Args:
            code: the google.rpc.Code; None if it is not known.
            attributes: further ones.
            is_fault: whether it counts as failed.
        """
        if self._span is None:
            return
        if is_fault:
            from opentelemetry.trace import StatusCode

            self._span.set_status(StatusCode.ERROR)
        if code is not None:
            self._span.set_attribute("rpc.response.status_code", code_pb2.Code.Name(code))
        self._span.set_attributes(dict(attributes or {}))
        self._span.end()
        self._span = None


class CallSpan(Span):
    """The span of a call."""

    def end_call(self, code: int, resource: str) -> None:
        """End it with its google.rpc.Code, and the name of its resource; '' if it has none."""
        named = {"dicomferry.resource": resource} if resource else {}
        self.end(code, named, is_fault=code in _FAULTS)


@contextmanager
def call(method: str, headers: Mapping[str, Any] | None) -> Iterator[CallSpan]:
    """Yield the span of a call; jobs that start in the block belong to it.

    Args:
        method: full name of the method.
        headers: of the call, by lower-case names: `traceparent` is that of the caller.
    """
    tracer = _tracer()
    if tracer is None:
        yield CallSpan()
        return
    from opentelemetry import trace
    from opentelemetry.context import Context

    span = tracer.start_span(
        method,
        _propagator().extract(_texts(headers or {}), Context()),
        trace.SpanKind.SERVER,
        {"rpc.method": method},
    )
    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        traced = CallSpan(span)
        try:
            yield traced
        finally:
            traced.end(None)


def operation(method: str, attributes: Attributes, begun: datetime) -> Span:
    """Return the span of an operation that this process runs.

    It belongs to the span that is current, else to that of TRACEPARENT in the environment.

    Args:
        method: that started the operation.
        attributes: what is known at the beginning.
        begun: when the operation was recorded.
    """
    tracer = _tracer()
    if tracer is None:
        return Span()
    from opentelemetry import trace

    parent = None
    if not trace.get_current_span().get_span_context().is_valid:
        parent = _propagator().extract({key.lower(): text for key, text in os.environ.items()})
    nanoseconds = int(begun.timestamp() * 1e9)
    return Span(
        tracer.start_span(method, parent, attributes=dict(attributes), start_time=nanoseconds)
    )


def environment() -> dict[str, str]:
    """Return the variables by which a process that starts now belongs to the current span."""
    carrier: dict[str, str] = {}
    if _tracer() is not None:
        _propagator().inject(carrier)
    return {key.upper(): text for key, text in carrier.items()}


def prepare() -> None:
    """Import what traces need, so that the first call does not wait for it."""
    _tracer()


def flush() -> None:
    """Send what has ended, as at the end of a process; nothing is sent later."""
    provider = _provider()
    if provider is not None:
        # The library's own limits are longer, or are not kept.
        sending = threading.Thread(target=provider.shutdown, daemon=True)
        try:
            sending.start()
        except RuntimeError:  # Python 3.12.0 and 3.12.1 start no thread at the exit
            provider.shutdown()
        else:
            sending.join(_LAST_SECONDS)


@functools.cache
def _tracer() -> Any:
    provider = _provider()
    return provider and provider.get_tracer(_NAME)


@functools.cache
def _provider() -> Any:
    """Return what makes and sends spans; None where the environment asks for none.

    Wrong settings are told in one line, and there are no traces then: they never end the work.
    """
    names = _exporters()
    if not names:
        return None
    # It would show headers that it cannot read, and they can be tokens.
    logging.getLogger("opentelemetry.util.re").addFilter(_without_arguments)
    try:
        require("otel", names[0])
        return _connect(names)
    except (MissingExtraError, ImportError, ValueError, RuntimeError) as error:
        _LOGGER.warning("there are no traces: %s", error)
        return None


def _exporters() -> list[str]:
    """Return the names of the exporters that the environment asks for."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    named = os.environ.get(_EXPORTERS, "").strip()
    if not named and any(os.environ.get(name) for name in _ENDPOINTS):
        named = "otlp"
    return [name for each in named.split(",") if (name := each.strip()) not in ("", "none")]


def _connect(names: list[str]) -> Any:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporters = [_exporter(name) for name in names]
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: _NAME}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    atexit.register(flush)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _exporter(name: str) -> Any:
    """Return an exporter.

    Raises:
        ValueError: there is none of that name, or a setting of it is wrong.
    """
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)  # standard output has results
    if name != "otlp":
        raise ValueError(f"{_EXPORTERS} takes otlp, console or none, not {name}")
    for setting in _PROTOCOLS:
        if (protocol := os.environ.get(setting, "").strip()) not in ("", _PROTOCOL):
            raise ValueError(f"{setting} takes {_PROTOCOL}, not {protocol}")
    for setting in _FILES:  # the library reads them as it sends, and drops the spans
        if (path := os.environ.get(setting, "")) and not os.access(path, os.R_OK):
            raise ValueError(f"{setting} names a file that cannot be read: {path}")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def _texts(headers: Mapping[str, Any]) -> dict[str, str]:
    """Return headers without binary metadata of gRPC."""
    return {name: value for name, value in headers.items() if isinstance(value, str)}


@functools.cache
def _propagator() -> Any:
    """W3C Trace Context alone: baggage could carry anything."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator()


def _without_arguments(record: logging.LogRecord) -> bool:
    record.msg, record.args = "a header of OTEL_EXPORTER_OTLP_HEADERS is not key=value", ()
    return True
