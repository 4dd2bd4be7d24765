"""Install the clients of other runtimes into .clients/: `python -m tests.clients.install`.

What cannot be downloaded, or has no tools on this machine, is left out with a line that says so:
its tests are skipped. A program that does not compile is an error.
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.clients.runtimes import AXE, RUNTIMES, Runtime

_SECONDS = {"fetch": 120, "build": 600}


def main() -> int:
    """Install all at once and return the exit code."""
    with ThreadPoolExecutor() as pool:
        broken = list(pool.map(_install, (*RUNTIMES, AXE)))
    return int(any(broken))


def _install(runtime: Runtime) -> bool:
    """Install a runtime's client; True if its program does not compile."""
    if runtime.is_ready:
        return False
    if runtime.missing:
        print(f"{runtime.name}: left out, since {', '.join(runtime.missing)} is not installed")
        return False
    shutil.rmtree(runtime.installed, ignore_errors=True)
    runtime.installed.mkdir(parents=True)
    for manifest in runtime.source.glob("*.json"):  # npm installs beside them
        shutil.copy(manifest, runtime.installed)
    if failure := _failure(runtime, "fetch"):
        print(f"{runtime.name}: left out, since its libraries cannot be downloaded: {failure}")
        return False
    if runtime.build and (failure := _failure(runtime, "build")):
        print(f"{runtime.name}: does not compile: {failure}")
        return True
    (runtime.installed / "stamp").write_text(runtime.stamp)
    print(f"{runtime.name}: installed")
    return False


def _failure(runtime: Runtime, step: str) -> str:
    """Run a command of a runtime; return what it says if it fails, else nothing."""
    command: tuple[str, ...] = getattr(runtime, step)
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=runtime.source,
            env={**os.environ, **runtime.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS[step],
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} took longer than {_SECONDS[step]} s"
    said = (done.stderr + done.stdout).strip()[-2000:]
    return (said or f"exit code {done.returncode}") if done.returncode else ""


if __name__ == "__main__":
    sys.exit(main())
