"""The server of `dicomferry serve`: REST, gRPC and the console on one set of handlers.

Jobs are processes of their own: they continue when the server ends, and it finds them again when
it restarts, since it keeps all its state below the root.
"""

import dataclasses
import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import grpc
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from dicomferry.api.access import Authenticator, NoLogin, OidcLogin, OidcSettings, TokenFile
from dicomferry.api.dispatch import Dispatcher
from dicomferry.api.grpc.server import make_server
from dicomferry.api.log_rate import LogRate
from dicomferry.api.metrics import Metrics
from dicomferry.api.readiness import Readiness
from dicomferry.api.rest.app import RestApp
from dicomferry.api.rest.connections import (
    IDLE_SECONDS,
    BoundedListener,
    BoundedProtocol,
    raise_descriptor_limit,
)
from dicomferry.api.rest.front import Front
from dicomferry.api.rest.localhost_guard import LocalhostGuard, is_loopback
from dicomferry.api.rest.operator_paths import OperatorPaths
from dicomferry.api.rpcs import Handlers, all_rpcs
from dicomferry.api.tls import bound_handshakes, check_pair, grpc_credentials
from dicomferry.console.routes import console_routes
from dicomferry.jobs.dataflow_client import Templates
from dicomferry.jobs.launch import JobRunner
from dicomferry.jobs.turns import DEFAULT_LIMITS, WaitingLimits
from dicomferry.places import Bounds, Overwrite, PlaceRules
from dicomferry.storage.base import Storage

# Running calls may take so long to end, and then what is left of them.
_GRACE_SECONDS = 5
_LAST_SECONDS = 2
# Anybody who can connect can make these log a line.
_LOGGERS_OF_STRANGERS = (
    "asyncio",
    "uvicorn.error",
    "dicomferry.api.access.oidc",
    "dicomferry.api.access.token_file",
    "dicomferry.api.dispatch.strangers",
    "dicomferry.api.rest.connections",
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a server; the fields are the flags."""

    root: Storage
    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int = 9090
    auth: str = ""
    allow_path: tuple[str, ...] = ()
    allow_prefix: tuple[str, ...] = ()
    allow_read: tuple[str, ...] = ()
    allow_write: tuple[str, ...] = ()
    overwrite: Overwrite = Overwrite.OWN
    dataflow_templates: str = ""
    dataflow_project: str = ""
    dataflow_region: str = ""
    max_jobs: int = 4
    max_waiting: int = DEFAULT_LIMITS.in_all
    max_waiting_each: int = DEFAULT_LIMITS.of_caller
    url: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    oidc_issuer: str = ""
    oidc_audience: str = ""
    oidc_groups_claim: str = "groups"

    @property
    def scheme(self) -> str:
        """http, or https."""
        return "https" if self.tls_cert else "http"

    @property
    def public_url(self) -> str:
        """Where others find the page of this server, without a slash at its end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.url.rstrip("/") or f"{self.scheme}://{host}:{self.port}"

    @property
    def templates(self) -> Templates | None:
        """Templates of the jobs to run on Dataflow, or None."""
        flags = (self.dataflow_templates, self.dataflow_project, self.dataflow_region)
        return Templates(*flags) if any(flags) else None

    @property
    def bounds(self) -> Bounds:
        """Places that requests may name.

        Raises:
            ValueError: a flag names none.
        """
        both = (*self.allow_path, *self.allow_prefix)
        return Bounds.of_server(both, self.allow_read, self.allow_write)

    @property
    def runner(self) -> JobRunner:
        """Where jobs run."""
        limits = WaitingLimits(self.max_waiting, self.max_waiting_each)
        return JobRunner(self.templates, self.max_jobs, limits)

    @property
    def oidc(self) -> OidcSettings | None:
        """Whose tokens are taken beside those of the auth file, or None."""
        if not (self.oidc_issuer or self.oidc_audience):
            return None
        return OidcSettings(self.oidc_issuer, self.oidc_audience, self.oidc_groups_claim)

    def authenticator(self) -> Authenticator:
        """Return what resolves the Authorization headers of callers.

        Raises:
            AuthFileError: the auth file is wrong.
        """
        if not self.auth:
            return NoLogin()
        file = TokenFile(self.auth)
        return OidcLogin(self.oidc, file) if self.oidc else file

    def check(self) -> None:
        """Check the settings.

        Raises:
            ValueError: other machines can reach a server without login, no job could run, or the
                flags for Dataflow are incomplete or the root is local.
        """
        if not self.auth and not is_loopback(self.host):
            raise ValueError(
                f"--host {self.host} is reachable from other machines, so callers have to log in: "
                "name a file of tokens with --auth, or serve on 127.0.0.1"
            )
        if self.url and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", self.url):
            raise ValueError(
                f"--url {self.url} is not the URL of a server: use http://HOST or https://HOST"
            )
        if self.oidc:
            self.oidc.check()
            if not self.auth:
                raise ValueError("--oidc-issuer needs --auth: the file that gives groups rights")
        if self.tls_cert or self.tls_key:
            check_pair(self.tls_cert, self.tls_key)
        for flag in ("max_jobs", "max_waiting", "max_waiting_each"):
            if (number := getattr(self, flag)) < 1:
                name = flag.replace("_", "-")
                raise ValueError(f"--{name} must be 1 or more, got {number}")
        if self.templates and not (all(self.templates) and self.root.capabilities.is_shared):
            raise ValueError(
                "jobs on Dataflow take --dataflow-templates gs://bucket/folder, "
                "--dataflow-project, --dataflow-region, and a --root in a bucket: name all four"
            )


class Service:
    """Both transports of the API, and the console, with one set of handlers."""

    def __init__(self, settings: Settings) -> None:
        """Build the service; no port is open yet.

        Raises:
            ValueError: a setting is wrong, or the root cannot hold stores.
        """
        settings.check()
        settings.root.check_writable()
        authenticator = settings.authenticator()
        rules = PlaceRules(settings.bounds, root=settings.root, overwrite=settings.overwrite)
        handlers = Handlers(settings.root, rules, settings.runner, settings.public_url)
        self._operations = handlers.operations
        rpcs = all_rpcs(handlers)
        metrics = Metrics()
        dispatcher = Dispatcher(authenticator, metrics)
        pages = Starlette(
            routes=console_routes(
                settings.root, authenticator.authenticate, dispatcher.calling(rpcs)
            )
        )
        # REST answers every path that is not a page of the console, and 404 if it is unknown.
        pages.router.default = RestApp(rpcs, dispatcher)
        app = OperatorPaths(pages, Readiness(settings.root), metrics, authenticator)
        self.app: ASGIApp = Front(app if settings.auth else LocalhostGuard(app))
        self.grpc_server: grpc.Server = make_server(rpcs, dispatcher)

    def stop(self) -> None:
        """Return from calls that wait for an operation, and end gRPC when its calls have ended."""
        self._operations.stop()
        self.grpc_server.stop(_GRACE_SECONDS).wait()


def http_config(app: ASGIApp, **changes: Any) -> uvicorn.Config:
    """Return how HTTP is served: bounded, without WebSockets.

    Args:
        app: application to serve.
        changes: other settings of uvicorn.
    """
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_keep_alive=IDLE_SECONDS,
        **changes,
    )


def serve(settings: Settings, announce: Callable[[int, int], None]) -> None:
    """Serve until SIGTERM or SIGINT; running requests have some seconds to end.

    This process ends soon after, whatever its threads wait for: handlers can be killed at any time.

    Args:
        settings: of the server.
        announce: called with the ports of REST and gRPC once both accept calls.

    Raises:
        ValueError: a setting is wrong, or a port is taken.
    """
    # Images of patients: what this process and its jobs write is the user's own.
    os.umask(0o077)
    raise_descriptor_limit()
    bound_handshakes()
    for logger in _LOGGERS_OF_STRANGERS:
        logging.getLogger(logger).addFilter(LogRate())
    settings.check()
    listener = _listen(settings)
    service = Service(dataclasses.replace(settings, port=listener.getsockname()[1]))
    grpc_port = _add_port(service.grpc_server, settings)
    tls = {"ssl_certfile": settings.tls_cert, "ssl_keyfile": settings.tls_key}
    server = _HttpServer(
        http_config(service.app, **(tls if settings.tls_cert else {})), service.stop
    )

    def end(_signal: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn has handlers of its own while it runs, and raises the signals that they caught again
    # afterwards, which would end this process before gRPC is done.
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, end)
    service.grpc_server.start()
    announce(listener.getsockname()[1], grpc_port)
    server.run(sockets=[listener])
    service.stop()
    # Python waits for all threads at its end, also for one that waits for a service that is gone.
    last = threading.Timer(_LAST_SECONDS, os._exit, (0,))
    last.daemon = True
    last.start()


class _HttpServer(uvicorn.Server):
    """Lets the other port end at the same time as its own."""

    def __init__(self, config: uvicorn.Config, stop_others: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop_others = stop_others

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end, at a signal."""
        super().handle_exit(sig, frame)
        threading.Thread(target=self._stop_others, daemon=True).start()


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.host, settings.port
    kind_of_socket = BoundedListener if settings.tls_cert else socket.socket
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = kind_of_socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # clients can connect before uvicorn is ready
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"cannot serve on {host}:{port} ({error}): choose another --host or --port"
        ) from None
    return listener


def _add_port(server: grpc.Server, settings: Settings) -> int:
    host, port = settings.host, settings.grpc_port
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if not settings.tls_cert:
            return int(server.add_insecure_port(address))
        credentials = grpc_credentials(settings.tls_cert, settings.tls_key)
        return int(server.add_secure_port(address, credentials))
    except RuntimeError:
        raise ValueError(
            f"cannot serve gRPC on {address}: choose another --host or --grpc-port"
        ) from None
