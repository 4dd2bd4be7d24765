"""Optimizing keeps what streams and topics that lag have not passed, for weeks."""

import os
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from dicomferry.store import index
from dicomferry.store.index import Index
from dicomferry.store.index_files import appended_files, index_folder, log_path
from dicomferry.store.maintenance import optimize
from dicomferry.store.stream_log import StreamLog
from dicomferry.transforms.commit_instances import commit
from tests.pipelines.jobs import new_store
from tests.transforms.test_commit_instances import instance

WEEKS = 40 * 86_400


@pytest.fixture
def store(root, monkeypatch):
    """A store of three commits, made and then sorted forty days ago."""
    store = new_store(root)
    Index(store.data)._table.alter.set_table_properties({"delta.checkpointInterval": "2"})
    StreamLog(store.data, "lagging").start(Index(store.data).version)
    for number in range(3):
        commit(store.data, [instance(number)], "op")
    past = SimpleNamespace(time=lambda: time.time() - WEEKS)
    monkeypatch.setattr(index, "time", past)
    with monkeypatch.context() as patch:
        patch.setattr(Index, "vacuum", lambda *_: None)
        optimize(store)
    for path in Path(index_folder(store.data).root).rglob("*.*"):
        os.utime(path, (time.time() - WEEKS,) * 2)
    return store


def appended(store, after=1, until=4):
    return appended_files(store.data, after, until)


def log_entries(store):
    folder = index_folder(store.data)
    return [n for n in range(Index(store.data).version + 1) if folder.head(log_path(n))]


def test_what_a_follower_has_not_passed_is_kept_with_its_log(store):
    before = appended(store)
    assert len(before.files) == 3
    Index(store.data)._table.create_checkpoint()
    optimize(store, ["lagging"])
    assert appended(store) == before
    assert set(log_entries(store)) >= {2, 3, 4}


def test_what_it_has_passed_goes_and_the_rest_stays(store):
    log = StreamLog(store.data, "lagging")
    log.mark_done(log.plan(log.state(), 3))
    optimize(store, ["lagging"])
    assert len(appended(store, 3).files) == 1
    assert appended(store) == ([*appended(store, 3).files], [2, 3]), "version by version"


@pytest.mark.parametrize("followers", [[], ["never-begun"]])
def test_what_nobody_needs_goes(store, followers):
    Index(store.data)._table.create_checkpoint()
    optimize(store, followers)
    assert appended(store) == ([], [2, 3, 4])
    assert 2 not in log_entries(store)


def test_without_names_all_that_follow_count(store):
    optimize(store)
    assert len(appended(store).files) == 3


@pytest.mark.parametrize("is_local", [True, False])
def test_commits_do_not_delete_the_log(store, monkeypatch, is_local):
    if not is_local:  # then deltalake writes to the table itself
        monkeypatch.setattr(index, "committing", lambda _, table, **__: nullcontext(table))
    # Whenever it makes a checkpoint, delta-rs looks for entries that are old.
    for number in range(3, 7):
        commit(store.data, [instance(number)], "op")
    assert Path(index_folder(store.data).root, "_delta_log", "_last_checkpoint").exists()
    assert set(log_entries(store)) >= {2, 3, 4}
