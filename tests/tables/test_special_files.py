"""Pipes where a table's files belong are refused: opening one would wait for ever."""

import os
import socket

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from dicomferry.tables.destination import WriteDisposition, parse_destination
from dicomferry.tables.errors import TableError
from tests.deadlines import within


def refused(uri):
    """What is said of a table that cannot be opened."""
    table = parse_destination(uri)
    with pytest.raises(TableError) as told:
        within(10, lambda: table.check(WriteDisposition.WRITE_APPEND))
    return str(told.value)


@pytest.mark.parametrize("name", ["x.duckdb", "x.duckdb.wal"])
def test_a_pipe_is_no_duckdb_file(tmp_path, name):
    if name.endswith(".wal"):
        (tmp_path / "x.duckdb").touch()
    os.mkfifo(tmp_path / name)
    assert f"{name} is not a regular file" in refused(f"duckdb:{tmp_path}/x.duckdb#t")


def test_a_socket_is_no_duckdb_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("x.duckdb")
        assert "x.duckdb is not a regular file" in refused(f"duckdb:{tmp_path}/x.duckdb#t")


@pytest.mark.parametrize("name", ["_last_checkpoint", "00000000000000000001.json"])
def test_a_pipe_is_no_file_of_a_delta_log(tmp_path, name):
    write_deltalake(tmp_path / "t", pa.table({"a": [1]}))
    os.mkfifo(tmp_path / "t" / "_delta_log" / name)
    assert f"{name} is not a regular file" in refused(f"delta:{tmp_path}/t")


def test_links_to_files_and_folders_beside_them_are_as_before(tmp_path):
    parse_destination(f"duckdb:{tmp_path}/x.duckdb#t").check(WriteDisposition.WRITE_APPEND)
    write_deltalake(tmp_path / "t", pa.table({"a": [1]}))
    log = tmp_path / "t" / "_delta_log"
    (log / "00000000000000000000.json").rename(tmp_path / "moved.json")
    (log / "00000000000000000000.json").symlink_to(tmp_path / "moved.json")
    (log / "_sidecars").mkdir()
    parse_destination(f"delta:{tmp_path}/t").check(WriteDisposition.WRITE_APPEND)
