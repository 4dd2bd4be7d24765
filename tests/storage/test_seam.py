"""A storage of one's own plugs in by one class and one call, and every job works on it."""

import tempfile
from typing import ClassVar

import pytest
from obstore.store import MemoryStore

from dicomferry.dicom.header import read_header
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.sources.listing import describe_sources, list_sources, no_match_message
from dicomferry.sources.source_file import open_source
from dicomferry.sources.uri import parse_source
from dicomferry.storage import registry
from dicomferry.storage.base import Storage
from dicomferry.storage.capabilities import Capabilities
from dicomferry.storage.errors import StorageError
from dicomferry.storage.local import LocalStorage
from dicomferry.store import maintenance, vacuum, verification
from dicomferry.store.deletion import delete_store
from dicomferry.store.dicom_store import get_store
from dicomferry.store.index import Index
from tests.factories import dicom_bytes
from tests.pipelines.jobs import STORE, new_store, run_export, run_import

DEFLATED = "1.2.840.10008.1.2.1.99"
AS_DEFLATED = f"--mime-type=application/dicom; transfer-syntax={DEFLATED}"


class MemoryStorage(Storage):
    """Objects in this process; tables are in a folder, for Delta cannot share obstore's memory."""

    capabilities = Capabilities(
        is_shared=False, is_networked=False, concurrency=1, has_empty_folders=False
    )
    buckets: ClassVar[dict[str, MemoryStore]] = {}
    tables = ""

    def _connect(self):
        return self.buckets.setdefault(self.bucket, MemoryStore())

    def delete_older(self, paths, cutoff):
        old = [path for path in paths if self.head(path).modified.timestamp() <= cutoff]
        self.delete(old)  # nothing comes between: all objects are in this process
        return old

    def for_delta(self):
        return LocalStorage(f"{self.tables}/{self.root.removeprefix('mem://')}")


@pytest.fixture(autouse=True)
def mem(monkeypatch):
    """The scheme mem://, as a package of one's own would register it."""
    monkeypatch.setattr(registry, "_STORAGES", dict(registry._STORAGES))
    monkeypatch.setattr(MemoryStorage, "buckets", {})
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(MemoryStorage, "tables", folder)
        registry.register("mem", MemoryStorage)
        yield


@pytest.fixture
def root():
    """Where stores are."""
    return registry.open_storage("mem://stores/root")


@pytest.fixture
def sources():
    """Two instances, a copy of the first, another instance under its UID, and a text."""
    sources = registry.open_storage("mem://archive")
    sources.write("in/a.dcm", dicom_bytes(SOPInstanceUID="1.1"))
    sources.write("in/deep/b.dcm", dicom_bytes(SOPInstanceUID="1.2"))
    sources.write("in/deep/copy.dcm", dicom_bytes(SOPInstanceUID="1.1"))
    sources.write("in/other.dcm", dicom_bytes(SOPInstanceUID="1.1", PatientID="another"))
    sources.write("in/text.dcm", b"not DICOM at all" * 20)
    sources.write("outside.dcm", dicom_bytes(SOPInstanceUID="1.3"))
    return sources


@pytest.fixture
def filled(root, sources):
    """The first import."""
    new_store(root)
    return run_import(root, "mem://archive/in/**.dcm")


def test_an_import_reads_it_and_writes_to_it(root, filled):
    assert filled.code == 1
    assert {source: line["outcome"] for source, line in filled.outcomes.items()} == {
        "mem://archive/in/a.dcm": "imported",
        "mem://archive/in/deep/b.dcm": "imported",
        "mem://archive/in/deep/copy.dcm": "duplicate",
        "mem://archive/in/other.dcm": "conflict",
        "mem://archive/in/text.dcm": "failed",
    }
    assert Index(get_store(root, STORE).data).count() == 2


def test_a_rerun_knows_what_was_imported(root, filled, sources):
    sources.write("in/new.dcm", dicom_bytes(SOPInstanceUID="1.4"))
    again = run_import(root, "mem://archive/in/**.dcm")
    assert again.of("a.dcm") == ("skipped", "ALREADY_IMPORTED")
    assert again.of("copy.dcm") == ("skipped", "ALREADY_IMPORTED")
    assert again.of("other.dcm") == ("conflict", "ALREADY_EXISTS")
    assert again.of("new.dcm") == ("imported", "")


def test_what_failed_is_retried(root, filled, sources):
    sources.write("in/text.dcm", dicom_bytes(SOPInstanceUID="1.5"))
    sources.delete(["in/other.dcm"])
    retried = run_import(root, "", f"--retry-failed={filled.folder.id}")
    assert retried.of("text.dcm") == ("imported", "")
    assert retried.of("other.dcm") == ("failed", "SOURCE_GONE")


def test_an_export_writes_to_it_as_uploaded_and_converted(root, filled, sources):
    del filled
    assert run_export(root, "mem://out/copies").code == 0
    assert run_export(root, "mem://out/deflated", AS_DEFLATED).code == 0
    copies, deflated = map(registry.open_storage, ("mem://out/copies", "mem://out/deflated"))
    paths = sorted(entry.path for entry in copies.list())
    assert [path.rpartition("/")[2] for path in paths] == ["1.1.dcm", "1.2.dcm"]
    assert copies.read(paths[0]) == sources.read("in/a.dcm")
    assert paths == sorted(entry.path for entry in deflated.list())
    header = read_header(BytesReader(deflated.read(paths[0])))
    assert header.transfer_syntax_uid == DEFLATED


def test_large_files_are_imported_and_exported_too(root, sources, monkeypatch):
    monkeypatch.setattr("dicomferry.transforms.ingest._WHOLE_FILE_BYTES", -1)
    monkeypatch.setattr("dicomferry.store.blobs._WHOLE_BYTES", 1)
    new_store(root)
    assert run_import(root, "mem://archive/in/a.dcm").code == 0
    assert run_export(root, "mem://out", AS_DEFLATED).code == 0
    [entry] = registry.open_storage("mem://out").list()
    assert entry.path.endswith("1.1.dcm")


def test_a_store_on_it_is_verified_vacuumed_optimized_and_deleted(root, filled, monkeypatch):
    del filled
    store = get_store(root, STORE)
    assert [finding.problem for finding in verification.verify(store)] == ["", ""]
    assert list(vacuum.vacuum(store)) == []
    monkeypatch.setattr(vacuum, "_KEEP_SECONDS", -1)
    # The instance that lost the conflict; its copy and its rows are not touched.
    [lost] = vacuum.vacuum(store)
    assert "/1.1/" in lost
    assert [finding.problem for finding in verification.verify(store)] == ["", ""]
    maintenance.optimize(store)
    assert Index(store.data).count() == 2
    delete_store(root, STORE)
    assert list(store.data.list()) == []
    with pytest.raises(LookupError):
        Index(store.data)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("in/a.dcm", ["in/a.dcm"]),
        ("in/*.dcm", ["in/a.dcm", "in/other.dcm", "in/text.dcm"]),
        ("in/*/?.dcm", ["in/deep/b.dcm"]),
        ("in/deep/**", ["in/deep/b.dcm", "in/deep/copy.dcm"]),
        ("nothing/**", []),
    ],
)
def test_its_sources_are_listed_by_the_same_patterns(sources, pattern, names):
    del sources
    found = list_sources(parse_source(f"mem://archive/{pattern}"))
    assert sorted(source.uri for source in found) == [f"mem://archive/{name}" for name in names]


def test_a_source_that_changed_or_is_gone_is_refused(sources):
    source, gone = describe_sources(["mem://archive/in/a.dcm", "mem://archive/no.dcm"])
    assert gone.code == "SOURCE_GONE"
    sources.write("in/a.dcm", b"x" * source.size)
    with open_source(source) as file, pytest.raises(Exception, match="SOURCE_CHANGED"):
        file.read(0, 10)
    sources.delete(["in/a.dcm"])
    with open_source(source) as file, pytest.raises(Exception, match="SOURCE_GONE"):
        file.read(0, 10)


def test_its_messages_name_its_scheme(sources):
    del sources
    message = no_match_message(parse_source("mem://archive/no/**"))
    assert "look into 'mem://archive/no'" in message
    with pytest.raises(ValueError, match="did you mean 'mem://archive/\\*\\*'"):
        parse_source("mem://archive")
    with pytest.raises(StorageError, match="use mem://bucket/prefix"):
        registry.open_storage("mem://")
    with pytest.raises(StorageError, match="is not a folder"):
        registry.open_storage("mem:stores")


def test_workers_of_other_machines_cannot_reach_it(root):
    new_store(root)
    assert run_import(root, "mem://archive/**", "--runner=DataflowRunner").code == 2
