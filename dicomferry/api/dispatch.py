"""Handle one call from either transport: authenticate, validate, dispatch, log."""

import logging
import time
import traceback
from collections.abc import Callable
from typing import Any

from google.rpc.code_pb2 import INTERNAL, UNAVAILABLE, Code

from dicomferry.api.access import Authenticator, Principal
from dicomferry.api.errors import ApiError
from dicomferry.api.request_fields import check_required, check_values
from dicomferry.api.rpcs import Rpc
from dicomferry.storage.failures import storage_errors

_LOGGER = logging.getLogger(__name__)
# Calls without a known token: everybody can make them, so the rate of these lines is bounded.
_STRANGERS = _LOGGER.getChild("strangers")
_NOBODY = "nobody"


class Dispatcher:
    """Answers calls."""

    def __init__(self, authenticator: Authenticator) -> None:
        """Keep the authenticator, which resolves Authorization headers to principals."""
        self._authenticator = authenticator

    def answer(self, rpc: Rpc, read: Callable[[Principal], Any], authorization: str | None) -> Any:
        """Return the response.

        Args:
            rpc: the method that is called.
            read: returns its message; called, with who sent it, only after authentication.
            authorization: the header or metadata of that name.

        Raises:
            ApiError: for every failure; no other exception leaves here.
        """
        started = time.monotonic()
        caller, code = _NOBODY, 0
        try:
            principal = self._authenticator.authenticate(authorization)
            caller = principal.name
            request = read(principal)
            check_values(request)
            check_required(request)
            return rpc.handler(request, principal)
        except ApiError as error:
            code = error.code
            raise
        except Exception as error:  # the boundary: the caller gets an answer
            refusal = to_api_error(error, rpc.name)
            code = refusal.code
            raise refusal from None
        finally:
            _log(rpc.name, caller, code, started)

    def require_login(self, method: str, authorization: str | None) -> None:
        """Refuse an unknown caller before anything of the call is read.

        Raises:
            ApiError: as `answer` does.
        """
        started = time.monotonic()
        try:
            self._authenticator.authenticate(authorization)
        except ApiError as error:
            _log(method, _NOBODY, error.code, started)
            raise


def _log(method: str, caller: str, code: int, started: float) -> None:
    # Neither names nor contents: requests can hold patient data.
    logger = _STRANGERS if caller == _NOBODY else _LOGGER
    logger.info(
        "%s by %s: %s in %.0f ms",
        method,
        caller,
        Code.Name(code),
        (time.monotonic() - started) * 1000,
    )


def to_api_error(error: Exception, method: str) -> ApiError:
    """Return an error for the caller without details, and log where it was raised."""
    places = "".join(traceback.format_tb(error.__traceback__))
    # The places, not the message: exception texts can hold patient data.
    _LOGGER.error("%s broke with %s:\n%s", method, type(error).__name__, places)
    if isinstance(error, storage_errors()):
        return ApiError(UNAVAILABLE, "the storage behind this server failed; try again")
    return ApiError(
        INTERNAL, f"{method} broke with {type(error).__name__}; the server's log says where"
    )
