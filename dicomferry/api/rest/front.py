"""Requests that are answered first: health checks, and upgrades, which are refused."""

from google.rpc.code_pb2 import INVALID_ARGUMENT
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from dicomferry.api.errors import ApiError
from dicomferry.api.rest.app import error_response

HEALTH_PATH = "/healthz"


class Front:
    """ASGI middleware; its own answers take no thread, so they come however busy the server is."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        app = self._app
        if scope["type"] == "http":
            if "upgrade" in Headers(scope=scope).get("connection", "").lower():
                app = error_response(
                    ApiError(INVALID_ARGUMENT, "connections are not upgraded: use HTTP/1.1")
                )
            elif scope["path"] == HEALTH_PATH:
                app = PlainTextResponse("ok\n")
        await app(scope, receive, send)
