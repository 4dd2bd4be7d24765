"""What tests of jobs share."""

import pytest

from service import jobs
from tests.pipelines.jobs import new_store


@pytest.fixture
def store(root):
    """An empty store under the root."""
    new_store(root)
    return root


@pytest.fixture
def slowed(monkeypatch):
    """Jobs take their time: see tests/pipelines/slow.py."""
    start = jobs._start
    module = "tests.pipelines.slowed"
    monkeypatch.setattr(jobs, "_start", lambda method, _, *rest: start(method, module, *rest))
