"""Log lines that Cloud Logging parses: one JSON object a line.

Fields are those of its structured logging and of the log entries of the Cloud Healthcare API
(google.cloud.healthcare.logging): severity, timestamp, message, the operation, and of a file
that failed its source and error. No patient data: what is logged is fixed words, URIs and UIDs.
"""

import enum
import json
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

_PRODUCER = "dicomferry"


class LogFormat(enum.StrEnum):
    """Format of the lines of a log."""

    TEXT = "text"
    JSON = "json"


class CloudLoggingFormatter(logging.Formatter):
    """One log record as one line of JSON.

    A record may carry `payload`, a dictionary of further fields, and `operation`, the name of
    the operation that it is about; the process's own operation is the default.
    """

    operation = ""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        entry: dict[str, Any] = {
            "severity": getattr(record, "severity", record.levelname),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "message": record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info:
            # The type and the places, not the message: exception texts can hold patient data.
            kind, _, trace = record.exc_info
            entry["exception"] = kind.__name__ if kind else ""
            entry["stack"] = _places(trace)
        if operation := getattr(record, "operation", self.operation):
            entry["logging.googleapis.com/operation"] = {"id": operation, "producer": _PRODUCER}
        entry |= getattr(record, "payload", {})
        # A URI may hold bytes that are no UTF-8; the API shows '?' for them too.
        text = json.dumps(entry, ensure_ascii=False, default=str)
        return text.encode("utf-8", "replace").decode()


def choose(requested: LogFormat | None, *, is_dataflow: bool) -> LogFormat:
    """Return the requested format, or the one that suits the reader of the log.

    The launcher of a job on Dataflow writes for Cloud Logging, except from a terminal. A job that
    runs here writes text, also into a file or Airflow's log.
    """
    if requested:
        return requested
    return LogFormat.JSON if is_dataflow and not sys.stderr.isatty() else LogFormat.TEXT


def is_requested(argv: Sequence[str]) -> bool:
    """Whether a command line asks for lines of JSON: an error in it is to be one, too."""
    line = " ".join(argv).replace("--log_format", "--log-format").replace("=", " ")
    return f"--log-format {LogFormat.JSON} " in f"{line} "


def is_json() -> bool:
    """Whether the root logger writes lines of JSON."""
    return any(
        isinstance(each.formatter, CloudLoggingFormatter) for each in logging.getLogger().handlers
    )


class _StandardError(logging.StreamHandler[TextIO]):
    """A handler for `sys.stderr` as it is now: progress bars put themselves in its place."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Standard error."""
        return sys.stderr


def set_up(
    log_format: LogFormat,
    operation: str = "",
    stream: TextIO | None = None,
    level: int = logging.INFO,
) -> None:
    """Make the root logger write text, or JSON lines that each name the operation.

    Args:
        log_format: of the lines.
        operation: its name, in lines of JSON.
        stream: default: standard error.
        level: the least that is written, unless a logger has a level of its own.
    """
    handler = logging.StreamHandler(stream) if stream else _StandardError()
    if log_format == LogFormat.JSON:
        formatter = CloudLoggingFormatter()
        formatter.operation = operation
        handler.setFormatter(formatter)
    # Importing Beam may have logged already, after which only `force` has an effect.
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler], force=True)


def name_operation(operation: str) -> None:
    """Let the JSON lines of this process name an operation, from now on."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, CloudLoggingFormatter):
            handler.formatter.operation = operation


def _places(trace: Any) -> list[str]:
    places = []
    while trace:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return places
