"""What operators of a server ask for: whether it can work, and what it counts."""

import asyncio

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from dicomferry.api.access import Authenticator
from dicomferry.api.errors import ApiError
from dicomferry.api.metrics import CONTENT_TYPE, Metrics
from dicomferry.api.readiness import LIMIT_SECONDS, Readiness
from dicomferry.api.rest.app import error_response

READY_PATH = "/readyz"
METRICS_PATH = "/metrics"
# Counts are of all stores and callers.
METRICS_PERMISSION = "healthcare.operations.list"


class OperatorPaths:
    """ASGI middleware."""

    def __init__(
        self, app: ASGIApp, readiness: Readiness, metrics: Metrics, authenticator: Authenticator
    ) -> None:
        """Stand before an application.

        Args:
            app: answers all other paths.
            readiness: asked for /readyz, which needs no login.
            metrics: shown in /metrics.
            authenticator: of the callers of /metrics.
        """
        self._app = app
        self._readiness = readiness
        self._metrics = metrics
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        app = self._app
        if scope["type"] == "http" and scope["path"] == READY_PATH:
            app = await self._ready()
        elif scope["type"] == "http" and scope["path"] == METRICS_PATH:
            authorization = Headers(scope=scope).get("authorization")
            app = await run_in_threadpool(self._shown_metrics, authorization)
        await app(scope, receive, send)

    async def _ready(self) -> Response:
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                # After the limit the thread goes on alone; further ones do not wait for storage.
                is_ready = await asyncio.to_thread(self._readiness.check)
        except TimeoutError:
            is_ready = False
        if is_ready:
            return PlainTextResponse("ok\n")
        return PlainTextResponse("the storage of this server does not answer\n", 503)

    def _shown_metrics(self, authorization: str | None) -> Response:
        try:
            self._authenticator.authenticate(authorization).require(METRICS_PERMISSION, "*")
        except ApiError as error:
            return error_response(error)
        return Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE})
