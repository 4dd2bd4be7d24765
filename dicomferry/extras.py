"""The extras of the package: what each adds, and what to say where one is not installed."""

import importlib.util
import logging

from google.rpc.code_pb2 import UNIMPLEMENTED

# The modules that tell whether an extra of pyproject.toml is installed.
_MODULES = {
    "bigquery": ("google.cloud.bigquery",),
    "gcp": ("apitools", "google.pubsub_v1"),
    "otel": ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"),
    "serve": ("google.iam.v1", "jwt", "lark", "prometheus_client", "starlette", "uvicorn"),
}


class MissingExtraError(Exception):
    """What was asked for needs an extra that is not installed.

    Attributes:
        code: the google.rpc.Code.
    """

    code = UNIMPLEMENTED

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f"{what} needs an extra: pip install 'dicomferry[{extra}]'")


def require(extra: str, what: str) -> None:
    """Raise a MissingExtraError where an extra is not installed.

    Args:
        extra: the extra; '' needs nothing.
        what: what needs it, the subject of the message.
    """
    if not all(map(_is_installed, _MODULES.get(extra, ()))):
        raise MissingExtraError(extra, what)


def missing_extra(error: BaseException) -> MissingExtraError | None:
    """Return the error that a failed import means; None if no extra would mend it."""
    name = (isinstance(error, ModuleNotFoundError) and error.name) or ""
    for extra, modules in _MODULES.items():
        if any(f"{name}.".startswith(f"{module}.") for module in modules):
            return MissingExtraError(extra, "this")
    return None


def hush_beam() -> None:
    """Drop what Beam logs at its import where gcp is not installed: nobody asked for it."""
    if not _is_installed("apitools"):
        logging.getLogger().addFilter(lambda record: "apitools not found" not in str(record.msg))


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False
