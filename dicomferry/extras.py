"""The extras of the package: what each adds, and what to say where one is not installed."""

import contextlib
import importlib.abc
import importlib.util
import logging
import sys
from collections.abc import Iterator

from google.rpc.code_pb2 import UNIMPLEMENTED

# The modules that tell whether an extra of pyproject.toml is installed.
_MODULES = {
    "bigquery": ("google.cloud.bigquery",),
    "gcp": ("apitools", "google.pubsub_v1"),
    "otel": ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"),
    "serve": ("google.iam.v1", "jwt", "lark", "prometheus_client", "starlette", "uvicorn"),
}


# What Beam imports of the extra gcp, and its own module that cannot do without.
_OF_BEAM = ("apitools", "google.cloud", "google.pubsub_v1", "apache_beam.io.gcp.gcsfilesystem")


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
        logging.getLogger().addFilter(_is_news)


@contextlib.contextmanager
def without_gcp() -> Iterator[None]:
    """Let Beam, imported in this block, be as it is where the extra gcp is not installed.

    It imports clients of Google Cloud that no job of the local runner uses; they are two fifths of
    it. What else needs them finds them afterwards.
    """
    logging.getLogger().addFilter(_is_news)
    hide = _Hide()
    sys.meta_path.insert(0, hide)
    try:
        yield
    finally:
        sys.meta_path.remove(hide)


class _Hide(importlib.abc.MetaPathFinder):
    """A finder of modules, asked before all others, by which there are none of `_OF_BEAM`."""

    def find_spec(self, name: str, *_: object) -> None:
        """Refuse a module.

        Raises:
            ModuleNotFoundError: it is hidden.
        """
        if any(f"{name}.".startswith(f"{each}.") for each in _OF_BEAM):
            raise ModuleNotFoundError(f"{name} is hidden", name=name)


def _is_news(record: logging.LogRecord) -> bool:
    return "apitools not found" not in str(record.msg)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False
