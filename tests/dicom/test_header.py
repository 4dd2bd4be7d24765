"""What identifies an instance, and why a file has no identity."""

import csv
import json

import pytest

from dicomferry.dicom.header import Header, read_header
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.errors import InstanceError, Reason
from tests.corpus import CORPUS, corpus_files
from tests.dicom.factories import (
    EXPLICIT,
    SECONDARY_CAPTURE,
    SERIES,
    SOP,
    STUDY,
    Ranges,
    element,
    file_meta,
    identity,
    item,
    part10,
    sequence,
)


def code_of(file: bytes) -> str:
    """Return the code with which a file fails, whichever way it is read."""
    codes = []
    for readable in (BytesReader(file), Ranges(file)):
        with pytest.raises(InstanceError) as caught:
            read_header(readable)
        codes.append(caught.value.code)
    assert codes[0] == codes[1]
    return codes[0]


def header_of(data_set: bytes) -> Header:
    return read_header(BytesReader(part10(data_set)))


def test_a_header_names_the_instance() -> None:
    header = header_of(
        element(0x00080016, "UI", SECONDARY_CAPTURE + "\0")
        + element(0x00080018, "UI", SOP + "\0")
        + element(0x00080060, "CS", "MR")
        + element(0x0020000D, "UI", STUDY + "\0")
        + element(0x0020000E, "UI", SERIES + "\0")
        + element(0x00280008, "IS", "12")
    )
    assert header[:7] == (STUDY, SERIES, SOP, SECONDARY_CAPTURE, EXPLICIT, "MR", 12)
    assert json.loads(header.metadata)["00080060"] == {"vr": "CS", "Value": ["MR"]}


def test_uids_come_from_the_data_set_not_from_the_file_meta() -> None:
    meta = file_meta(EXPLICIT, element(0x00020003, "UI", "9.9.9\0"))
    assert read_header(BytesReader(part10(identity(), meta=meta))).sop_instance_uid == SOP


def test_uids_of_items_do_not_name_the_instance() -> None:
    other = item(element(0x00080018, "UI", "9.9"))
    header = header_of(identity() + sequence(0x00400260, other))
    assert header.sop_instance_uid == SOP


@pytest.mark.parametrize(
    ("absent", "code"),
    [
        ("study", "MISSING_STUDY_INSTANCE_UID"),
        ("series", "MISSING_SERIES_INSTANCE_UID"),
        ("sop", "MISSING_SOP_INSTANCE_UID"),
    ],
)
@pytest.mark.parametrize("nothing", ["", "\0\0", "  "])
def test_an_empty_uid_is_missing(absent: str, code: str, nothing: str) -> None:
    assert code_of(part10(identity(**{absent: nothing}))) == code


def test_an_absent_uid_is_missing() -> None:
    assert code_of(part10(element(0x00080060, "CS", "MR"))) == "MISSING_STUDY_INSTANCE_UID"


@pytest.mark.parametrize(
    "uid",
    ["1.2/3", "../../1", "1..2", ".1", "1.", "1.2\\1.3", "1.2 3", "abc", "1.2\n", "1" * 65, "٣.1"],
)
@pytest.mark.parametrize("which", ["study", "series", "sop"])
def test_what_is_no_uid_can_not_become_a_path(which: str, uid: str) -> None:
    code = code_of(part10(identity(**{which: uid})))
    assert code == f"INVALID_{which.upper()}_INSTANCE_UID"


@pytest.mark.parametrize(
    ("uid", "expected"),
    [
        ("1.02.3", "1.02.3"),
        ("1.2\0", "1.2"),
        ("1.2 ", "1.2"),
        (" 1.2", "1.2"),
        ("\0 1.2 \0", "1.2"),
        ("0", "0"),
        ("1" * 64, "1" * 64),
        (" " + "1" * 64, "1" * 64),
    ],
)
def test_leading_zeros_and_padding_on_both_sides_are_let_in(uid: str, expected: str) -> None:
    header = header_of(identity(study=uid, series=uid, sop=uid))
    assert header[:3] == (expected, expected, expected)
    members = json.loads(header.metadata)
    for tag in ("0020000D", "0020000E", "00080018"):
        assert members[tag]["Value"] == [expected]


@pytest.mark.parametrize(
    ("value", "modality"),
    [
        ("CT", "CT"),
        ("OT ", "OT"),
        (" MR", "MR"),
        ("\0US\0", "US"),
        ("", ""),
        ("ct", ""),
        ("CT\\MR", ""),
        ("X" * 17, ""),
    ],
)
def test_an_odd_modality_is_left_empty(value: str, modality: str) -> None:
    data_set = element(0x00080060, "CS", value) + identity()
    assert header_of(data_set).modality == modality


@pytest.mark.parametrize(
    ("value", "frames"),
    [("3", 3), (" 10 ", 10), ("+2", 2), ("", 1), ("0", 1), ("-4", 1), ("1A", 1), ("2\\3", 1)],
)
def test_an_odd_number_of_frames_counts_as_one(value: str, frames: int) -> None:
    data_set = identity() + element(0x00280008, "IS", value)
    assert header_of(data_set).number_of_frames == frames


@pytest.mark.parametrize("value", ["", "Secondary Capture", "1.2\\1.3"])
def test_an_odd_sop_class_is_no_failure(value: str) -> None:
    data_set = identity() + element(0x00080016, "UI", value)
    assert header_of(data_set).sop_class_uid == ""


def test_a_dicomdir_is_told_by_its_sop_class() -> None:
    meta = file_meta(EXPLICIT, element(0x00020002, "UI", "1.2.840.10008.1.3.10"))
    assert code_of(part10(element(0x00041130, "CS", "DISK"), meta=meta)) == "DICOMDIR"


def test_a_dicomdir_is_told_by_its_records() -> None:
    records = sequence(0x00041220, item(element(0x00041430, "CS", "PATIENT")))
    assert code_of(part10(records)) == "DICOMDIR"


def test_an_error_says_a_remedy_and_crosses_processes() -> None:
    error = InstanceError(Reason.TRUNCATED)
    again = error.__reduce__()[0](*error.__reduce__()[1])
    assert again.reason == error.reason == Reason("TRUNCATED").sentence


def test_headers_agree_with_the_inventory_of_the_corpus() -> None:
    corpus_files()
    with (CORPUS / "inventory.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    truncated = set()
    for row in rows:
        defects = row["defects"].split()
        try:
            header = read_header(BytesReader((CORPUS / row["path"]).read_bytes()))
        except InstanceError as error:
            match error.code:
                case "NOT_DICOM" | "GZIPPED":
                    assert row["parses_pydicom"] != "yes", row["path"]
                case "DICOMDIR":
                    assert "dicomdir" in defects, row["path"]
                case "MISSING_STUDY_INSTANCE_UID":
                    assert "no-StudyUID" in defects, row["path"]
                case "INVALID_STUDY_INSTANCE_UID":
                    assert "invalid-value" in defects, row["path"]
                case "TRUNCATED":
                    truncated.add(row["path"].rsplit("/", 1)[1])
                case code:
                    raise AssertionError((row["path"], code)) from None
            continue
        assert header.sop_instance_uid == row["sop_instance_uid"], row["path"]
        assert header.sop_class_uid == row["sop_class_uid"], row["path"]
        assert header.modality == row["modality"], row["path"]
        if "no-meta" not in defects and "meta-no-ts" not in defects:
            assert header.transfer_syntax_uid == row["transfer_syntax_uid"], row["path"]
    assert truncated == {
        "MR_truncated.dcm",
        "emri_small_jpeg_2k_lossless_too_short.dcm",
        "rtplan_truncated.dcm",
    }
