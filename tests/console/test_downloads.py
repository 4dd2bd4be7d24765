"""Downloads of instances and series."""

import csv
import io
import json
import zipfile
from http.client import HTTPConnection, IncompleteRead
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import numpy as np
import pydicom
import pytest
from PIL import Image

from dicomferry.api.access import TokenFile, make_token
from dicomferry.api.errors import ApiError
from dicomferry.console import downloads
from dicomferry.console.downloads import OFFERED, format_name
from dicomferry.errors import Reason
from dicomferry.pixels.formats import AS_UPLOADED
from dicomferry.storage.registry import open_storage
from tests.console.consoles import DATASET, TRIAL, serving
from tests.console.test_streams import release
from tests.factories import dicom_bytes
from tests.pipelines.jobs import new_store, run_import, write_files

STUDY = f"{TRIAL}/studies/1.2.1"
BROKEN, WHOLE = f"{STUDY}/series/1.5", f"{STUDY}/series/1.4"
PICTURES = "healthcare.dicomStores.dicomWebRead"
PATIENTS = "healthcare.dicomStores.viewPatientData"
RLE = "application/dicom; transfer-syntax=1.2.840.10008.1.2.5"


@pytest.fixture(scope="module")
def files():
    """Instances by the last part of their UID; pixels of 8 are missing, 9 has three frames."""
    pixels = np.arange(16, dtype="<u2").tobytes()
    return {
        "1": dicom_bytes(sop="1.9.1", series="1.4", pixels=pixels, PatientName="SECRET"),
        "7": dicom_bytes(sop="1.9.7", series="1.5", pixels=pixels),
        "8": dicom_bytes(sop="1.9.8", series="1.5", pixels=b"\0\0"),
        "9": dicom_bytes(sop="1.9.9", series="1.5", pixels=pixels * 3, NumberOfFrames=3),
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory, files):
    """A root with these instances in a store."""
    folder = tmp_path_factory.mktemp("downloads")
    root = open_storage(str(folder / "store"))
    new_store(root)
    run_import(root, write_files(folder / "in", files))
    return root


@pytest.fixture
def ask(root, tmp_path, monkeypatch):
    """Asks for bytes with a token that has some permissions, by default all that it takes."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(downloads.tempfile, "tempdir", str(tmp_path / "tmp"))
    tokens = {
        name: make_token(name, permissions, [f"{DATASET}/dicomStores/{store}"])
        for name, permissions, store in (
            ("all", [PICTURES, PATIENTS], "trial"),
            ("pictures", ["healthcare.*"], "trial"),
            ("other", [PICTURES, PATIENTS], "other"),
            ("get", ["healthcare.dicomStores.get", PATIENTS], "trial"),
        )
    }
    path = tmp_path / "auth.jsonl"
    path.write_text("".join(f"{json.dumps(entry)}\n" for _, entry in tokens.values()))
    path.chmod(0o600)
    with serving(root, TokenFile(str(path))) as browser:

        def of(path, mime_type="", token="all", method="GET"):
            connection = HTTPConnection(browser.url.removeprefix("http://"), timeout=60)
            path = f"{path}?format={quote(mime_type)}"
            connection.request(method, path, None, {"Authorization": f"Bearer {tokens[token][0]}"})
            response = connection.getresponse()
            return response.status, response.headers, response.read()

        yield of
    assert not list(Path(tmp_path, "tmp").glob("dicomferry-*"))


class TestWhoMayDownload:
    @pytest.mark.parametrize("path", [f"{WHOLE}/download", f"{WHOLE}/instances/1.9.1/download"])
    def test_files_take_the_permission_of_patient_data_and_pictures_their_own(self, ask, path):
        for token, mime_type, status in (
            ("get", "", 403),
            ("get", "image/png", 403),
            ("other", "", 403),
            ("other", "image/png", 403),
            ("pictures", "", 403),
            ("pictures", RLE, 403),
            ("pictures", "image/png", 200),
            ("all", "", 200),
        ):
            answer = ask(path, mime_type, token)
            assert answer[0] == status
            assert (b"SECRET" in answer[2]) == (token == "all")

    def test_the_form_offers_what_a_token_may_have(self, ask):
        for path in (WHOLE, f"{WHOLE}/instances/1.9.1"):
            text = ask(path)[2].decode()
            assert text.count("<option") == len(OFFERED)
            assert all(format_name(form) in text for form in OFFERED)
            text = ask(path, token="pictures")[2].decode()
            assert text.count("<option") == 1
            assert "viewPatientData" in text


class TestInstance:
    PATH = f"{WHOLE}/instances/1.9.1/download"

    def test_comes_as_uploaded(self, ask, files):
        status, headers, content = ask(self.PATH)
        assert (status, content) == (200, files["1"])
        assert headers["Content-Disposition"] == 'attachment; filename="1.9.1.dcm"'
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]

    def test_comes_in_another_transfer_syntax(self, ask, files):
        dataset = pydicom.dcmread(io.BytesIO(ask(self.PATH, RLE)[2]))
        assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.5"
        known = pydicom.dcmread(io.BytesIO(files["1"]))
        assert np.array_equal(dataset.pixel_array, known.pixel_array)

    def test_comes_as_a_picture_or_pictures_of_its_frames(self, ask):
        _, headers, content = ask(self.PATH, "image/png")
        assert headers["Content-Type"] == "image/png"
        assert Image.open(io.BytesIO(content)).size == (4, 4)
        names = _unzipped(ask(f"{BROKEN}/instances/1.9.9/download", "image/png")[2])
        assert list(names) == ["1.png", "2.png", "3.png"]

    @pytest.mark.parametrize("mime_type", ["image/jpeg", "application/octet-stream", "x", "%00<b>"])
    def test_other_formats_are_refused(self, ask, mime_type):
        status, _, content = ask(self.PATH, mime_type)
        assert (status, b"<b>" in content) == (400, False)

    def test_that_cannot_be_converted_says_why(self, ask):
        status, _, content = ask(f"{BROKEN}/instances/1.9.8/download", "image/png")
        assert status == 400
        assert any(reason.value in content.decode() for reason in Reason)

    def test_that_becomes_too_large_is_refused(self, ask, files, monkeypatch):
        monkeypatch.setattr(downloads, "MAX_BYTES", len(files["1"]))
        assert ask(self.PATH)[0] == 200
        status, _, content = ask(self.PATH, RLE)
        assert (status, b"An export has no limit" in content) == (400, True)

    def test_is_not_converted_for_head(self, ask, monkeypatch):
        monkeypatch.delattr(downloads, "write_all")
        for path in (self.PATH, f"{WHOLE}/download"):
            assert ask(path, method="HEAD")[::2] == (200, b"")
            assert ask(path, token="get", method="HEAD")[0] == 403

    @pytest.mark.parametrize("uid", ["1.9.2", "1.9.7", "%2e%2e", "x", "%0d%0aa:%20b"])
    def test_that_is_not_there_is_not_found(self, ask, uid):
        assert ask(f"{WHOLE}/instances/{uid}/download")[0] == 404
        assert ask(f"{STUDY}/series/{uid}/download")[0] == 404


class TestSeries:
    def test_is_a_zip_file_of_its_instances(self, ask, files):
        status, headers, content = ask(f"{BROKEN}/download")
        assert (status, headers["Content-Type"]) == (200, "application/zip")
        assert headers["Content-Disposition"] == 'attachment; filename="1.5.zip"'
        assert _unzipped(content) == {f"1.9.{n}.dcm": files[n] for n in "789"}
        assert ask(f"{BROKEN}/download")[2] == content

    def test_lists_those_that_failed(self, ask):
        found = _unzipped(ask(f"{BROKEN}/download", "image/png")[2])
        names = [name for name in found if name.endswith(".png")]
        assert names == ["1.9.7.png", *(f"1.9.9/{n}.png" for n in (1, 2, 3))]
        [failure] = csv.DictReader(io.StringIO(found["failures.csv"].decode()))
        assert failure["SOPInstanceUID"] == "1.9.8"
        assert Reason(failure["code"]).sentence == failure["reason"]

    @pytest.mark.parametrize("limit", ["MAX_INSTANCES", "MAX_BYTES"])
    def test_too_large_a_one_is_refused_before_it_begins(self, ask, monkeypatch, limit):
        monkeypatch.setattr(downloads, limit, 2)
        status, _, content = ask(f"{BROKEN}/download")
        assert (status, b"An export has no limit" in content) == (400, True)

    def test_that_takes_too_long_breaks_off_and_is_no_zip_file(self, ask, monkeypatch):
        clock = SimpleNamespace(monotonic=count(0, 1_000_000).__next__)
        monkeypatch.setattr(downloads, "time", clock)
        with pytest.raises(IncompleteRead):
            ask(f"{BROKEN}/download")

    def test_a_caller_has_a_share_and_all_together_a_limit(self, ask, root, monkeypatch):
        running, wanted = downloads.Downloads(), downloads.Series(root, "1.2.1", "1.4", ())

        def begin(caller):
            return running.series(wanted, AS_UPLOADED, caller)

        first = [begin("a"), begin("a")]
        with pytest.raises(ApiError, match="of your downloads"):
            begin("a")
        others = [begin("b"), begin("b")]
        with pytest.raises(ApiError, match="too many downloads"):
            begin("c")
        release(first.pop())
        others.append(begin("c"))
        for each in first + others:
            release(each)
        monkeypatch.setattr(downloads, "AT_ONCE_EACH", 0)
        assert ask(f"{BROKEN}/download")[0] == 503


def test_every_offered_format_has_a_name():
    names = [format_name(form) for form in OFFERED]
    assert AS_UPLOADED in OFFERED
    assert len(set(names)) == len(names)


def _unzipped(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}
