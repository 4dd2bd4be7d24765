"""Sources are read as they were listed, by ranges, whatever they are called."""

import gzip
import os
from pathlib import Path

import pytest

from dicomferry.errors import InstanceError
from dicomferry.sources.listing import list_sources
from dicomferry.sources.source import Source
from dicomferry.sources.source_file import open_source
from dicomferry.sources.uri import local_uri, parse_source
from tests.emulators.storage import StorageEmulator
from tests.sources.test_bucket import ODD_NAMES as ODD_OBJECTS
from tests.sources.test_bucket import filled
from tests.sources.test_local import ODD_NAMES as ODD_FILES
from tests.sources.test_local import as_nobody, fresh_folder


def only(uri: str) -> Source:
    (source,) = list_sources(parse_source(uri))
    return source


@pytest.fixture(params=["local", "bucket"])
def digits(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """A source with the content 0123456789, in a folder and in a bucket."""
    if request.param == "local":
        (tmp_path / "a").write_bytes(b"0123456789")
        return only(f"{tmp_path}/a")
    gcs: StorageEmulator = request.getfixturevalue("gcs")
    return only(f"gs://{filled(gcs, ['a'], b'0123456789')}/a")


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, 10, b"0123456789"),
        (3, 4, b"3456"),
        (8, 10, b"89"),
        (10, 1, b""),
        (99, 1, b""),
        (5, 0, b""),
        (0, 1 << 40, b"0123456789"),
    ],
)
def test_a_range_is_cut_at_the_end(
    digits: Source, offset: int, length: int, expected: bytes
) -> None:
    with open_source(digits) as file:
        assert file.size == 10
        assert file.read(offset, length) == expected


@pytest.mark.parametrize("name", ODD_FILES)
def test_files_with_odd_names_are_read(tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    with open(path, "wb") as file:
        file.write(name.encode("utf-8", "surrogateescape"))
    with open_source(only(f"{tmp_path}/*")) as read:
        assert read.read(0, 99) == os.fsencode(name)


def test_objects_with_odd_names_are_read_and_never_taken_for_another(
    gcs: StorageEmulator,
) -> None:
    # Names that a careless client makes the same.
    pairs = ["a", "a/", "/a", "//a", "a/b", "a//b", "a/./b", "a/../b", "a%2Fb", "b", "b%20c", "b c"]
    names = sorted({*ODD_OBJECTS, *pairs})
    bucket = filled(gcs, [])
    for name in names:
        gcs.bucket(bucket).blob(name).upload_from_string(f"this is {name}".encode())
    sources = list(list_sources(parse_source(f"gs://{bucket}/**")))
    assert len(sources) == len(names)
    for source in sources:
        with open_source(source) as file:
            expected = f"this is {source.uri.removeprefix(f'gs://{bucket}/')}".encode()
            assert file.read(0, file.size) == expected
            assert file.read(5, 3) == b"is "


@pytest.mark.parametrize("name", ["a", "dir//a"])
def test_an_object_that_is_marked_as_compressed_is_read_as_it_is_stored(
    gcs: StorageEmulator, name: str
) -> None:
    packed = gzip.compress(b"0123456789" * 100)
    bucket = filled(gcs, [])
    blob = gcs.bucket(bucket).blob(name)
    blob.content_encoding = "gzip"
    blob.upload_from_string(packed)
    with open_source(only(f"gs://{bucket}/{name}")) as file:
        assert file.size == len(packed)
        assert file.read(0, file.size) == packed
        assert file.read(4, 5) == packed[4:9]


@pytest.mark.parametrize("name", ["a", "dir//a"])
def test_an_object_that_was_replaced_since_it_was_listed_is_not_read(
    gcs: StorageEmulator, name: str
) -> None:
    bucket = filled(gcs, [name], b"old")
    source = only(f"gs://{bucket}/{name}")
    gcs.bucket(bucket).blob(name).upload_from_string(b"new")
    with pytest.raises(InstanceError, match="SOURCE_GONE"), open_source(source) as file:
        file.read(0, 3)


def test_a_file_that_was_replaced_since_it_was_listed_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    source = only(f"{tmp_path}/a")
    os.utime(tmp_path / "a", ns=(1, 1))
    with pytest.raises(InstanceError, match="SOURCE_CHANGED"), open_source(source):
        pytest.fail("was opened")


def test_a_file_that_changes_while_it_is_read_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    source = only(f"{tmp_path}/a")
    with pytest.raises(InstanceError, match="SOURCE_CHANGED"), open_source(source) as file:
        file.read(0, 1)
        with open(tmp_path / "a", "ab") as growing:
            growing.write(b"er")


def test_an_error_in_the_block_is_not_hidden_by_a_change(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    source = only(f"{tmp_path}/a")
    with pytest.raises(ZeroDivisionError), open_source(source):
        (tmp_path / "a").write_bytes(b"newer")
        raise ZeroDivisionError


def test_a_new_mode_is_no_change_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    source = only(f"{tmp_path}/a")
    (tmp_path / "a").chmod(0o600)
    with open_source(source) as file:
        assert file.read(0, 3) == b"old"


def test_a_file_that_is_gone_has_its_own_code(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    source = only(f"{tmp_path}/a")
    (tmp_path / "a").unlink()
    with pytest.raises(InstanceError, match="SOURCE_GONE"), open_source(source):
        pytest.fail("was opened")


def test_a_file_that_became_a_pipe_does_not_block(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    source = only(f"{tmp_path}/a")
    (tmp_path / "a").unlink()
    os.mkfifo(tmp_path / "a")
    with pytest.raises(InstanceError, match="SOURCE_CHANGED"), open_source(source):
        pytest.fail("was opened")


def test_a_file_that_may_not_be_read_has_its_own_code() -> None:
    with fresh_folder() as root:
        path = f"{root}/a"
        with open(path, "wb"):
            pass
        os.chmod(path, 0)
        source = only(path)
        assert source.code == ""
        with as_nobody(), pytest.raises(InstanceError, match="UNREADABLE"), open_source(source):
            pytest.fail("was opened")


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    source = only(f"{tmp_path}/a")
    stale = Source(local_uri(f"{tmp_path}/a"), 99, source.version)
    before = len(os.listdir("/proc/self/fd"))
    with open_source(source) as file:
        file.read(0, 1)
    with pytest.raises(InstanceError), open_source(stale):
        pytest.fail("was opened")
    assert len(os.listdir("/proc/self/fd")) == before
