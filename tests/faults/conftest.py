"""Fixtures of the faults; how much is broken is chosen by the environment, what exactly by a seed.

DICOMFERRY_FAULT_RUNS   moments, seeds and rounds of each kind (default 1; nightly 50)
DICOMFERRY_FAULT_SEED   the first seed; one is drawn and printed where it is not set
"""

import os
import random

import pytest

from tests.faults.faulty_storage import faulty_storage

RUNS = int(os.environ.get("DICOMFERRY_FAULT_RUNS", "1"))


def _first_seed():
    if given := os.environ.get("DICOMFERRY_FAULT_SEED"):
        return int(given)
    # Processes that share the tests of one run have to name them alike.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    return int(run, 16) % 10**6 if run else random.SystemRandom().randrange(10**6)


FIRST_SEED = _first_seed()


def pytest_generate_tests(metafunc):
    """Run a test that takes a `seed` once for each of them; its name tells which."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(FIRST_SEED, FIRST_SEED + RUNS))


@pytest.fixture(scope="session")
def proxy(gcs):
    """A proxy in front of the storage emulator."""
    with faulty_storage(gcs.url) as faults:
        yield faults


@pytest.fixture
def faults(proxy, monkeypatch):
    """The proxy, no faults yet, with all clients of this process led to it."""
    proxy.reset()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
    yield proxy
    proxy.reset()


@pytest.fixture
def bucket(gcs):
    """A new bucket, past the proxy."""
    return gcs.bucket(f"faults-{os.urandom(6).hex()}")
