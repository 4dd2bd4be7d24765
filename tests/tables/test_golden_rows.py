import json
import warnings

import pydicom
import pytest

from headers.failures import InstanceError
from tables.flattened import FlattenedRows
from tables.rows import EMBEDDED
from tests.corpus import corpus_files
from tests.tables.golden_rows import FOLDER, NAMES, golden_of
from tests.tables.instances import instance_of, misfits, packaged_files

_TEXT_VRS = {"AE", "AS", "CS", "LO", "LT", "SH", "ST", "UC", "UI", "UR", "UT"}


@pytest.mark.parametrize("name", NAMES)
def test_the_row_of_a_known_file_is_the_one_that_is_kept(name):
    expected = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    found = golden_of(name)
    assert found == expected
    assert list(found["schema"]) == list(expected["schema"])


def test_pydicom_reads_the_same_from_its_own_files():
    assert judge(packaged_files()) >= 60


def test_pydicom_reads_the_same_from_the_corpus():
    assert judge(corpus_files()) >= 300


def judge(paths):
    """Compare rows with what pydicom reads; the number of instances that were compared."""
    compared = 0
    for path in paths:
        try:
            with open(path, "rb") as file:
                instance = instance_of(file.read())
        except InstanceError:
            continue
        writer = FlattenedRows(EMBEDDED)
        row = json.loads(writer.row(instance).line)
        assert misfits(row, writer.schema) == [], path
        compared += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            _compare(dataset, row, path)
    return compared


def _compare(dataset, row, path):
    kept = {entry["Tag"]: entry["Data"] for entry in row.get("OtherElements", ())}
    for element in dataset:
        if element.tag.is_private:
            if element.VR in _TEXT_VRS and element.VM <= 1:
                assert f"Tag_{element.tag:08X}" in kept, path
            continue
        if element.VR not in _TEXT_VRS or not element.keyword:
            continue
        value = row.get(element.keyword)
        if isinstance(value, list):
            value = "\\".join(text if isinstance(text, str) else "…" for text in value)
        if value is not None and "…" not in value:
            theirs = element.value if element.VM != 0 else ""
            joined = theirs if isinstance(theirs, str) else "\\".join(map(str, theirs or ()))
            assert value.strip(" \0") == joined.strip(" \0"), (path, element.tag)
