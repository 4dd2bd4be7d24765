"""Middleware for servers without login: accepts only requests to localhost from localhost pages.

Pages of other sites in a browser on this machine could send requests to it too: the Origin header
shows these. Or they use a name of theirs that resolves to this machine: the Host header shows it.
"""

import ipaddress
from urllib.parse import urlsplit

from google.rpc.code_pb2 import PERMISSION_DENIED
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from dicomferry.api.errors import ApiError
from dicomferry.api.rest.app import error_response


class LocalhostGuard:
    """ASGI middleware that refuses requests with a foreign Host or Origin header."""

    def __init__(self, app: ASGIApp) -> None:
        """Guard an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and not _is_local(Headers(scope=scope)):
            error = ApiError(
                PERMISSION_DENIED,
                "a server without login answers only requests to localhost from this machine; "
                "start it with --auth to serve others",
            )
            await error_response(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_local(headers: Headers) -> bool:
    """Whether a request is to localhost, and from no page or from one of this server.

    A page of another port is another origin: any program on this machine may serve one.
    """
    host = headers.get("host", "")
    if not is_loopback(_host(f"//{host}")):
        return False
    return "origin" not in headers or headers["origin"] in (f"http://{host}", f"https://{host}")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
