"""Beam's Prism, as `make engines` builds it from its sources, in place of a download."""

import functools
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


@functools.cache
def _job_server(options_class, options):
    return job_server.StopOnExitJobServer(PrismJobServer(options_class(list(options))))


class PrismRunner(prism_runner.PrismRunner):
    """Beam's PrismRunner, with one Prism for all jobs of this process.

    Prism plans, shuffles and keeps state in a process of its own; the steps run in this one.
    """

    def default_job_server(self, options):
        return _job_server(type(options), ("--prism_log_level=warn",))
