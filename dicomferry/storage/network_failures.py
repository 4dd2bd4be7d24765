"""Failures of services on the network, in whatever exceptions of their clients' libraries."""

import http.client
import socket
import ssl
from collections.abc import Iterator

_TIMED_OUT = "it did not answer in time"


def network_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions with which clients of Google's services say that a call failed.

    A function, since their libraries take 40 MB: `except network_errors():` loads them only when
    something was raised.
    """
    import grpc
    import requests
    import urllib3
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.resumable_media import DataCorruption, InvalidResponse

    return (
        GoogleAPIError,
        GoogleAuthError,
        InvalidResponse,
        DataCorruption,
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        grpc.RpcError,
        http.client.HTTPException,
        # Not all of OSError: a disk has failures of its own.
        ConnectionError,
        TimeoutError,
        socket.gaierror,
        ssl.SSLError,
    )


def network_failure_text(error: Exception) -> str:
    """Return what kept a call from its answer, in a few words without an address."""
    import requests
    import urllib3
    from google.api_core.exceptions import DeadlineExceeded, GoogleAPICallError, GoogleAPIError
    from google.auth.exceptions import GoogleAuthError, TransportError

    chain = list(_chain(error))
    for each in chain:
        if isinstance(each, DeadlineExceeded):
            return _TIMED_OUT
        if isinstance(each, GoogleAPICallError) and each.code:
            reason = reason_of(each)
            return f"it answers {int(each.code)}{reason and f' {reason}'}"
    kinds: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
        (
            (socket.gaierror, urllib3.exceptions.NameResolutionError),
            "its name is unknown (DNS)",
        ),
        ((ssl.SSLError,), "its certificate is not trusted, or the encrypted connection failed"),
        ((ConnectionRefusedError,), "it refuses the connection"),
        ((TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError), _TIMED_OUT),
    )
    for types, text in kinds:
        if any(isinstance(each, types) for each in chain):
            return text
    if any(
        isinstance(each, GoogleAuthError) and type(each) is not TransportError for each in chain
    ):
        return f"these credentials are refused ({type(error).__name__})"
    innermost = next(
        each for each in chain if not isinstance(each, GoogleAPIError) or each is error
    )
    return f"the connection failed ({type(innermost).__name__})"


def reason_of(error: BaseException) -> str:
    """Return the reason that Google's services name in an error, such as quotaExceeded; or ''."""
    errors = getattr(error, "errors", None) or [{}]
    first = errors[0] if isinstance(errors[0], dict) else {}
    return str(first.get("reason", ""))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, and those that it came from: libraries keep them in several ways."""
    seen: list[BaseException] = []
    left: list[BaseException] = [error]
    while left:
        each = left.pop(0)
        if each in seen:
            continue
        seen.append(each)
        yield each
        links = [
            getattr(each, "cause", None),  # of api_core's RetryError
            getattr(each, "reason", None),  # of urllib3's MaxRetryError
            each.__cause__,
            each.__context__,
            *each.args,
        ]
        left += [link for link in links if isinstance(link, BaseException)]
