"""An import and a transcoding export on 1, 2 and 4 hosts of an engine, beside the local runner.

python -m benchmarks.bench_engines [--files N] [--share CORES]

Hosts are network namespaces (`tests.engines.host_cluster`), so it needs root. Each has a worker
pool and a share of a core; the local runner has one host and the same share, with `--workers=0`.
The storage emulator, the engine and the process that waits have what is left of the machine. Start
and cost of a file come from a short and a long run of each.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]

from benchmarks.machine import describe_machine, load
from benchmarks.measuring import Sampler
from dicomferry.resource_names import parse_store
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store
from tests.engines.host_cluster import Cluster, cluster_of_hosts
from tests.factories import dicom_bytes

_HOSTS = (1, 2, 4)
_FEW = 20
_PIXELS = bytes(range(256)) * 32
_JPEG_LS = "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.80"
_JOBS = ("import", "export")


class _Cost(NamedTuple):
    """Seconds by the clock, and of CPU by part."""

    seconds: float
    cpu: dict[str, float]


def _file(number: int) -> bytes:
    uid = f"1.2.1.1.{number + 1}"
    content = dicom_bytes(sop=uid, pixels=_PIXELS, Rows=64, Columns=64)
    return bytes(content)


def _upload(cluster: Cluster, count: int) -> str:
    """Put files of 8 KB into a bucket of their own."""
    bucket = cluster.gcs.bucket(f"files-{count}")
    with ThreadPoolExecutor(8) as threads:
        uploads = [
            threads.submit(
                bucket.blob(f"in/{number:06d}.dcm").upload_from_string,
                _file(number),
            )
            for number in range(count)
        ]
        for each in uploads:
            each.result()
    return str(bucket.name)


def _commands(bucket: str) -> dict[str, list[str]]:
    """Make a store; return what imports into it and exports from it."""
    root = f"gs://{bucket}/stores"
    create_store(open_storage(root), parse_store("bench"))
    program, store = [sys.executable, "-m"], ["--store=bench", f"--root={root}", "--workers=0"]
    return {
        "import": [
            *program,
            "dicomferry.pipelines.import_dicom",
            *store,
            f"--source=gs://{bucket}/in/**",
        ],
        "export": [
            *program,
            "dicomferry.pipelines.export_dicom",
            *store,
            f"--destination=gs://{bucket}/out",
            f"--mime-type={_JPEG_LS}",
        ],
    }


def _cpu(pid: int) -> float:
    """Return the CPU seconds so far of a process and of those that it has started."""
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def _measure(cluster: Cluster, command: list[str], *, is_local: bool) -> _Cost:
    with (cluster.folder / "jobs.log").open("ab") as log:
        begun = time.perf_counter()
        if is_local:
            job = cluster.hosts[0].start(command, cluster.gcs.environment)
        else:
            job = subprocess.Popen([*command, *cluster.flags], stdout=log, stderr=log)
        parts = {"job": [job.pid]}
        if not is_local:
            parts |= {"engine": [cluster.engine.pid], "workers": cluster.pool_pids()}
        before = {part: sum(map(_cpu, pids)) for part, pids in parts.items()}
        samplers = {part: [Sampler(pid) for pid in pids] for part, pids in parts.items()}
        code = job.wait()
        seconds = time.perf_counter() - begun
    cpu = {
        part: sum(each.end()[1] for each in its) - before[part] for part, its in samplers.items()
    }
    if code:
        raise RuntimeError(f"exit code {code}: see {cluster.folder}")
    return _Cost(seconds, cpu)


def measure(count: int, share: float, hosts: int) -> dict[str, tuple[_Cost, _Cost]]:
    """Return for each job what few files cost, and many.

    Args:
        count: many.
        share: cores of a host.
        hosts: of the engine; 0: the local runner.
    """
    costs: dict[str, list[_Cost]] = {job: [] for job in _JOBS}
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="bench-engines-"))
        cluster = stack.enter_context(cluster_of_hosts(hosts or 1, folder))
        for host in cluster.hosts:
            stack.enter_context(host.limited(share))
        for number in (_FEW, count):
            for job, command in _commands(_upload(cluster, number)).items():
                costs[job].append(_measure(cluster, command, is_local=not hosts))
    return {job: (few, many) for job, (few, many) in costs.items()}


def describe(few: _Cost, many: _Cost, more: int, local: tuple[float, float] | None) -> str:
    """Say what a start and a file cost, and from how many files it is faster than `local`."""
    each = (many.seconds - few.seconds) / more
    start = few.seconds - _FEW * each
    cpu = ", ".join(
        f"{part} {few.cpu[part]:.1f} s + {(many.cpu[part] - few.cpu[part]) / more * 1e3:.2f} ms"
        for part in many.cpu
    )
    text = f"start {start:.1f} s, {each * 1e3:.2f} ms a file; CPU: {cpu}"
    if local is None:
        return text
    gain = local[1] - each
    pays = f"from {max(0.0, start - local[0]) / gain:,.0f} files on" if gain > 0 else "never"
    return f"{text}; faster than local {pays}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_engines")
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--share", type=float, default=0.1, help="cores of each host")
    known = parser.parse_args(argv)
    print(describe_machine(["apache-beam", "grpcio"]))
    more = known.files - _FEW
    local: dict[str, tuple[float, float]] = {}
    for hosts in (0, *_HOSTS):
        name = f"{hosts} hosts of {known.share} cores" if hosts else "local"
        for job, (few, many) in measure(known.files, known.share, hosts).items():
            print(f"{name}, {job}: {describe(few, many, more, local.get(job))}", flush=True)
            if not hosts:
                each = (many.seconds - few.seconds) / more
                local[job] = few.seconds - _FEW * each, each
    print(load())


if __name__ == "__main__":
    main()
