"""The list of known sources is a hint: imports go on without a damaged one, and begin it anew."""

import os
from pathlib import Path

import pytest

from dicomferry.sources.source import Source
from dicomferry.store.deletion import delete_store
from dicomferry.store.known_sources import known_sources, remember_sources
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
