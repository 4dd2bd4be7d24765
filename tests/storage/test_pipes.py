"""A pipe in the place of a file is no file, and is never waited for."""

import os

import pytest

from dicomferry.storage.registry import open_storage
from dicomferry.store.instance_filter import FilterError, check_filter_file, read_instance_filter

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def storage(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    return open_storage(str(tmp_path))


def test_a_pipe_has_no_head(storage):
    assert storage.head("pipe") is None


@pytest.mark.parametrize(
    "read",
    [
        lambda storage: storage.read("pipe"),
        lambda storage: list(storage.chunks("pipe")),
        lambda storage: storage.open("pipe", 10).__enter__(),
        lambda storage: storage.open_seekable("pipe"),
    ],
)
def test_a_pipe_cannot_be_read(storage, read):
    with pytest.raises(FileNotFoundError):
        read(storage)


@pytest.mark.parametrize("use", [check_filter_file, read_instance_filter])
def test_a_filter_is_a_regular_file_of_a_size_that_fits(storage, use, monkeypatch):
    root = storage.root
    for name in ("pipe", "missing", "no/folder/file", ""):
        with pytest.raises(FilterError, match="there is no filter file"):
            use(f"{root}/{name}")
    with open(f"{root}/sparse", "wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(FilterError, match="more than 256 MiB"):
        use(f"{root}/sparse")
    assert sorted(os.listdir(root)) == ["pipe", "sparse"]
