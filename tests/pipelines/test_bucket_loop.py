"""The whole loop on gs://, with Google's own client as the judge of what is there."""

import base64
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import pytest
from deltalake import DeltaTable

import dicomferry.transforms.ingest
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import get_store
from dicomferry.store.maintenance import metrics
from dicomferry.store.verification import verify
from tests.emulators.out_of_reach import metadata_server_not_asked
from tests.factories import dicom_bytes
from tests.pipelines.jobs import (
    STORE,
    check_accounts,
    images,
    new_store,
    run_export,
    run_import,
    tree,
    write_files,
)

REPOSITORY = Path(__file__).parents[2]
LARGE = dicom_bytes(sop="1.2.1.1.99", pixels=b"\2" * (9 << 20))
FILES = images(4) | {
    "copy of 000.dcm": images(1)["000.dcm"],
    "conflict.dcm": dicom_bytes(sop="1.2.1.1.2", pixels=b"\1" * 32),
    "large.dcm": LARGE,
    "large, again.dcm": LARGE,
    "notes.txt": b"not DICOM at all" * 20,
    "folder/": b"",
    "deep/[x]{y}?#%25 é.dcm": dicom_bytes(sop="1.2.1.1.50"),
    "odd//name.dcm": dicom_bytes(sop="1.2.1.1.51"),
}


class Loop(NamedTuple):
    """A bucket with sources and a store, and the import that filled it."""

    bucket: object
    root: Storage
    job: object
    read: dict

    def objects(self, prefix):
        """Bytes by name, as Google's client downloads them."""
        return {
            blob.name.removeprefix(prefix): blob.download_as_bytes()
            for blob in self.bucket.client.list_blobs(self.bucket.name, prefix=prefix)
        }

    def data(self):
        """The data folder's prefix in the bucket."""
        return get_store(self.root, STORE).data.root.removeprefix(f"gs://{self.bucket.name}/")

    def rows(self, folder):
        """The index, downloaded by Google's client and read as a local table."""
        write_files(folder, self.objects(f"{self.data()}/index/"))
        table = DeltaTable(str(folder)).to_pyarrow_table().to_pylist()
        return {row["SOPInstanceUID"]: row for row in table}


@pytest.fixture(scope="module")
def loop(gcs):
    """The files, imported once from a bucket into a store in the same bucket."""
    bucket = gcs.bucket(f"loop-{os.urandom(6).hex()}")
    for name, content in FILES.items():
        bucket.blob(f"in/{name}").upload_from_string(content)
    root = open_storage(f"gs://{bucket.name}/stores")
    new_store(root)
    read = {}
    open_source = dicomferry.transforms.ingest.open_source

    def opening(source, allowed_folders):
        file = open_source(source, allowed_folders)
        read_range = file.read

        def counting(offset, length):
            content = read_range(offset, length)
            read[source.uri] = read.get(source.uri, 0) + len(content)
            return content

        file.read = counting
        return file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dicomferry.transforms.ingest, "open_source", opening)
        job = run_import(root, f"gs://{bucket.name}/in/**")
    return Loop(bucket, root, job, read)


def uri(loop, name):
    return f"gs://{loop.bucket.name}/in/{name}"


def test_every_object_is_accounted_for(loop):
    check_accounts(loop.job, [uri(loop, name) for name in FILES])
    assert loop.job.code == 1
    assert {s.partition("/in/")[2]: o["outcome"] for s, o in loop.job.outcomes.items()} == {
        "000.dcm": "imported",
        "001.dcm": "imported",
        "002.dcm": "imported",
        "003.dcm": "imported",
        "copy of 000.dcm": "duplicate",
        "conflict.dcm": "conflict",
        "large, again.dcm": "imported",
        "large.dcm": "duplicate",
        "notes.txt": "failed",
        "folder/": "skipped",
        "deep/[x]{y}?#%25 é.dcm": "imported",
        "odd//name.dcm": "imported",
    }


def test_blobs_are_the_bytes_of_their_sources(loop, tmp_path):
    blobs = loop.objects(f"{loop.data()}/")
    for row in loop.rows(tmp_path).values():
        content = FILES[row["SourceUri"].removeprefix(uri(loop, ""))]
        assert blobs[row["BlobUri"]] == content
        assert row["BlobStorageSize"] == len(content)
        assert row["Crc32c"] == google_crc32c.value(content)
        if content is not LARGE:
            assert row["Sha256"] == hashlib.sha256(content).hexdigest()
    assert not any(finding.problem for finding in verify(get_store(loop.root, STORE)))
    assert metrics(get_store(loop.root, STORE))["instanceCount"] == "7"


def test_the_body_of_a_large_object_is_copied_by_the_storage_itself(loop, tmp_path):
    row = loop.rows(tmp_path)["1.2.1.1.99"]
    assert row["Sha256"] is None
    blob = loop.bucket.get_blob(f"{loop.data()}/{row['BlobUri']}")
    assert row["Crc32c"] == int.from_bytes(base64.b64decode(blob.crc32c), "big")
    for name in ("large.dcm", "large, again.dcm"):
        assert 0 < loop.read[uri(loop, name)] < 1 << 20
    assert loop.read[uri(loop, "000.dcm")] == len(FILES["000.dcm"])


def test_another_import_reads_no_object_that_is_known(loop, monkeypatch):
    opened = []
    open_source = dicomferry.transforms.ingest.open_source

    def opening(source, allowed_folders):
        opened.append(source.uri)
        return open_source(source, allowed_folders)

    monkeypatch.setattr(dicomferry.transforms.ingest, "open_source", opening)
    job = run_import(loop.root, uri(loop, "**"))
    assert {u.removeprefix(uri(loop, "")) for u in opened} == {"conflict.dcm", "notes.txt"}
    assert job.operation["counts"]["already_imported"] == 9


@pytest.mark.parametrize("name", ["large.dcm", "000.dcm"])
def test_the_same_object_at_another_uri_is_a_duplicate(loop, name):
    place = f"elsewhere-{name}"
    loop.bucket.copy_blob(loop.bucket.blob(f"in/{name}"), loop.bucket, place)
    job = run_import(loop.root, f"gs://{loop.bucket.name}/{place}")
    assert job.kinds == {"duplicate": 1}


def test_a_local_file_with_the_bytes_of_a_large_object_is_a_duplicate(loop, tmp_path):
    job = run_import(loop.root, write_files(tmp_path, {"large.dcm": LARGE}))
    assert job.kinds == {"duplicate": 1}


def test_an_object_that_was_overwritten_is_read_again(gcs, loop):
    blob = loop.bucket.blob("changing/a.dcm")
    blob.upload_from_string(dicom_bytes(sop="1.2.3.1"))
    source = f"gs://{loop.bucket.name}/changing/**"
    assert run_import(loop.root, source).kinds == {"imported": 1}
    assert run_import(loop.root, source).kinds == {"skipped": 1}
    blob.upload_from_string(dicom_bytes(sop="1.2.3.2"))
    assert run_import(loop.root, source).kinds == {"imported": 1}


def test_exports_to_a_bucket_and_to_a_folder_are_the_bytes_that_came_in(loop, tmp_path):
    expected = {
        f"{r['StudyInstanceUID']}/{r['SeriesInstanceUID']}/{uid}.dcm": row_content(loop, r)
        for uid, r in loop.rows(tmp_path / "index").items()
    }
    loop.bucket.blob(f"out/{min(expected)}").upload_from_string(b"old")
    assert run_export(loop.root, f"gs://{loop.bucket.name}/out").code == 0
    assert loop.objects("out/") == expected
    assert run_export(loop.root, tmp_path / "out").code == 0
    assert tree(tmp_path / "out") == {
        name: hashlib.sha256(content).hexdigest() for name, content in expected.items()
    }


def row_content(loop, row):
    return loop.objects(f"{loop.data()}/{row['BlobUri']}")[""]


def test_a_bucket_into_a_local_store_and_back(loop, root, tmp_path):
    new_store(root)
    job = run_import(root, uri(loop, "**"))
    assert job.kinds == loop.job.kinds
    assert {s: o["outcome"] for s, o in job.outcomes.items()} == {
        s: o["outcome"] for s, o in loop.job.outcomes.items()
    }
    assert run_export(root, f"gs://{loop.bucket.name}/back").code == 0
    assert run_export(root, tmp_path / "out").code == 0
    back = loop.objects("back/")
    assert {name: hashlib.sha256(c).hexdigest() for name, c in back.items()} == tree(
        tmp_path / "out"
    )
    assert LARGE in back.values()


def test_a_bucket_source_that_matches_nothing_ends_with_2(loop, caplog):
    job = run_import(loop.root, f"gs://{loop.bucket.name}/nothing/**")
    assert job.code == 2
    assert job.operation["error"]["code"] == 5
    assert "matches no" in caplog.text


def test_the_programs_run_on_buckets_with_worker_processes_and_without_stalling(gcs, loop):
    root = open_storage(f"gs://{loop.bucket.name}/by-program")
    new_store(root)
    with metadata_server_not_asked() as environment:
        for module, flags in [
            ("import_dicom", [f"--source={uri(loop, '*.dcm')}", "--max-failures=1"]),
            ("export_dicom", [f"--destination=gs://{loop.bucket.name}/by-program-out"]),
        ]:
            command = [sys.executable, "-m", f"pipelines.{module}", f"--store={STORE.id}"]
            done = subprocess.run(
                [*command, f"--root={root.root}", "--workers=2", *flags],
                check=False,
                cwd=REPOSITORY,
                env=os.environ | gcs.environment | environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
    assert sorted(loop.objects("by-program-out/").values()) == sorted([*images(4).values(), LARGE])
