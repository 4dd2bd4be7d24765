"""A whole import through a job service with several workers, twice: all new, then all known.

python -m benchmarks.bench_job FOLDER [--files N ...] [--workers W]

The files have 4 KB each, and exist only as a rule; the store is in FOLDER, and its blobs are not
synced (`benchmarks.job_storages`): this measures the job, not a disk. The job service is Beam's,
which keeps shuffles in its memory; each worker is a process of its own (`tests.engines.cluster`).
Of each process it shows the CPU time and the most memory, and every minute how far these are.
"""

import argparse
import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from benchmarks import job_storages
from benchmarks.machine import describe_machine, load
from benchmarks.measuring import Sampler, end_tree
from dicomferry.resource_names import parse_store
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store
from dicomferry.store.index import Index

_START_SECONDS = 120
_SAMPLE_SECONDS = 1.0
_SHOW_SECONDS = 60.0
# A worker that says nothing is given up, and its work begins again.
_SILENCE_SECONDS = "600"
_IMPORT = ("-m", "benchmarks.job_storages", "import")
_WORKER = ("-m", "benchmarks.job_storages", "worker")


class Engine:
    """A job service, and a process for each worker."""

    def __init__(self, log: Path, workers: int) -> None:
        """Start all; what they say goes into a folder."""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._log = log
        log.mkdir(parents=True, exist_ok=True)
        pools = [_free_port() for _ in range(workers)]
        for number, port in enumerate(pools):
            self._start(f"worker {number}", *_WORKER, str(port))
            _wait_until_open(port)
        self._port = _free_port()
        self._start(
            "job service",
            *("-m", "tests.engines.cluster", str(self._port), "localhost"),
            *(str(log / "bundles"), *(f"localhost:{port}" for port in pools)),
        )
        _wait_until_open(self._port)
        self.flags = (
            *("--runner=PortableRunner", f"--job_endpoint=localhost:{self._port}"),
            *("--environment_type=EXTERNAL", f"--environment_config=localhost:{pools[0]}"),
        )

    def _start(self, name: str, *arguments: str) -> None:
        with (self._log / name.replace(" ", "-")).open("wb") as said:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *arguments],
                env={**os.environ, "DICOMFERRY_SILENCE_SECONDS": _SILENCE_SECONDS},
                stdout=said,
                stderr=subprocess.STDOUT,
            )

    def end(self) -> None:
        """End all processes."""
        for process in self.processes.values():
            end_tree(process.pid)
            process.wait()


@contextlib.contextmanager
def _engine(log: Path, workers: int) -> Iterator[Engine]:
    engine = Engine(log, workers)
    try:
        yield engine
    finally:
        engine.end()


def run_job(name: str, flags: list[str], workers: int, log: Path) -> str:
    """Run an import on an engine of its own; return what it took."""
    with _engine(log, workers) as engine, (log / "import").open("wb") as said:
        started = time.perf_counter()
        job = subprocess.Popen(
            [sys.executable, *_IMPORT, *flags, *engine.flags, f"--summary_file={log}/summary"],
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        samplers = {
            part: Sampler(process.pid, _SAMPLE_SECONDS)
            for part, process in {"launcher": job, **engine.processes}.items()
        }
        while job.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                job.wait(_SHOW_SECONDS)
            so_far = _told({part: sampler.so_far() for part, sampler in samplers.items()})
            taken = time.perf_counter() - started
            print(f"{name}, {taken:.0f} s: {so_far}; {load()}", file=sys.stderr, flush=True)
        seconds = time.perf_counter() - started
        used = {part: sampler.end() for part, sampler in samplers.items()}
    summary = json.loads((log / "summary").read_text())
    counts = {what: count for what, count in summary["counts"].items() if count}
    total = summary["total"]
    cpu = sum(cpu for _, cpu in used.values())
    if not total:
        return f"{name}: exit code {job.returncode}: {summary.get('error')}; see {log}"
    return (
        f"{name}: exit code {job.returncode}, {counts} in {seconds:.0f} s,"
        f" {total / seconds:.0f} files/s, {cpu / total * 1e3:.2f} ms of CPU a file\n  {_told(used)}"
        f"\n  {warnings(log)}; {load()}"
    )


def _told(used: dict[str, tuple[int, float]]) -> str:
    return "; ".join(
        f"{part} {cpu:.0f} s of CPU, {peak >> 20} MB" for part, (peak, cpu) in used.items()
    )


def warnings(log: Path) -> str:
    """Say how many warnings and errors the processes wrote, and the first one of them."""
    found = [
        line
        for file in sorted(log.iterdir())
        if file.name not in ("summary", "bundles")
        for line in _lines(file.open(errors="replace"))
        if "WARNING" in line or "ERROR" in line or "Traceback" in line
    ]
    return f"{len(found)} warnings" + (f", first: {found[0][:160]}" if found else "")


def _lines(file: IO[str]) -> list[str]:
    with file:
        return file.read().splitlines()


def measure(folder: Path, count: int, workers: int) -> None:
    """Import new files, then the same."""
    root = open_storage(f"shared://{folder}/store-{secrets.token_hex(4)}")
    store = create_store(root, parse_store("trial"))
    flags = [f"--store={store.name.id}", f"--root={root.root}", f"--source=tiny://{count}/**"]
    for name in ("new", "known"):
        log = folder / f"log-{count}-{name}"
        print(run_job(f"{count:,} {name}", flags, workers, log), flush=True)
    index = Index(store.data)
    assert index.count() == count, index.count()
    print(f"  {len(index.files)} files of the index, version {index.version}", flush=True)
    root.remove_all()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until_open(port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("localhost", port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_job")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    known = parser.parse_args(argv)
    folder = known.folder.absolute()
    job_storages.use()
    print(describe_machine(["apache-beam", "deltalake", "pyarrow"]))
    for count in known.files:
        measure(folder, count, known.workers)


if __name__ == "__main__":
    main(sys.argv[1:])
