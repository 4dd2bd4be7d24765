"""Orthanc as a contender: a server that holds the files and returns each in another format."""

import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

_BINARY = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancGdcm.so")  # JPEG 2000
_START_SECONDS = 30
CLIENTS = 2


class Orthanc:
    """A running server.

    Attributes:
        ids: its identifiers of the files that were uploaded.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._local = threading.local()
        self.ids: list[str] = []

    def upload(self, files: Sequence[Path]) -> None:
        self.ids = [
            json.loads(self._ask("POST", "/instances", path.read_bytes()))["ID"] for path in files
        ]

    def export(self, form: str, out: Path) -> float:
        """Fetch all instances; return the seconds.

        Args:
            form: a transfer syntax, `png`, `jpeg` or `copy`.
        """
        out.mkdir(parents=True)
        started = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as clients:
            for _ in clients.map(lambda name: self._fetch(name, form, out / name), self.ids):
                pass
        return time.perf_counter() - started

    def _fetch(self, name: str, form: str, path: Path) -> None:
        if form == "copy":
            content = self._ask("GET", f"/instances/{name}/file")
        elif form in ("png", "jpeg"):
            content = self._ask("GET", f"/instances/{name}/preview", accept=f"image/{form}")
        else:
            order = {"Transcode": form, "Keep": ["SOPInstanceUID"], "Force": True}
            content = self._ask("POST", f"/instances/{name}/modify", json.dumps(order).encode())
        path.write_bytes(content)

    def _ask(self, method: str, path: str, body: bytes | None = None, accept: str = "*/*") -> bytes:
        if not hasattr(self._local, "connection"):
            self._local.connection = HTTPConnection("127.0.0.1", self._port)
        connection: HTTPConnection = self._local.connection
        connection.request(method, path, body, {"Accept": accept})
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise RuntimeError(f"Orthanc answers {response.status} to {method} {path}")
        return content


def is_installed() -> bool:
    return Path(_BINARY).exists()


@contextmanager
def running_orthanc() -> Iterator[Orthanc]:
    """Start a server in an empty folder for a `with` block."""
    with socket.socket() as check_writable:
        check_writable.bind(("127.0.0.1", 0))
        port = check_writable.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "StorageDirectory": f"{folder}/storage",
            "IndexDirectory": f"{folder}/index",
            "HttpPort": port,
            "DicomServerEnabled": False,
            "AuthenticationEnabled": False,
            "RemoteAccessAllowed": False,
            "KeepAlive": True,
            "StorageCompression": False,
            "Plugins": [str(_PLUGIN)] if _PLUGIN.exists() else [],
        }
        configuration = Path(folder) / "orthanc.json"
        configuration.write_text(json.dumps(settings))
        with subprocess.Popen(
            [_BINARY, configuration], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as server:
            try:
                _wait(port)
                yield Orthanc(port)
            finally:
                server.terminate()


def _wait(port: int) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/system").close()
        except urllib.error.URLError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return
