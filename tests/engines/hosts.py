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

_GROUPS = Path("/sys/fs/cgroup/cpu")
_PERIOD = 100_000  # microseconds
_NET = "10.231.77"
HERE = f"{_NET}.1"


def needs_hosts() -> None:
    """Skip a test where this process cannot make hosts."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("hosts of our own need root, and the command ip (Debian's iproute2)")


def needs_shares() -> None:
    """Skip a test where a host cannot be given a share of a core."""
    if not (_GROUPS / "cgroup.procs").exists():
        pytest.skip("a share of a core needs the cpu controller of control groups, version 1")


@dataclass
class Host:
    """A host; what runs on it dies with it, and it comes back empty."""

    name: str
    address: str
    log: Path
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _group: Path | None = None

    def start(
        self, command: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Run a program there."""
        with self.log.open("ab") as log:
            program = subprocess.Popen(
                [*self._joining(), "ip", "netns", "exec", self.name, *command],
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
            )
        self.programs.append(program)
        return program

    def kill(self) -> None:
        """Let everything on it die at once."""
        self._send(signal.SIGKILL)
        for program in self.programs:
            program.wait()
        self.programs.clear()

    def _send(self, signal_number: int) -> None:
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal_number)

    def _pids(self) -> list[int]:
        found = subprocess.run(
            ["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True
        )
        return [int(pid) for pid in found.stdout.split()]

    @contextlib.contextmanager
    def limited(self, cores: float) -> Iterator[None]:
        """Give all that runs there, and what it starts, a share of the cores for a block."""
        group = _GROUPS / self.name
        group.mkdir()
        try:
            (group / "cpu.cfs_quota_us").write_text(str(int(cores * _PERIOD)))
            self._group = group
            self._move(group)
            yield
        finally:
            self._group = None
            self._move(_GROUPS)
            group.rmdir()

    def _joining(self) -> list[str]:
        """Return what a command begins with whose process gets the share."""
        if self._group is None:
            return []
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self._group / "cgroup.procs")]

    def throttled(self) -> int:
        """Return how often it was refused a core, in a block of `limited`."""
        lines = (_GROUPS / self.name / "cpu.stat").read_text().splitlines()
        return int(dict(line.split() for line in lines)["nr_throttled"])

    def _move(self, group: Path) -> None:
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                (group / "cgroup.procs").write_text(str(pid))

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
