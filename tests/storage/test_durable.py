"""Many files are synced together, while they are written."""

import os
import threading

import pytest

from dicomferry.storage.registry import open_storage


def test_files_of_a_batch_are_synced_while_others_are_written(tmp_path, monkeypatch):
    synced = threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: synced.set())
    with open_storage(str(tmp_path)).batch() as batched:
        batched.write("a", b"a")
        assert synced.wait(10)
        batched.write("b", b"b")
    assert (tmp_path / "b").read_bytes() == b"b"


def test_a_batch_fails_with_a_file_that_cannot_be_synced(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(5, "the disk is gone")

    monkeypatch.setattr(os, "fdatasync", fail)
    batch = open_storage(str(tmp_path)).batch()
    with pytest.raises(OSError, match="the disk is gone"), batch as batched:
        batched.write("a", b"a")


def test_the_folders_of_a_batch_are_synced_after_all_of_its_bytes(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: order.append("bytes"))
    monkeypatch.setattr(os, "fsync", lambda descriptor: order.append("folder"))
    with open_storage(str(tmp_path)).batch() as batched:
        for name in ("x/a", "x/b", "y/c"):
            batched.write(name, b"a")
        assert "folder" not in order
    assert order[:3] == ["bytes"] * 3
    assert order.count("folder") >= 3
