"""What leaves a store is what came in, or it does not leave."""

import os

import google_crc32c
import pytest
from google.api_core.exceptions import NotFound

import dicomferry.store.blobs
from dicomferry.errors import InstanceError
from dicomferry.resource_names import INDEX_FOLDER
from dicomferry.storage.registry import open_storage
from dicomferry.store.blobs import (
    StoredBlob,
    copy_blob,
    copy_into_blob,
    large_blob,
    read_blob,
    write_blob,
)

CONTENT = b"0123456789" * 200_000


@pytest.fixture(params=["local", "gs"])
def data(request, tmp_path):
    """A data folder whose store is there."""
    data = new_storage(request, request.param, "data")
    data.write(f"{INDEX_FOLDER}/row", b"")
    return data


@pytest.fixture(params=["to-local", "to-gs"])
def destination(request, tmp_path):
    """Another storage, with a file of an earlier export."""
    destination = new_storage(request, request.param.removeprefix("to-"), "out")
    destination.write("deep/to", b"old")
    return destination


def new_storage(request, kind, name):
    if kind == "local":
        return open_storage(str(request.getfixturevalue("tmp_path") / name))
    bucket = request.getfixturevalue("gcs").bucket(f"blobs-{os.urandom(6).hex()}")
    return open_storage(f"gs://{bucket.name}")


def stored(data, content=CONTENT, right=CONTENT):
    """A blob of which a row says what it was when it was imported."""
    data.write("blob", content)
    return StoredBlob(data, "blob", len(right), google_crc32c.value(right))


@pytest.fixture(params=["whole", "by ranges"])
def way(request, monkeypatch):
    """Small blobs are read whole, large ones by ranges."""
    if request.param == "by ranges":
        monkeypatch.setattr(dicomferry.store.blobs, "_WHOLE_BYTES", 1)


DAMAGE = {
    "a bit": CONTENT[:-5] + bytes([CONTENT[-5] ^ 4]) + CONTENT[-4:],
    "its end": CONTENT[:-1],
    "all": b"",
    "what is more": CONTENT + b"0",
}


def test_copies_go_between_any_two_storages(data, destination):
    copy_blob(stored(data), destination, "deep/to")
    assert destination.read("deep/to") == CONTENT


@pytest.mark.parametrize("damaged", DAMAGE.values(), ids=DAMAGE)
def test_what_is_damaged_is_not_copied(data, destination, damaged):
    with pytest.raises(InstanceError, match="BLOB_CORRUPT"):
        copy_blob(stored(data, damaged), destination, "deep/to")
    left = [destination.read(entry.path) for entry in destination.list()]
    # What the bucket copies by itself is told afterwards.
    assert left == ([] if destination.copier(data.uri()) else [b"old"])


def test_what_is_right_is_read(data, way):
    with read_blob(stored(data)) as file:
        assert file.size == len(CONTENT)
        assert file.read(3, 4) == b"3456"
        assert file.read(file.size - 2, 10) == b"89"


@pytest.mark.parametrize("damaged", [DAMAGE["a bit"], DAMAGE["its end"]], ids=["a bit", "its end"])
def test_what_is_damaged_is_not_opened(data, way, damaged, monkeypatch):
    monkeypatch.setattr("dicomferry.storage.retries._MAX_ATTEMPTS", 2)
    with pytest.raises(InstanceError, match="BLOB_CORRUPT"), read_blob(stored(data, damaged)):
        pytest.fail("was opened")


def test_a_blob_that_is_gone_is_told_from_a_store_that_is(data, destination, way):
    blob = stored(data)
    data.delete(["blob"])
    with pytest.raises(InstanceError, match="BLOB_MISSING"):
        copy_blob(blob, destination, "deep/to")
    with pytest.raises(InstanceError, match="BLOB_MISSING"), read_blob(blob):
        pass
    data.remove_all()
    with pytest.raises(FileNotFoundError):
        copy_blob(blob, destination, "deep/to")
    with pytest.raises(FileNotFoundError), read_blob(blob):
        pass
    assert destination.read("deep/to") == b"old"


def test_a_bucket_to_write_to_that_is_gone_is_no_fault_of_the_blob(gcs):
    data = open_storage(f"gs://{gcs.bucket(f'blobs-{os.urandom(6).hex()}').name}")
    data.write(f"{INDEX_FOLDER}/row", b"")
    with pytest.raises(NotFound):
        copy_blob(stored(data), open_storage("gs://there-is-none"), "to")


def write_large_blob(data, path, content, crc32c):
    with large_blob(data) as (file, keep):
        file.write(content)
        keep(path, crc32c)


@pytest.mark.parametrize("damaged", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("write", [write_blob, write_large_blob])
def test_a_blob_that_is_found_with_other_bytes_is_written_again(data, write, damaged, monkeypatch):
    data.write("blob", damaged)
    crc32c = google_crc32c.value(CONTENT)
    write(data, "blob", CONTENT, crc32c)
    assert data.read("blob") == CONTENT
    with monkeypatch.context() as patch:  # a whole blob is not written twice
        patch.setattr(type(data), "write", None)
        write(data, "blob", CONTENT, crc32c)
    assert data.read("blob") == CONTENT
    assert list(data.list("incoming")) == []


def test_a_blob_that_the_bucket_finds_with_other_bytes_is_copied_again(request):
    data = new_storage(request, "gs", "data")
    data.write("source", CONTENT)
    data.write("blob", DAMAGE["a bit"])
    copy_into_blob(data, "blob", data.copier(data.uri("source")), len(CONTENT))
    assert data.read("blob") == CONTENT
