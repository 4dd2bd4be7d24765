"""Hosts of our own: network namespaces with an address each, on one bridge with this machine."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_NET = "10.231.77"
HERE = f"{_NET}.1"


def needs_hosts() -> None:
    """Skip a test where this process cannot make hosts."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("hosts of our own need root, and the command ip (Debian's iproute2)")


@dataclass
class Host:
    """A host; what runs on it dies with it, and it comes back empty."""

    name: str
    address: str
    log: Path
    _programs: list = field(default_factory=list)

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen:
        """Run a program there."""
        with self.log.open("ab") as log:
            program = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *command],
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
            )
        self._programs.append(program)
        return program

    def kill(self) -> None:
        """Let everything on it die at once."""
        self._send(signal.SIGKILL)
        for program in self._programs:
            program.wait()
        self._programs.clear()

    def _send(self, signal_number: int) -> None:
        found = subprocess.run(
            ["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True
        )
        for pid in map(int, found.stdout.split()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal_number)

    def cut(self) -> None:
        """Take its cable out: packets vanish, and nobody is told."""
        _ip("link", "set", f"{self.name}-v", "down")

    def mend(self) -> None:
        """Put its cable back."""
        _ip("link", "set", f"{self.name}-v", "up")


@contextlib.contextmanager
def hosts(count: int, folder: Path) -> Iterator[list[Host]]:
    """Have hosts for the length of a block; this machine is `HERE` for them."""
    mark = f"df{os.getpid() % 100000}"
    made = [
        Host(f"{mark}{letter}", f"{_NET}.{number}", folder / f"host-{letter}.log")
        for letter, number in zip("abcdefgh"[:count], itertools.count(11), strict=False)
    ]
    _ip("link", "add", mark, "type", "bridge")
    try:
        _ip("address", "add", f"{HERE}/24", "dev", mark)
        _ip("link", "set", mark, "up")
        for host in made:
            _ip("netns", "add", host.name)
            inside = ("-n", host.name)
            peer = ("type", "veth", "peer", "name", "eth0", "netns", host.name)
            _ip("link", "add", f"{host.name}-v", *peer)
            _ip("link", "set", f"{host.name}-v", "master", mark, "up")
            _ip(*inside, "address", "add", f"{host.address}/24", "dev", "eth0")
            _ip(*inside, "link", "set", "eth0", "up")
            _ip(*inside, "link", "set", "lo", "up")
        yield made
    finally:
        for host in made:
            with contextlib.suppress(subprocess.CalledProcessError):
                host.kill()
                _ip("netns", "delete", host.name)
        _ip("link", "delete", mark)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, stdout=subprocess.DEVNULL)
