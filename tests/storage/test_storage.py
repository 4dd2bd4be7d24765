"""A root is a folder or a bucket, and what is written is written whole."""

import os
import pickle
import socket

import obstore
import pytest

import dicomferry.tables  # noqa: F401 (reserves the prefixes of tables)
from dicomferry.storage import gs_clients
from dicomferry.storage.errors import MissingBucketError, StorageError
from dicomferry.storage.failures import failure_text, storage_errors
from dicomferry.storage.registry import open_storage, refuse_missing_bucket
from tests.sources.test_local import as_nobody, fresh_folder


@pytest.fixture(params=["local", "gs"])
def storage(request, tmp_path):
    if request.param == "local":
        return open_storage(str(tmp_path / "root"))
    bucket = _bucket(request)
    return open_storage(f"gs://{bucket.name}/some/prefix")


def _bucket(request):
    return request.getfixturevalue("gcs").bucket(f"storage-{os.urandom(6).hex()}")


def test_only_a_bucket_that_is_known_to_be_missing_is_refused(gcs, tmp_path, monkeypatch):
    there = gcs.bucket(f"storage-{os.urandom(6).hex()}").name
    for uri in (str(tmp_path / "new"), f"gs://{there}", f"gs://{there}/a/**"):
        refuse_missing_bucket(uri)
    with pytest.raises(MissingBucketError, match="there is no bucket 'not-there'"):
        refuse_missing_bucket("gs://not-there/a*/b")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"127.0.0.1:{closed.getsockname()[1]}")
        refuse_missing_bucket("gs://not-there/a")


def test_what_failed_is_told_without_the_url_of_a_request(gcs):
    with pytest.raises(storage_errors()) as of_obstore:
        obstore.list(gs_clients.bucket_store("not-there")).collect()
    with pytest.raises(storage_errors()) as of_google:
        list(gs_clients.client().list_blobs("not-there"))
    for failure in (of_obstore, of_google):
        assert gcs.url in str(failure.value)
        text = failure_text(failure.value)
        assert "://" not in text
        assert "404" in text


def test_a_file_is_created_once(storage):
    assert storage.create("a/b.json", b"first")
    assert not storage.create("a/b.json", b"second")
    assert storage.read("a/b.json") == b"first"


def test_a_write_replaces(storage):
    storage.write("a", b"one")
    storage.write("a", iter([b"t", b"wo"]))
    assert storage.read("a") == b"two"
    assert storage.read_range("a", 1, 2) == b"wo"
    assert b"".join(storage.chunks("a")) == b"two"
    assert storage.head("a").size == 3


def test_a_write_whose_source_breaks_leaves_the_old_file(storage):
    storage.write("a", b"old")

    def broken():
        yield b"x" * 20_000_000
        raise OSError("gone")

    with pytest.raises(Exception, match="gone"):
        storage.write("a", broken())
    assert storage.read("a") == b"old"
    assert [entry.path for entry in storage.list()] == ["a"]


def test_what_is_not_there_is_said_so(storage):
    assert storage.head("nothing") is None
    assert list(storage.list("nothing")) == []
    assert list(storage.folders("nothing")) == []
    storage.delete(["nothing"])
    with pytest.raises(FileNotFoundError):
        storage.read("nothing")
    with pytest.raises(FileNotFoundError):
        list(storage.chunks("nothing"))


def test_folders_and_files_are_listed(storage):
    for path in ("x/one/a", "x/two/b", "x/c"):
        storage.write(path, b"")
    assert sorted(entry.path for entry in storage.list("x")) == ["x/c", "x/one/a", "x/two/b"]
    assert list(storage.folders("x")) == ["one", "two"]
    storage.subfolder("x/one").remove_all()
    assert sorted(entry.path for entry in storage.list()) == ["x/c", "x/two/b"]


def test_it_crosses_processes(storage):
    storage.write("a", b"1")
    again = pickle.loads(pickle.dumps(storage))
    assert again == storage
    assert again.read("a") == b"1"


def test_other_schemes_and_roots_that_cannot_be_written_are_refused(tmp_path):
    with pytest.raises(StorageError, match="s3://"):
        open_storage("s3://bucket")
    with pytest.raises(StorageError, match="names no bucket"):
        open_storage("gs://")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="--root"):
        open_storage(str(tmp_path / "file")).check_writable()


@pytest.mark.parametrize("root", ["duckdb:/x#t", "delta:/x", "gs:/bucket", "file:x", "bq:p.d.t"])
def test_what_looks_like_a_table_or_lacks_slashes_is_no_folder_of_that_name(root):
    with pytest.raises(StorageError, match="is not a folder"):
        open_storage(root)


def test_a_read_only_folder_is_refused():
    with fresh_folder() as folder:
        os.chmod(folder, 0o555)
        with as_nobody(), pytest.raises(StorageError, match="writable"):
            open_storage(f"{folder}/root").check_writable()
