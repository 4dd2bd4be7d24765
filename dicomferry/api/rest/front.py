"""What is answered before anything else: whether the server lives, can work, and what it counts.

And upgrades, which there are none of.
"""

import asyncio
from collections.abc import Callable

from google.rpc.code_pb2 import INVALID_ARGUMENT
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from dicomferry.api.access import Authenticator
from dicomferry.api.errors import ApiError
from dicomferry.api.metrics import CONTENT_TYPE, Metrics
from dicomferry.api.readiness import Readiness
from dicomferry.api.rest.app import error_response

HEALTH_PATH = "/healthz"
READY_PATH = "/readyz"
METRICS_PATH = "/metrics"
_READY_SECONDS = 5.0


class Front:
    """ASGI middleware. /healthz takes no thread, so it comes however busy the server is."""

    def __init__(
        self, app: ASGIApp, readiness: Readiness, metrics: Metrics, authenticator: Authenticator
    ) -> None:
        """Stand before an application.

        Args:
            app: answers all other paths.
            readiness: asked for /readyz, which needs no login.
            metrics: shown in /metrics.
            authenticator: /metrics takes the token of anybody who has one.
        """
        self._app = app
        self._readiness = readiness
        self._metrics = metrics
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        app = self._app
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if "upgrade" in headers.get("connection", "").lower():
                app = error_response(
                    ApiError(INVALID_ARGUMENT, "this server upgrades no connection: use HTTP/1.1")
                )
            elif scope["path"] == HEALTH_PATH:
                app = PlainTextResponse("ok\n")
            elif scope["path"] == READY_PATH:
                app = await self._ready()
            elif scope["path"] == METRICS_PATH:
                app = await run_in_threadpool(self._shown_metrics, headers.get("authorization"))
        await app(scope, receive, send)

    async def _ready(self) -> Response:
        try:
            async with asyncio.timeout(_READY_SECONDS):
                is_ready = await _in_thread(self._readiness.check)
        except TimeoutError:
            is_ready = False
        if is_ready:
            return PlainTextResponse("ok\n")
        return PlainTextResponse("the storage of this server does not answer\n", 503)

    def _shown_metrics(self, authorization: str | None) -> Response:
        try:
            self._authenticator.authenticate(authorization)
        except ApiError as error:
            return error_response(error)
        return Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE})


async def _in_thread(function: Callable[[], bool]) -> bool:
    """Run a function in a thread; a timeout leaves the thread alone, and one waits at a time."""
    return await asyncio.get_running_loop().run_in_executor(None, function)
