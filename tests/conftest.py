"""Fixtures that many tests use."""

import pytest

from dicomferry.storage.registry import open_storage

pytest_plugins = ["tests.emulators.fixtures"]


@pytest.fixture
def root(tmp_path):
    """Where stores live: an empty local folder."""
    return open_storage(str(tmp_path / "root"))
