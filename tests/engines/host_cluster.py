"""A cluster of hosts of our own: a worker pool on each, the engine here, and storage for all."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.emulators.storage import StorageEmulator, storage_emulator
from tests.engines.hosts import HERE, Host, hosts
from tests.engines.prism import REPOSITORY
from tests.pipelines.test_portable_runner import free_port, wait_until_open

_PORT = 50000


@dataclass(frozen=True)
class Cluster:
    """Hosts with a worker pool each, and the engine that gives them work.

    Attributes:
        hosts: each with a pool of one worker.
        gcs: the storage that all reach.
        flags: what makes a job run here.
        engine: the process of the engine.
        folder: the logs: `engine.log`, with those of workers, and what each host printed.
    """

    hosts: list[Host]
    gcs: StorageEmulator
    flags: list[str]
    engine: subprocess.Popen[bytes]
    folder: Path

    def start_pool(self, host: Host) -> None:
        """Start the worker pool of a host."""
        host.start(*_pool(self.gcs.environment))

    def pool_pids(self) -> list[int]:
        """The processes of the pools."""
        return [program.pid for host in self.hosts for program in host.programs]

    def told(self, since: int = 0) -> list[dict[str, str]]:
        """What the engine has told of attempts; see `tests.engines.cluster`."""
        lines = (self.folder / "attempts.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines[since:]]

    def logged(self) -> Counter[str]:
        """The lines that engine, pools and workers have logged: warnings and errors."""
        files = [self.folder / "engine.log", *(host.log for host in self.hosts)]
        lines = (line for file in files for line in file.read_text().splitlines())
        return Counter(line for line in lines if not line.startswith("Starting worker with "))

    def wait_for_work(self, host: Host, stop: threading.Event) -> str:
        """Wait until a bundle begins on a host; return its name, '' if `stop` came first."""
        seen = len(self.told())
        while not stop.wait(0.05):
            for line in self.told(seen):
                if "error" not in line and line["pool"].startswith(f"{host.address}:"):
                    return line["bundle"]
        return ""


def _pool(environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    module = "apache_beam.runners.worker.worker_pool_main"
    return (
        [sys.executable, "-m", module, f"--service_port={_PORT}"],
        {**environment, "PATH": path, "PYTHONPATH": str(REPOSITORY)},
    )


@contextlib.contextmanager
def cluster_of_hosts(count: int, folder: Path) -> Iterator[Cluster]:
    """Run a cluster for the length of a block."""
    port, log = free_port(), folder / "attempts.jsonl"
    log.touch()
    with hosts(count, folder) as made, storage_emulator(HERE, folder / "objects") as gcs:
        pools = [f"{host.address}:{_PORT}" for host in made]
        flags = [f"--job_endpoint=localhost:{port}", "--environment_type=EXTERNAL"]
        flags += ["--runner=PortableRunner", f"--environment_config={pools[0]}"]
        command = [sys.executable, "-m", "tests.engines.cluster", str(port), HERE, log, *pools]
        with (folder / "engine.log").open("wb") as output:
            engine = subprocess.Popen(
                command, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT
            )
        cluster = Cluster(made, gcs, flags, engine, folder)
        try:
            for host in made:
                cluster.start_pool(host)
            wait_until_open(port, engine)
            yield cluster
        finally:
            engine.kill()
            engine.wait()
