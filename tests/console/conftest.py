"""A console without login, and a store to look at."""

import pytest

from dicomferry.api.access import NoLogin
from dicomferry.console import downloads
from dicomferry.console.queries import slow
from tests.console.chromium import PROGRAM, chromium
from tests.console.consoles import run_trial, serving


@pytest.fixture(autouse=True)
def _queries_run_here(monkeypatch):
    """Starting a process takes longer than the queries; test_walk.py tests one of their own."""
    pool = slow.WorkerPool
    monkeypatch.setattr(slow, "WorkerPool", lambda _: pool(0))
    monkeypatch.setattr(downloads, "WorkerPool", lambda _: pool(0))


@pytest.fixture
def browser(root):
    """A browser on a console without login."""
    with serving(root, NoLogin()) as browser:
        yield browser


@pytest.fixture
def trial(root, tmp_path):
    """A store with three images, after an import in which two files failed."""
    return run_trial(root, tmp_path / "in")


@pytest.fixture(scope="session")
def tab(tmp_path_factory):
    """A tab of a real browser."""
    if PROGRAM is None:
        pytest.skip("chromium is not installed")
    with chromium(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab
