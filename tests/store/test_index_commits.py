"""Commits beside others: who gives way, who goes on, and what is told when the storage refuses."""

from types import SimpleNamespace

import pytest
from deltalake.exceptions import CommitFailedError, DeltaError

from dicomferry.storage import retries
from dicomferry.storage.capabilities import Capabilities
from dicomferry.storage.retries import repeat_until_committed
from dicomferry.store.commit_conflicts import CommitConflictError, reporting_conflicts
from dicomferry.store.compaction import sort_index
from dicomferry.store.index import Index
from dicomferry.transforms.commit_instances import commit
from tests.pipelines.jobs import new_store
from tests.transforms.test_commit_instances import instance, uids


class Bucket:
    root = "gs://bucket/stores"
    capabilities = Capabilities(
        is_shared=True, is_networked=True, concurrency=4, has_empty_folders=False
    )


@pytest.fixture
def data(root):
    """The data folder of a store of three commits."""
    data = new_store(root).data
    for number in range(3):
        commit(data, [instance(number)], "op")
    return data


def test_optimize_goes_on_beside_imports_that_always_commit_first(data, monkeypatch):
    _commit, overtakes = Index._commit, iter(range(100, 160))

    def overtaken(self, actions, transactions):
        is_import = bool(transactions)
        if not is_import and (number := next(overtakes, None)) is not None:
            commit(data, [instance(number)], "op")
        _commit(self, actions, transactions)

    monkeypatch.setattr(Index, "_commit", overtaken)
    monkeypatch.setattr(retries.time, "sleep", lambda _: None)
    sort_index(data)
    assert len(uids(data)) == len(set(uids(data))) == 63
    files = Index(data).files
    assert len([name for name in files if name.startswith("sorted-")]) == 1, "its work is kept"


def test_files_that_another_process_replaced_are_not_replaced_again(data):
    old = Index(data).files
    late = Index(data)
    sort_index(data)
    [new] = Index(data).files
    late._folder.write("sorted-other-00000.parquet", late._folder.read(new))
    assert not late.replace(old, ["sorted-other-00000.parquet"])
    assert len(uids(data)) == 3


@pytest.mark.parametrize(
    "text",
    [
        "Generic GCS error: Error performing PUT https://x in 1ms - Server returned non-2xx "
        "status code: 403 Forbidden: no",
        "Generic GCS error: ... status code: 401 Unauthorized: no",
        "The operation lacked the necessary privileges to complete for path x: ...",
    ],
)
def test_a_storage_that_refuses_is_told_as_such_and_at_once(text):
    calls = []

    def refused():
        calls.append(1)
        with reporting_conflicts(Bucket()):
            raise OSError(text)

    with pytest.raises(PermissionError, match="cannot be written with these credentials"):
        repeat_until_committed(refused, CommitConflictError, lambda: 0)
    assert len(calls) == 1


@pytest.mark.parametrize("failure", [OSError("reset"), DeltaError("no version 4")])
def test_a_storage_that_fails_is_not_told_as_lost_races(monkeypatch, failure):
    monkeypatch.setattr(retries.time, "sleep", lambda _: None)
    calls = []

    def failing():
        calls.append(1)
        with reporting_conflicts(Bucket()):
            raise failure

    with pytest.raises(type(failure), match=str(failure)):
        repeat_until_committed(failing, CommitConflictError, lambda: 0)
    assert len(calls) == 8


def test_an_outage_is_ridden_out_however_long_ago_another_one_was(monkeypatch):
    seconds = [0.0]
    clock = SimpleNamespace(monotonic=lambda: seconds[0], sleep=lambda _: None)
    monkeypatch.setattr(retries, "time", clock)
    calls = []

    def racing():
        calls.append(1)
        seconds[0] += 1
        if len(calls) == 600:
            return "committed"
        with reporting_conflicts(Bucket()):
            raise OSError("reset") if len(calls) % 50 == 0 else CommitFailedError("too late")

    assert repeat_until_committed(racing, CommitConflictError, lambda: len(calls)) == "committed"


@pytest.mark.parametrize("gone", ["files", "log"])
def test_a_version_that_is_no_longer_kept_is_refused_in_a_line(data, gone):
    sort_index(data)
    index = Index(data)
    old = set(Index(data, 2).files) - set(index.files)
    index._table.create_checkpoint()
    folder = index._folder
    folder.delete(old if gone == "files" else [f"_delta_log/{n:020}.json" for n in range(4)])
    with pytest.raises(LookupError, match="version 2 is no longer kept") as refused:
        Index(data, 2)
    assert "\n" not in str(refused.value)
