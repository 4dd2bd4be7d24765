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
