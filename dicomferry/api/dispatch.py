"""Handle one call from either transport: authenticate, validate, dispatch, log."""

import logging
import re
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.rpc.code_pb2 import INTERNAL, UNAVAILABLE, Code

from dicomferry import tracing
from dicomferry.api.access import Authenticator, Principal
from dicomferry.api.errors import ApiError
from dicomferry.api.metrics import Metrics
from dicomferry.api.request_fields import check_required, check_values
from dicomferry.api.rpcs import Rpc
from dicomferry.storage.failures import storage_errors

_LOGGER = logging.getLogger(__name__)
# Calls without a known token: everybody can make them, so the rate of these lines is bounded.
_STRANGERS = _LOGGER.getChild("strangers")
_NOBODY = "nobody"
_NO_RESOURCE = "-"
# Fields of requests that name their resource, and the form of a name.
_NAMES = ("name", "parent", "resource")
_RESOURCE = re.compile(r"projects(/[\w.-]{1,256}){1,9}", re.ASCII)


class Dispatcher:
    """Answers calls."""

    def __init__(self, authenticator: Authenticator, metrics: Metrics) -> None:
        """Keep what resolves Authorization headers to principals, and what counts calls."""
        self._authenticator = authenticator
        self._metrics = metrics
        tracing.prepare()

    def answer(
        self,
        rpc: Rpc,
        read: Callable[[Principal], Any],
        authorization: str | None,
        headers: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the response.

        Args:
            rpc: the method that is called.
            read: returns its message; called, with who sent it, only after authentication.
            authorization: the header or metadata of that name.
            headers: headers or metadata, for the trace that the caller is in.

        Raises:
            ApiError: for every failure; no other exception leaves here.
        """
        with tracing.call(rpc.full_name, headers) as span:
            return self._answer(rpc, read, authorization, span)

    def _answer(
        self,
        rpc: Rpc,
        read: Callable[[Principal], Any],
        authorization: str | None,
        span: tracing.CallSpan,
    ) -> Any:
        started = time.monotonic()
        caller, code, resource = _NOBODY, 0, ""
        try:
            principal = self._authenticator.authenticate(authorization)
            caller = principal.name
            request = read(principal)
            resource = _resource(request)
            check_values(request)
            check_required(request)
            return rpc.handler(request, principal)
        except ApiError as error:
            code = error.code
            raise
        except Exception as error:  # the boundary: the caller gets an answer
            refusal = to_api_error(error, rpc.name, _STRANGERS if caller == _NOBODY else _LOGGER)
            code = refusal.code
            raise refusal from None
        finally:
            span.end_call(code, resource)
            self._log(f"{rpc.name} {resource or _NO_RESOURCE}", caller, code, started)

    def calling(self, rpcs: Iterable[Rpc]) -> Callable[[str, Any, str | None], Any]:
        """Return a function that calls methods by name, for callers in this process.

        It takes the method's name, its message, and the Authorization of who asks; it returns and
        raises as `answer` does.
        """
        by_name = {rpc.name: rpc for rpc in rpcs}

        def call(method: str, message: Any, authorization: str | None) -> Any:
            return self.answer(by_name[method], lambda _: message, authorization)

        return call

    def require_login(
        self, method: str, authorization: str | None, headers: Mapping[str, Any]
    ) -> None:
        """Refuse an unknown caller before anything of the call is read.

        Args:
            method: full name of the method.
            authorization: as `answer` takes it.
            headers: as `answer` takes them.

        Raises:
            ApiError: as `answer` does.
        """
        started = time.monotonic()
        try:
            self._authenticator.authenticate(authorization)
        except ApiError as error:
            with tracing.call(method, headers) as span:
                span.end_call(error.code, "")
            name = method.rpartition("/")[2]
            self._log(f"{name} {_NO_RESOURCE}", _NOBODY, error.code, started)
            raise

    def _log(self, called: str, caller: str, code: int, started: float) -> None:
        """Log and count a call; `called` is its method and its resource, without contents."""
        seconds = time.monotonic() - started
        logger = _STRANGERS if caller == _NOBODY else _LOGGER
        logger.info("%s by %s: %s in %.0f ms", called, caller, Code.Name(code), seconds * 1000)
        self._metrics.count(called.partition(" ")[0], Code.Name(code), seconds)


def _resource(request: Any) -> str:
    """Return the name of a request's resource as far as it has the form of one, else ''.

    Other contents of requests stay out of logs: they can hold patient data.
    """
    for field in _NAMES:
        name = getattr(request, field, "")
        if isinstance(name, str) and _RESOURCE.fullmatch(name):
            return name
    return ""


def to_api_error(error: Exception, method: str, logger: logging.Logger = _LOGGER) -> ApiError:
    """Return an error for the caller without details, and log where it was raised."""
    places = "".join(traceback.format_tb(error.__traceback__))
    # The places, not the message: exception texts can hold patient data.
    logger.error("%s broke with %s:\n%s", method, type(error).__name__, places)
    if isinstance(error, storage_errors()):
        return ApiError(UNAVAILABLE, "the storage behind this server failed; try again")
    return ApiError(
        INTERNAL, f"{method} broke with {type(error).__name__}; the server's log says where"
    )
