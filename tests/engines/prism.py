"""Beam's Prism, as `make engines` builds it from its sources, in place of a download."""

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


_SERVERS: dict[type, job_server.JobServer] = {}


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
        if kind not in _SERVERS:
            server = PrismJobServer(kind(["--prism_log_level=warn"]))
            _SERVERS[kind] = job_server.StopOnExitJobServer(server)
        return _SERVERS[kind]
