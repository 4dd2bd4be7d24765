"""Coverage-guided fuzzing of `tests.faults.targets`, by atheris.

    make fuzz                                           # every target, some minutes in all
    python -m tests.faults.fuzz TARGET --runs 1000000   # one of them, until then or a find

A find is written to .fuzz/TARGET/; once it is fixed it belongs, made small, into
tests/faults/finds/TARGET/, from which `make test` tries it again. Only bytes that were made here
may go there, never a part of a real file.
"""

import argparse
import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
WORK = REPOSITORY / ".fuzz"
# What is looked at for coverage: our own code.
_PACKAGES = ["dicomferry"]
_MAX_INPUT_BYTES = 1 << 16
_SECONDS_AN_INPUT = 20
_MEMORY_MIB = 2048


def fuzz(name: str, runs: int, seconds: int) -> None:
    """Fuzz one target in this process, which ends with it."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=_PACKAGES):
        targets = importlib.import_module("tests.faults.targets")
    target = targets.TARGETS[name]()
    corpus, found = WORK / "corpus" / name, WORK / name
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number:03d}").write_bytes(seed)
    for path in targets.finds(name):
        (corpus / path.name).write_bytes(path.read_bytes())
    options = [
        f"-artifact_prefix={found}/",
        f"-max_len={_MAX_INPUT_BYTES}",
        f"-timeout={_SECONDS_AN_INPUT}",
        f"-rss_limit_mb={_MEMORY_MIB}",
        "-print_final_stats=1",
    ]
    options += [f"-runs={runs}"] * (runs > 0) + [f"-max_total_time={seconds}"] * (seconds > 0)
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.run)
    atheris.Fuzz()


def fuzz_all(names: list[str], runs: int, seconds: int) -> int:
    """Fuzz targets one after the other, each in a process; how many had a find."""
    failed = 0
    for name in names:
        command = [sys.executable, "-m", __spec__.name, name]
        started = time.monotonic()
        done = subprocess.run(
            [*command, f"--runs={runs}", f"--seconds={seconds}"],
            check=False,
            cwd=REPOSITORY,
            # The RLE decoder panics at what is too long; backtraces of that take all the time.
            env=os.environ | {"RUST_BACKTRACE": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        executed = done.stdout.rpartition("stat::number_of_executed_units:")[2].split()[:1]
        took = time.monotonic() - started
        print(f"{name}: {executed} inputs in {took:.0f} s, exit code {done.returncode}", flush=True)
        if done.returncode:
            failed += 1
            print(done.stdout[-4000:], flush=True)
    return failed


def main() -> int:
    """Fuzz what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz")
    parser.add_argument("target", nargs="?", default="")
    parser.add_argument("--runs", type=int, default=0, help="inputs a target; 0: as many as fit")
    parser.add_argument("--seconds", type=int, default=60, help="a target; 0: no bound")
    options = parser.parse_args()
    if options.target:
        fuzz(options.target, options.runs, options.seconds)
        return 0
    from tests.faults.targets import TARGETS

    os.makedirs(WORK, exist_ok=True)
    return 1 if fuzz_all(list(TARGETS), options.runs, options.seconds) else 0


if __name__ == "__main__":
    sys.exit(main())
