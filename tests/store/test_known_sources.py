"""The list of known sources is a hint: imports go on without a damaged one, and begin it anew."""

import os
from pathlib import Path

import pytest
from deltalake.exceptions import CommitFailedError

from dicomferry.sources.source import Source
from dicomferry.storage.local import LocalStorage
from dicomferry.store import sources_table
from dicomferry.store.deletion import delete_store
from dicomferry.store.delta_tables import open_table
from dicomferry.store.known_sources import KnownSources, known_sources
from dicomferry.store.sources_table import (
    commit_sources,
    create_known_sources,
    remember_sources,
    sources_folder,
    write_sources,
)
from tests.pipelines.jobs import STORE, new_store

ROWS = [(f"/in/{number}.dcm", number, "1", "imported") for number in range(3)]
SOURCES = [Source(*row[:3]) for row in ROWS]


@pytest.fixture
def data(root):
    """The data folder of a store that knows two sources, by two commits."""
    data = new_store(root).data
    for row in ROWS[:2]:
        remember_sources(data, [row])
    assert known_sources(data, SOURCES) == set(SOURCES[:2])
    return data


def files(data, pattern):
    return sorted(Path(data.uri("sources")).rglob(pattern))


DAMAGES = {
    "the last entry is zeros": lambda data: files(data, "*2.json")[0].write_bytes(bytes(900)),
    "the first entry is gone": lambda data: files(data, "*0.json")[0].unlink(),
    "a file is empty": lambda data: files(data, "*.parquet")[0].write_bytes(b""),
    "a file is cut": lambda data: os.truncate(files(data, "*.parquet")[0], 700),
    "a file is gone": lambda data: files(data, "*.parquet")[0].unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_list_is_warned_of_and_begun_anew(data, damage, caplog):
    damage(data)
    assert known_sources(data, SOURCES) == set()
    assert "they are read again, and nothing is imported twice" in caplog.text
    remember_sources(data, ROWS)
    assert known_sources(data, SOURCES) == set(SOURCES)


@pytest.mark.parametrize("damage", [DAMAGES["the last entry is zeros"]])
def test_a_list_that_is_damaged_before_it_is_written_is_begun_anew_too(data, damage):
    damage(data)
    remember_sources(data, ROWS)
    assert known_sources(data, SOURCES) == set(SOURCES)


def test_nothing_is_begun_in_a_store_that_was_deleted(root, data):
    delete_store(root, STORE)
    assert known_sources(data, SOURCES) == set()
    remember_sources(data, ROWS)
    assert not Path(data.uri("sources")).exists()


def test_a_lookup_goes_on_where_files_were_replaced_meanwhile(data, caplog):
    known = KnownSources(data)
    data.subfolder("sources").remove_all()
    create_known_sources(data)
    remember_sources(data, ROWS)
    assert known.among(SOURCES) == [True, True, True]
    assert not caplog.text


def test_who_loses_a_race_for_the_list_of_a_bucket_runs_again(data, monkeypatch, caplog):
    networked = LocalStorage.capabilities._replace(is_networked=True)
    monkeypatch.setattr(LocalStorage, "capabilities", networked)
    committing, faster = sources_table.committing, [None]

    def overtaken(folder, table):
        if faster:
            faster.pop()
            raise CommitFailedError("another writer was faster")
        return committing(folder, table)

    monkeypatch.setattr(sources_table, "committing", overtaken)
    remember_sources(data, ROWS[2:])
    assert known_sources(data, SOURCES) == set(SOURCES)
    assert not caplog.text


def test_files_that_are_committed_again_are_there_once(data):
    written = [write_sources(data, ROWS), write_sources(data, ROWS[2:])]
    for _ in range(2):
        commit_sources(data, written)
    assert len(files(data, "*.parquet")) == 4
    assert len(open_table(sources_folder(data)).file_uris()) == 4
    assert known_sources(data, SOURCES) == set(SOURCES)


def test_exactly_those_that_were_remembered_are_known_in_whatever_file_they_are(root, monkeypatch):
    monkeypatch.setattr(sources_table, "_GROUP_ROWS", 2)
    data = new_store(root).data
    names = ["/a", "/a/b", "/b", "/é\0", "/\U0010ffff", *(f"/n/{n}" for n in range(20))]
    sources = [Source(name, size, v) for name in names for size in (1, 12) for v in ("1", "21")]
    remembered = sources[::3]
    for part in (remembered[::2], remembered[1::2]):
        remember_sources(data, [(*source[:3], "imported") for source in part])
    for listing in (sources, sources[::-1], sources[5:9], [sources[0], sources[-1]]):
        assert known_sources(data, listing) == set(listing) & set(remembered)
