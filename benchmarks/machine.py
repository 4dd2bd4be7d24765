"""Description of this machine, for the first lines of every table of figures."""

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")


def describe_machine(distributions: Sequence[str]) -> str:
    """Return CPU, cores, memory, system, Python, versions, and the current load."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in distributions)
    return (
        f"{_cpu()}, {os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}\n{versions}\n{load()}"
    )


def load() -> str:
    """Return the load average: other work on the machine slows every row."""
    return "load average " + ", ".join(f"{average:.1f}" for average in os.getloadavg())


def bytes_read() -> int:
    """Return how many bytes this process has read so far, of a disk or its cache."""
    return int(Path("/proc/self/io").read_text().split()[1])


def _cpu() -> str:
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
