"""Fixtures that many tests use."""

import pytest

from dicomferry.storage.storage import Storage

pytest_plugins = ["tests.emulators.fixtures"]


@pytest.fixture
def root(tmp_path):
    """Where stores live: an empty local folder."""
    return Storage(str(tmp_path / "root"))
