"""What tests of jobs share."""

import pytest

from dicomferry.jobs import launch
from tests.pipelines.jobs import new_store


@pytest.fixture
def store(root):
    """An empty store under the root."""
    new_store(root)
    return root


@pytest.fixture
def slowed(monkeypatch):
    """Jobs take their time: see tests/pipelines/slow.py."""
    start = launch._start
    module = "tests.pipelines.slowed"
    monkeypatch.setattr(launch, "_start", lambda method, _, *rest: start(method, module, *rest))
