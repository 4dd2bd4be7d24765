"""Counts of stores on pages: an index is counted when it has changed, not when a page reloads."""

import zstandard

from dicomferry.console import metrics_cache
from dicomferry.console.metrics_cache import MetricsCache
from dicomferry.store import maintenance
from dicomferry.transforms.commit_instances import commit
from tests.factories import make_instance
from tests.pipelines.jobs import new_store


def test_only_a_new_version_of_the_index_is_counted(root, monkeypatch):
    store = new_store(root)
    counted = []
    count = maintenance.metrics
    monkeypatch.setattr(maintenance, "metrics", lambda of: counted.append(of) or count(of))
    monkeypatch.setattr(metrics_cache, "_FRESH_SECONDS", 0.0)
    cache = MetricsCache()

    def instances():
        [metrics] = cache.get([store], 60.0).values()
        return metrics["instanceCount"]

    assert [instances() for _ in range(3)] == ["0"] * 3
    assert len(counted) == 1
    commit(store.data, [make_instance(metadata=zstandard.compress(b"{}"))], "operation")
    assert [instances() for _ in range(3)] == ["1"] * 3
    assert len(counted) == 2
