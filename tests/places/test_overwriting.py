"""Which files an export may replace."""

import os

import pytest
from google.rpc.code_pb2 import FAILED_PRECONDITION

from dicomferry.places import overwriting
from dicomferry.places.overwriting import Overwrite, PlaceTakenError
from dicomferry.resource_names import parse_store
from dicomferry.sources.listing import list_sources
from dicomferry.sources.source import EXPORT_MARKER
from dicomferry.sources.uri import parse_source
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store
from tests.pipelines.jobs import images, new_store, run_export, run_import, tree, write_files

OURS, OTHERS = parse_store("ours"), parse_store("others")
DATA = {OURS: open_storage("/stores/ours/data/0a"), OTHERS: open_storage("/stores/others/data/0b")}
OWN, NEVER, ANY = Overwrite.OWN, Overwrite.NEVER, Overwrite.ANY


@pytest.fixture(params=["local", "bucket"])
def folder(request, tmp_path):
    """A folder that nothing is in."""
    if request.param == "local":
        return open_storage(str(tmp_path / "exports/out"))
    gcs = request.getfixturevalue("gcs")
    return open_storage(f"gs://{gcs.bucket(f'taken-{os.urandom(6).hex()}').name}/exports/out")


def claim_folder(folder, store, overwrite, data=None):
    overwriting.claim_folder(folder, store, data or DATA[store], overwrite)


def is_taken(folder, store, overwrite, data=None):
    """Whether a claim is refused; the message says what to do."""
    try:
        claim_folder(folder, store, overwrite, data)
    except PlaceTakenError as error:
        assert "--overwrite any" in str(error)
        assert OTHERS.id not in str(error)
        return True
    return False


def names(folder):
    return sorted(entry.path for entry in folder.list())


def test_a_folder_is_of_the_store_that_came_first(folder):
    for overwrite in (OWN, OWN, NEVER):
        assert not is_taken(folder, OURS, overwrite)
    assert folder.read(EXPORT_MARKER) == f"{OURS}\n0a".encode()
    folder.write("1.2/1.3/1.4.dcm", b"ours")
    assert not is_taken(folder, OURS, OWN)
    assert is_taken(folder, OTHERS, OWN)
    assert is_taken(folder, OTHERS, NEVER)
    assert folder.read(EXPORT_MARKER) == f"{OURS}\n0a".encode()


def test_all_below_a_folder_is_of_its_store(folder):
    claim_folder(folder, OTHERS, OWN)
    deeper = folder.subfolder("a/b")
    assert is_taken(deeper, OURS, OWN)
    assert names(deeper) == []
    assert not is_taken(deeper, OTHERS, OWN)
    beside = open_storage(f"{folder.root}2")
    assert not is_taken(beside, OURS, OWN)


def test_files_without_a_marker_may_be_anybodys(folder):
    folder.write("1.2/1.3/1.4.dcm", b"whose?")
    assert is_taken(folder, OURS, OWN)
    assert is_taken(folder, OURS, NEVER)
    assert not is_taken(folder, OURS, ANY)
    assert names(folder) == ["1.2/1.3/1.4.dcm"]


def test_never_takes_a_folder_without_files_only(folder):
    assert not is_taken(folder, OURS, NEVER)
    folder.write("1.2/1.3/1.4.dcm", b"ours")
    assert is_taken(folder, OURS, NEVER)


def test_a_large_marker_is_not_ours(folder):
    folder.write(EXPORT_MARKER, str(OURS).encode() + bytes(5000))
    assert is_taken(folder, OURS, OWN)


def test_of_two_that_come_at_once_one_is_refused(folder, monkeypatch):
    create = type(folder).create

    def create_late(self, path, data):
        monkeypatch.undo()
        claim_folder(self, OTHERS, OWN)
        return create(self, path, data)

    monkeypatch.setattr(type(folder), "create", create_late)
    assert is_taken(folder, OURS, OWN)
    assert folder.read(EXPORT_MARKER) == f"{OTHERS}\n0b".encode()


def test_a_store_of_the_same_name_is_another_one(folder):
    claim_folder(folder, OURS, OWN)
    folder.write("1.2/1.3/1.4.dcm", b"ours")
    created_again = open_storage("/stores/ours/data/0c")
    assert is_taken(folder, OURS, OWN, created_again)
    assert is_taken(folder.subfolder("a"), OURS, OWN, created_again)
    moved = open_storage("gs://stores/ours/data/0a")
    assert not is_taken(folder, OURS, OWN, moved)


def test_a_marker_of_a_name_alone_is_of_every_store_of_the_name(folder):
    folder.write(EXPORT_MARKER, str(OURS).encode())
    folder.write("1.2/1.3/1.4.dcm", b"ours")
    assert not is_taken(folder, OURS, OWN)
    assert is_taken(folder, OTHERS, OWN)


def link(path):
    path.symlink_to(path.parent / "nowhere")


@pytest.mark.parametrize("make", [link, os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_no_marker(make, tmp_path):
    make(tmp_path / EXPORT_MARKER)
    folder = open_storage(str(tmp_path))
    for overwrite in (OWN, NEVER):
        with pytest.raises(PlaceTakenError, match="not a regular file: delete it, or choose"):
            claim_folder(folder, OURS, overwrite)
    assert not is_taken(folder, OURS, ANY)
    assert os.listdir(tmp_path) == [EXPORT_MARKER]


def test_a_link_is_the_folder_that_it_leads_to(tmp_path):
    (tmp_path / "theirs/out").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "theirs/out")
    claim_folder(open_storage(str(tmp_path / "theirs")), OTHERS, OWN)
    assert is_taken(open_storage(str(tmp_path / "link")), OURS, OWN)


def test_a_marker_is_no_source(folder):
    claim_folder(folder, OURS, OWN)
    folder.write("1.2/1.3/1.4.dcm", b"ours")
    found = [source.uri for source in list_sources(parse_source(f"{folder.root}/**"))]
    assert [uri.rpartition("/")[2] for uri in found] == ["1.4.dcm"]


def test_an_export_replaces_nothing_of_another_store(root, tmp_path):
    new_store(root)
    create_store(root, OTHERS)
    run_import(root, write_files(tmp_path / "in", images(1)))
    out = tmp_path / "out"
    claim_folder(open_storage(str(out)), OTHERS, OWN)
    (out / "1.2.1/1.2.1.1").mkdir(parents=True)
    (out / "1.2.1/1.2.1.1/1.2.1.1.1.dcm").write_text("theirs")
    before = tree(out)
    job = run_export(root, out, "--overwrite=own")
    assert job.operation["error"]["code"] == FAILED_PRECONDITION
    assert tree(out) == before
