"""Services out of reach, each in a way of its own: what clients meet when a network is broken."""

import contextlib
import http.server
import json
import socket
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and listens not: every connection is refused
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """An address that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1000)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def unknown_name() -> Iterator[str]:
    """A name that no server knows (RFC 6761, section 6.4)."""
    yield "http://bigquery.invalid"


@contextlib.contextmanager
def answering(status: int, reason: str = "", body: bytes | None = None) -> Iterator[str]:
    """An address that answers every request with one error of Google's APIs, or with a body."""
    error = {"reason": reason, "message": "of the service"}
    content = {"error": {"code": status, "message": "of the service", "errors": [error]}}
    answer = json.dumps(content).encode() if body is None else body

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_PATCH = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def metadata_server_not_asked() -> Iterator[dict[str, str]]:
    """An environment in which nobody may look for credentials at a host of Google's cloud.

    Libraries without credentials wait there for some 20 s, in every process.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        yield {"GCE_METADATA_HOST": address, "GCE_METADATA_IP": address}
        server.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            server.accept()
            raise AssertionError("a process asked a metadata server for credentials")
