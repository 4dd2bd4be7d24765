"""python -m benchmarks.bench_start: the CPU time of help, completion, and an import of one file.

User and system time of the process and its children, medians of `--rounds`; other work on the
machine changes it little.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pydicom.data

_PROGRAM = str(Path(sys.executable).with_name("dicomferry"))
_FILE = Path(pydicom.data.__file__).parent / "test_files" / "CT_small.dcm"


def _cpu_seconds(command: Sequence[str], **variables: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, **variables}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _import() -> float:
    folder = tempfile.mkdtemp()
    try:
        root = f"--root={folder}"
        subprocess.run([_PROGRAM, "stores", "create", "s", root], check=True, capture_output=True)
        return _cpu_seconds([_PROGRAM, "import", "s", str(_FILE), root])
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Print the three medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    completion = {
        "_DICOMFERRY_COMPLETE": "complete_bash",
        "COMP_WORDS": "dicomferry st",
        "COMP_CWORD": "1",
    }
    measures: list[tuple[str, float, Callable[[], float]]] = [
        ("dicomferry --help", 0.3, lambda: _cpu_seconds([_PROGRAM, "--help"])),
        ("completion of a command", 0.2, lambda: _cpu_seconds([_PROGRAM], **completion)),
        ("import of one file", 2.0, _import),
    ]
    for what, target, measure in measures:
        seconds = statistics.median(measure() for _ in range(rounds))
        print(f"{what}: {seconds:.2f} s of CPU (target {target})")


if __name__ == "__main__":
    main()
