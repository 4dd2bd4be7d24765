"""Beam's Prism, as `make engines` builds it from its sources, in place of a download."""

import atexit
import threading
from pathlib import Path

import pytest
from apache_beam.runners.portability import job_server, prism_runner

REPOSITORY = Path(__file__).parents[2]
BINARY = REPOSITORY / "build" / "engines" / "prism"


def needs_prism():
    """Skip a test where Prism was not built."""
    if not BINARY.exists():
        pytest.skip(f"no {BINARY}: `make engines` builds it, with Go")


class PrismJobServer(prism_runner.PrismJobServer):
    def _get_executable_path(self):
        return str(BINARY)


class SharedJobServer(job_server.StopOnExitJobServer):
    """Starts in any thread: Beam's sets a handler of SIGINT, as only the main thread may."""

    def start(self):
        with self._lock:
            if not self._started:
                self._endpoint = self._job_server.start()
                self._started = True
                atexit.register(self.stop)
        return self._endpoint


_SERVERS: dict[type, job_server.JobServer] = {}
_LOCK = threading.Lock()


def stop_prism():
    """End what `PrismRunner` started: a process of pytest-xdist exits without doing so."""
    while _SERVERS:
        _SERVERS.popitem()[1].stop()


class PrismRunner(prism_runner.PrismRunner):
    """Beam's PrismRunner, with one Prism for all jobs of this process.

    Prism plans, shuffles and keeps state in a process of its own; the steps run in this one.
    """

    def default_job_server(self, options):
        kind = type(options)
        with _LOCK:
            if kind not in _SERVERS:
                _SERVERS[kind] = SharedJobServer(PrismJobServer(kind(["--prism_log_level=warn"])))
            return _SERVERS[kind]
