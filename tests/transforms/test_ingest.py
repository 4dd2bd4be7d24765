"""A source is read once, described, and stored under its content, or fails alone."""

import hashlib
import json
import os
import time
from pathlib import Path

import google_crc32c
import pytest
import zstandard
from google.api_core.exceptions import NotFound

import dicomferry.transforms.ingest
from dicomferry.resource_names import INDEX_FOLDER
from dicomferry.sources.local import describe_file
from dicomferry.sources.source import Source
from dicomferry.storage import durable, local_locks
from dicomferry.storage.registry import open_storage
from dicomferry.transforms.ingest import ImportTarget, ingest, ingest_all
from dicomferry.transforms.records import FileOutcome, Instance
from tests.factories import dicom_bytes, living


@pytest.fixture
def target(tmp_path):
    """An empty data folder."""
    return ImportTarget(living(open_storage(str(tmp_path / "data"))), dry_run=False)


@pytest.fixture(params=["whole", "streamed"])
def way(request, monkeypatch):
    """Both ways to read a local file: at once, or in passes."""
    if request.param == "streamed":
        monkeypatch.setattr(dicomferry.transforms.ingest, "_WHOLE_FILE_BYTES", -1)
        monkeypatch.setattr(dicomferry.transforms.ingest, "_CHUNK_BYTES", 100)
    return request.param


@pytest.fixture
def file(tmp_path):
    """Write a file; return it as it is listed."""

    def write(content, name="a.dcm"):
        (tmp_path / name).write_bytes(content)
        return describe_file(str(tmp_path / name))

    return write


def files(data):
    found = (p.relative_to(data.root) for p in Path(data.root).rglob("*") if p.is_file())
    return {str(path) for path in found if path.parts[0] not in (local_locks.FOLDER, INDEX_FOLDER)}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "EMPTY_FILE"),
        (b"x" * 1000, "NOT_DICOM"),
        (b"\x1f\x8b" + b"x" * 1000, "GZIPPED"),
        (b"PK\x03\x04" + b"x" * 1000, "ZIPPED"),
        (dicom_bytes()[:-1], "TRUNCATED"),
        (dicom_bytes(study=""), "MISSING_STUDY_INSTANCE_UID"),
    ],
)
def test_a_file_that_cannot_be_taken_is_an_outcome_and_leaves_nothing(
    way, file, target, content, code
):
    source = file(content)
    assert ingest(source, target) == FileOutcome(
        source.uri, "failed", code, size=len(content), version=source.version
    )
    assert files(target.data) == set()


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("FOLDER_MARKER", "skipped"),
        ("LINK_LOOP", "skipped"),
        ("DANGLING_LINK", "failed"),
        ("UNREADABLE", "failed"),
    ],
)
def test_what_a_listing_found_beside_files_is_an_outcome(target, code, outcome):
    assert ingest(Source("/in/x", 0, "", code), target)[:3] == ("/in/x", outcome, code)


def test_a_file_that_changes_while_it_is_read_fails_alone(way, file, target, monkeypatch):
    source = file(dicom_bytes())
    read_header = dicomferry.transforms.ingest.read_header

    def changing(readable):
        header = read_header(readable)
        Path(source.uri).write_bytes(dicom_bytes(PatientID="longer than before"))
        return header

    monkeypatch.setattr(dicomferry.transforms.ingest, "read_header", changing)
    assert ingest(source, target)[:3] == (source.uri, "failed", "SOURCE_CHANGED")


@pytest.mark.parametrize("length", [500, 100, 0])
def test_a_file_that_is_cut_while_it_is_streamed_fails_and_leaves_nothing(
    file, target, monkeypatch, length
):
    monkeypatch.setattr(dicomferry.transforms.ingest, "_WHOLE_FILE_BYTES", -1)
    monkeypatch.setattr(dicomferry.transforms.ingest, "_CHUNK_BYTES", 100)
    source = file(dicom_bytes())
    read_header = dicomferry.transforms.ingest.read_header

    def cutting(readable):
        header = read_header(readable)
        os.truncate(source.uri, length)
        return header

    monkeypatch.setattr(dicomferry.transforms.ingest, "read_header", cutting)
    assert ingest(source, target)[:3] == (source.uri, "failed", "SOURCE_CHANGED")
    assert files(target.data) == set()


def test_errors_of_storage_are_not_those_of_a_file(way, file, target, monkeypatch):
    source = file(dicom_bytes())

    def broken(*args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(dicomferry.transforms.ingest, "write_blob", broken)
    monkeypatch.setattr(dicomferry.transforms.ingest, "large_blob", broken)
    with pytest.raises(OSError, match="Input/output"):
        ingest(source, target)


def test_both_ways_describe_an_instance_the_same_and_store_its_bytes(way, file, target):
    content = dicom_bytes(NumberOfFrames="3", PatientID="id")
    source = file(content)
    digest = hashlib.sha256(content).hexdigest()
    instance = ingest(source, target)
    assert instance == Instance(
        study_instance_uid="1.2.1",
        series_instance_uid="1.2.1.1",
        sop_instance_uid="1.2.1.1.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="CT",
        number_of_frames=3,
        metadata=instance.metadata,
        structured_size=len(zstandard.decompress(instance.metadata)),
        blob=f"instances/1.2.1/1.2.1.1/1.2.1.1.1/{digest}.dcm",
        size=len(content),
        sha256=digest,
        crc32c=google_crc32c.value(content),
        source_uri=source.uri,
        source_version=source.version,
    )
    metadata = json.loads(zstandard.decompress(instance.metadata))
    assert metadata["00100020"]["Value"] == ["id"]
    assert files(target.data) == {instance.blob}
    assert target.data.read(instance.blob) == content


def test_a_dry_run_describes_the_same_and_writes_nothing(way, file, target):
    source = file(dicom_bytes())
    dry = ingest(source, target._replace(dry_run=True))
    assert files(target.data) == set()
    assert dry == ingest(source, target)


def test_results_come_in_the_order_of_the_sources(file, target):
    contents = [dicom_bytes(), b"bad", dicom_bytes(sop="1.2.3"), b""]
    sources = [file(content, f"{n}") for n, content in enumerate(contents)]
    found = ingest_all(sources, target)
    assert [isinstance(result, Instance) for result in found] == [True, False, True, False]
    assert [r.source_uri if isinstance(r, Instance) else r.source for r in found] == [
        source.uri for source in sources
    ]


def test_blobs_are_synced_before_they_are_handed_on(file, target, monkeypatch):
    synced, named = [], []
    monkeypatch.setattr(durable, "_sync_bytes", synced.append)
    monkeypatch.setattr(durable, "sync_names", lambda paths, root: named.extend(paths))
    found = ingest_all([file(dicom_bytes()), file(b"bad", "b")], target)
    assert synced == named == [target.data.uri(found[0].blob)]
    ingest_all([file(dicom_bytes())], target._replace(dry_run=True))
    assert len(synced) == 1


def test_a_blob_that_is_found_in_place_gets_a_new_time_and_vacuum_spares_it(way, file, target):
    source = file(dicom_bytes())
    blob = target.data.uri(ingest(source, target).blob)
    os.utime(blob, (1, 1))
    [instance] = ingest_all([source], target)
    assert Path(blob).stat().st_mtime >= instance.stored > time.time() - 60
    assert Path(blob).read_bytes() == dicom_bytes()


def test_a_large_local_file_goes_into_a_bucket_once(gcs, file, monkeypatch):
    monkeypatch.setattr(dicomferry.transforms.ingest, "_WHOLE_FILE_BYTES", -1)
    bucket = gcs.bucket(f"ingest-{os.urandom(6).hex()}")
    target = ImportTarget(open_storage(f"gs://{bucket.name}/data"), dry_run=False)
    source = file(dicom_bytes())
    assert isinstance(ingest(source, target._replace(dry_run=True)), Instance)
    assert list(bucket.list_blobs()) == []
    instance = ingest(source, target)
    [blob] = bucket.list_blobs()
    assert blob.name == f"data/{instance.blob}"
    assert blob.download_as_bytes() == dicom_bytes()
    assert ingest(source, target) == instance
    [again] = bucket.list_blobs()
    assert again.generation > blob.generation  # which spares it from vacuum


def test_a_large_object_that_was_replaced_after_it_was_listed_fails_alone(gcs, monkeypatch):
    monkeypatch.setattr(dicomferry.transforms.ingest, "_WHOLE_FILE_BYTES", -1)
    bucket = gcs.bucket(f"ingest-{os.urandom(6).hex()}")
    blob = bucket.blob("a.dcm")
    blob.upload_from_string(dicom_bytes())
    source = Source(f"gs://{bucket.name}/a.dcm", blob.size, str(blob.generation))
    target = ImportTarget(open_storage(f"gs://{bucket.name}/data"), dry_run=False)
    read_header = dicomferry.transforms.ingest.read_header

    def replacing(readable):
        header = read_header(readable)
        blob.upload_from_string(dicom_bytes(PatientID="another"))
        return header

    monkeypatch.setattr(dicomferry.transforms.ingest, "read_header", replacing)
    assert ingest(source, target)[:3] == (source.uri, "failed", "SOURCE_GONE")
    assert list(bucket.list_blobs(prefix="data/")) == []


def test_a_bucket_that_is_missing_is_no_failure_of_the_source(gcs, monkeypatch):
    monkeypatch.setattr(dicomferry.transforms.ingest, "_WHOLE_FILE_BYTES", -1)
    bucket = gcs.bucket(f"ingest-{os.urandom(6).hex()}")
    blob = bucket.blob("a.dcm")
    blob.upload_from_string(dicom_bytes())
    source = Source(f"gs://{bucket.name}/a.dcm", blob.size, str(blob.generation))
    target = ImportTarget(open_storage(f"gs://{bucket.name}-missing/data"), dry_run=False)
    with pytest.raises(NotFound):
        ingest(source, target)
