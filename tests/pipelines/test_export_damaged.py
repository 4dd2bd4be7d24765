"""Bytes that were damaged or lost in a store leave it in no form, and the rest does."""

import contextlib
import os
import re
import shutil
from pathlib import Path

import pytest
from pydicom import dcmread

import dicomferry.store.blobs
import dicomferry.transforms.write_instance
from dicomferry.errors import Reason
from dicomferry.pixels.formats import FORMATS
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import StoreNotFoundError, get_store
from dicomferry.store.verification import verify
from tests.pipelines.jobs import (
    STORE,
    data_folder,
    images,
    lose_store,
    new_store,
    rows,
    run_export,
    run_import,
    tree,
    write_files,
)

DAMAGED, LOST = "1.2.1.1.2", "1.2.1.1.3"
PIXELS = {"Rows": 64, "Columns": 64, "pixels": bytes(range(256)) * 32}
FORMS = ["", *(form.mime_type for form in FORMATS if "4.111" not in form.mime_type)]


class _UnderWayError(Exception):
    """The rest of a deletion is still to come."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A store of four instances: the pixels of one are wrong by a bit, the blob of one is gone."""
    folder = tmp_path_factory.mktemp("damaged")
    root = open_storage(str(folder / "root"))
    new_store(root)
    assert run_import(root, write_files(folder / "in", images(4, **PIXELS))).code == 0
    damage(root)
    return root


def blob_of(root, uid):
    return Path(data_folder(root).uri(rows(root)[uid]["BlobUri"]))


def damage(root):
    path = blob_of(root, DAMAGED)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    assert dcmread(path).pixel_array is not None  # nobody would notice
    blob_of(root, LOST).unlink()


def codes(job):
    return {name.rpartition("/")[2]: line.get("code", "") for name, line in job.outcomes.items()}


@pytest.mark.parametrize("by_ranges", [False, True], ids=["whole", "by-ranges"])
@pytest.mark.parametrize("mime_type", FORMS)
def test_a_damaged_and_a_lost_blob_fail_alone(root, tmp_path, monkeypatch, mime_type, by_ranges):
    if by_ranges:
        monkeypatch.setattr(dicomferry.store.blobs, "_WHOLE_BYTES", 1)
    job = run_export(root, tmp_path / "out", f"--mime-type={mime_type}")
    assert job.code == 1
    failed = {uid: code for uid, code in codes(job).items() if code.startswith("BLOB")}
    assert failed == {DAMAGED: "BLOB_CORRUPT", LOST: "BLOB_MISSING"}
    uids = {re.match(r"[0-9.]+[0-9]", name.split("/")[2])[0] for name in tree(tmp_path / "out")}
    assert uids.isdisjoint(failed)
    assert uids == {uid for uid, code in codes(job).items() if not code}
    assert uids or "TOO_DEEP_FOR" in "".join(codes(job).values())


def test_the_remedy_that_is_named_helps(tmp_path):
    root = open_storage(str(tmp_path / "root"))
    new_store(root)
    source = write_files(tmp_path / "in", images(4, **PIXELS))
    assert run_import(root, source).code == 0
    assert run_export(root, tmp_path / "before").code == 0
    damage(root)
    for uid, code in codes(run_export(root, tmp_path / "out")).items():
        assert not code or ("stores verify" in Reason(code).sentence) == (uid in (DAMAGED, LOST))
    found = {f.sop_instance_uid: f for f in verify(get_store(root, STORE)) if f.problem}
    assert {uid: f.problem for uid, f in found.items()} == {
        DAMAGED: "wrong checksum",
        LOST: "missing",
    }
    os.unlink(data_folder(root).uri(found[DAMAGED].blob))
    copies = write_files(tmp_path / "copies", images(4, **PIXELS))
    assert run_import(root, copies).kinds == {"duplicate": 4}
    assert not any(finding.problem for finding in verify(get_store(root, STORE)))
    assert run_export(root, tmp_path / "after").code == 0
    assert tree(tmp_path / "after") == tree(tmp_path / "before")


def test_a_store_that_is_deleted_meanwhile_ends_an_export_and_no_blob_is_called_missing(
    tmp_path, monkeypatch
):
    root = open_storage(str(tmp_path / "root"))
    new_store(root)
    assert run_import(root, write_files(tmp_path / "in", images(4, **PIXELS))).code == 0
    copy_blob = dicomferry.transforms.write_instance.copy_blob

    def blobs_first(folder):
        """In the worst order that a file system may have, and no further than that."""
        blobs = [*Path(folder).rglob("*.dcm")]
        for path in blobs or [each for each in Path(folder).rglob("*") if each.is_file()]:
            path.unlink()
        if blobs:
            raise _UnderWayError

    def copy_while_it_is_deleted(*arguments):
        ends = _UnderWayError, StoreNotFoundError
        with monkeypatch.context() as patch, contextlib.suppress(*ends):
            patch.setattr(shutil, "rmtree", blobs_first)
            lose_store(root, STORE)
        copy_blob(*arguments)

    monkeypatch.setattr(dicomferry.transforms.write_instance, "copy_blob", copy_while_it_is_deleted)
    job = run_export(root, tmp_path / "out")
    assert job.code == 2
    assert job.operation["error"] == {"code": 5, "message": f"{STORE} was deleted meanwhile"}
    assert job.outcomes == {}
