"""The pictures of a store."""

import re
from collections import Counter

import numpy as np
import pytest

from dicomferry.console.queries import series
from dicomferry.console.thumbnails import to_image
from dicomferry.errors import Fault, InstanceError, Reason
from tests.console.consoles import TRIAL
from tests.corpus import CORPUS, corpus_files
from tests.factories import dicom_bytes
from tests.pipelines.jobs import PACKAGED, new_store, run_import, write_files


class TestPictures:
    def test_show_a_series_each(self, browser, root, tmp_path):
        new_store(root)
        pixels = np.arange(16, dtype="<u2").tobytes()
        files = {"a": dicom_bytes(pixels=pixels), "b": dicom_bytes(sop="1.3", series="1.2.9")}
        run_import(root, write_files(tmp_path / "in", files))
        text = browser.page(f"{TRIAL}/preview")
        sources = re.findall(r'<img src="([^"]+)"', text)
        assert len(sources) == 2
        for source in sources:
            answer = browser.get(source)
            assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
            assert answer.text.encode("utf-8", "surrogateescape").startswith(b"\xff\xd8")

    def test_a_series_uid_in_two_studies_is_a_series_of_each(self, browser, root, tmp_path):
        new_store(root)
        files = {
            f"{n}": dicom_bytes(sop=f"1.9.{n}", study=f"1.{min(n, 1)}", series="1.5")
            for n in range(3)
        }
        run_import(root, write_files(tmp_path / "in", files))
        text = browser.page(f"{TRIAL}/preview")
        figures = text.split("<figure>")[1:]
        found = [re.findall(r"study (1\.\d)<|(\d instances?)", figure) for figure in figures]
        assert [["".join(each) for each in figure] for figure in found] == [
            ["1 instance", "1.0"],
            ["2 instances", "1.1"],
        ]

    def test_what_cannot_be_shown_says_why(self, browser, root):
        new_store(root)
        run_import(root, f"{PACKAGED}/test_files/rtplan.dcm")
        [source] = re.findall(r'<img src="([^"]+)"', browser.page(f"{TRIAL}/preview"))
        answer = browser.get(source)
        assert answer.headers["content-type"] == "image/svg+xml"
        assert "has no pixel data" in answer.text

    def test_come_page_by_page_each_series_once(self, browser, root, tmp_path, monkeypatch):
        monkeypatch.setattr(series, "PAGE", 3)
        monkeypatch.setattr(series, "_BATCH_ROWS", 2)
        new_store(root)
        files = {
            f"{n}": dicom_bytes(sop=f"1.9.{n}", study=f"1.{n % 4}", series=f"1.5.{n % 8}")
            for n in range(16)
        }
        run_import(root, write_files(tmp_path / "in", files))
        seen, path = [], f"{TRIAL}/preview"
        while path:
            text = browser.page(path)
            seen += re.findall(r"series (1\.5\.\d)<", text)
            assert text.count("2 instances") == text.count("<figure>") <= 3
            more = re.search(r'rel="next" href="([^"]+)"', text)
            path = more[1] if more else ""
        assert sorted(seen) == [f"1.5.{n}" for n in range(8)]

    @pytest.mark.parametrize(
        "place",
        [
            "1.2.1/1.2.1.1/1.2.1.1.1/abc",
            "1.2.1/1.2.1.1/%2e%2e/abc",
            "../../index/_delta_log",
            "1.2.1/1.2.1.1/1.2.1.1.1/%2e%2e%2fx",
            "a/b/c/d",
        ],
    )
    def test_of_what_is_no_instance_are_not_found(self, browser, trial, place):
        assert browser.get(f"{TRIAL}/pictures/{place}").status == 404

    def test_of_real_files(self, browser, root):
        corpus_files()  # skips where there are none
        new_store(root)
        run_import(root, f"{CORPUS}/**")
        text = browser.page(f"{TRIAL}/preview")
        kinds = Counter(
            browser.get(source).headers["content-type"]
            for source in re.findall(r'<img src="([^"]+)"', text)
        )
        assert kinds["image/jpeg"] > 10
        assert set(kinds) <= {"image/jpeg", "image/svg+xml"}


def test_a_tile_says_where_a_fault_of_ours_is():
    fault = Fault("IndexError", "dicomferry/pixels/render/grayscale.py:118")
    image, kind = to_image(InstanceError(Reason.INTERNAL_ERROR, fault))
    text = " ".join(re.findall(r"<tspan[^>]*>([^<]*)</tspan>", image.decode()))
    assert kind == "image/svg+xml"
    assert text.startswith("a bug in dicomferry, not in the file: IndexError at")
    assert text.replace("/ ", "/").endswith("dicomferry/pixels/render/grayscale.py:118")
