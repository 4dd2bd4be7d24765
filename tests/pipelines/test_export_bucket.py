"""Exports within gs://: what is asked for as stored is copied by the storage itself."""

import os

import pytest

from dicomferry.storage.registry import open_storage
from tests.emulators.request_log import noted, request_log
from tests.factories import dicom_bytes
from tests.pipelines.jobs import images, new_store, run_export, run_import
from tests.pixels.instances import to_dicom

LARGE = dicom_bytes("1.2.1.1.99", pixels=b"\2" * (9 << 20), Rows=2304, Columns=2048)
STORED = images(5) | {"large.dcm": LARGE}
OTHER = {"other.dcm": to_dicom(dicom_bytes("1.2.1.1.50"), ".4.80")}
AS_STORED = "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"


@pytest.fixture(scope="module")
def bucket(gcs):
    """A bucket with a store of explicit little endian files, and one in JPEG-LS."""
    bucket = gcs.bucket(f"export-{os.urandom(6).hex()}")
    for name, content in (STORED | OTHER).items():
        bucket.blob(f"in/{name}").upload_from_string(content)
    root = open_storage(f"gs://{bucket.name}/stores")
    new_store(root)
    assert run_import(root, f"gs://{bucket.name}/in/**").kinds == {"imported": 7}
    return bucket


@pytest.fixture
def log(gcs, tmp_path, monkeypatch):
    """The requests of all clients of this process, noted from now on."""
    path = tmp_path / "requests"
    with request_log(gcs.url, path) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        yield lambda: noted(path)


def content(bucket, prefix):
    blobs = bucket.client.list_blobs(bucket.name, prefix=prefix)
    return {blob.name.rpartition("/")[2]: blob.download_as_bytes() for blob in blobs}


def of_blobs(requests):
    """The requests that concern stored instances: copies and reads."""
    concerned = [each for each in requests if "/instances/" in each.path]
    copies = [each for each in concerned if "/rewriteTo/" in each.path]
    return copies, [each for each in concerned if each not in copies and each.method == "GET"]


@pytest.mark.parametrize("mime_type", ["", AS_STORED])
def test_what_is_stored_as_asked_is_copied_without_a_download(bucket, log, mime_type):
    root, out = open_storage(f"gs://{bucket.name}/stores"), f"out-{len(mime_type)}"
    job = run_export(root, f"gs://{bucket.name}/{out}", f"--mime-type={mime_type}")
    assert job.kinds == {"exported": 7}
    copies, reads = of_blobs(log())
    as_stored = 7 if not mime_type else 6
    assert len(copies) == as_stored
    assert {each.method for each in copies} == {"POST"}
    # The one that is in another syntax, and is asked for in this one, has to be read.
    assert all("/1.2.1.1.50/" in each.path for each in reads)
    assert bool(reads) == bool(mime_type)
    assert sum(each.answered for each in reads) < 10_000
    found = content(bucket, f"{out}/")
    expected = {f"{name}.dcm": data for name, data in by_uid().items()}
    if mime_type:
        del expected["1.2.1.1.50.dcm"], found["1.2.1.1.50.dcm"]
    assert found == expected


def by_uid():
    files = {f"1.2.1.1.{n + 1}": data for n, data in enumerate(images(5).values())}
    return files | {"1.2.1.1.99": LARGE, "1.2.1.1.50": OTHER["other.dcm"]}


def test_what_is_asked_for_in_another_form_is_read_once(bucket, log):
    root = open_storage(f"gs://{bucket.name}/stores")
    job = run_export(root, f"gs://{bucket.name}/png", "--mime-type=image/png")
    assert job.kinds == {"exported": 7}
    copies, reads = of_blobs(log())
    assert copies == []
    stored = sum(map(len, by_uid().values()))
    assert stored <= sum(each.answered for each in reads) < stored * 1.3
