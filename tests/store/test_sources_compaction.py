"""Sorting the table of known sources changes nothing but the number of its files."""

from itertools import pairwise

import pyarrow as pa

from dicomferry.sources.source import Source
from dicomferry.store import sources_compaction
from dicomferry.store.delta_tables import open_table
from dicomferry.store.known_sources import KnownSources, known_sources
from dicomferry.store.sources_compaction import sort_sources
from dicomferry.store.sources_table import remember_sources, sources_folder
from tests.pipelines.jobs import new_store

SOURCES = [Source(f"/in/{n:03d}", n, "1") for n in range(60)]


def remember(data, sources):
    remember_sources(data, [(*source[:3], "imported") for source in sources])


def bounds(data):
    """First and last source of each file."""
    log = pa.table(open_table(sources_folder(data)).get_add_actions(flatten=True))
    names = ("min.SourceUri", "max.SourceUri")
    return sorted(zip(*(log[name].to_pylist() for name in names), strict=True))


def test_sources_of_many_jobs_lie_in_few_sorted_files(root, monkeypatch, caplog):
    monkeypatch.setattr(sources_compaction, "_FILE_ROWS", 25)
    monkeypatch.setattr(sources_compaction, "_BATCH_ROWS", 7)
    monkeypatch.setattr(sources_compaction, "FAN_IN", 4)
    data = new_store(root).data
    for first in range(6):
        remember(data, SOURCES[first:50:6])
    earlier = KnownSources(data)
    sort_sources(data)
    found = bounds(data)
    assert len(found) <= 3
    assert all(one[1] < other[0] for one, other in pairwise(found))
    expected = [number < 50 for number in range(60)]
    assert earlier.among(SOURCES) == KnownSources(data).among(SOURCES) == expected
    sort_sources(data)
    assert bounds(data) == found  # nothing is left to do
    remember(data, SOURCES[50:])
    assert known_sources(data, SOURCES) == set(SOURCES)
    assert not caplog.text


def test_a_table_without_rows_stays_so(root, caplog):
    data = new_store(root).data
    sort_sources(data)
    assert known_sources(data, SOURCES) == set()
    assert not caplog.text


def test_what_many_jobs_remembered_is_there_once(root):
    data = new_store(root).data
    for last in range(20, 60, 10):
        remember(data, SOURCES[:last])
    remember_sources(data, [(*SOURCES[0][:2], "2", "imported"), (*SOURCES[0][:3], "duplicate")])
    sort_sources(data)
    log = pa.table(open_table(sources_folder(data)).get_add_actions(flatten=True))
    assert sum(log["num_records"].to_pylist()) == 52
    assert known_sources(data, SOURCES) == set(SOURCES[:50])
