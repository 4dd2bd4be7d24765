"""Fixtures that many tests use, and which tests are slow."""

from pathlib import Path

import pytest

from dicomferry.storage.registry import open_storage

pytest_plugins = ["tests.emulators.fixtures"]

# Folders whose tests run whole jobs. Elsewhere a slow test is marked where it stands.
SLOW = {"airflow_e2e", "faults", "pipelines"}


def pytest_collection_modifyitems(items):
    """Mark what runs whole jobs, by its folder."""
    for item in items:
        if item.path.relative_to(Path(__file__).parent).parts[0] in SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def root(tmp_path):
    """Where stores live: an empty local folder."""
    return open_storage(str(tmp_path / "root"))


@pytest.fixture
def store(root):
    """The root, with an empty store in it."""
    from tests.pipelines.jobs import new_store

    new_store(root)
    return root


@pytest.fixture
def slowed(monkeypatch):
    """Jobs take their time: see tests/pipelines/slow.py."""
    from dicomferry.jobs import launch

    start = launch._start
    module = "tests.pipelines.slowed"
    monkeypatch.setattr(launch, "_start", lambda method, _, *rest: start(method, module, *rest))
