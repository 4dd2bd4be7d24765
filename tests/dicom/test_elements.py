"""The structure of data sets (PS3.5 Section 7): what is read, what is refused."""

import struct

import pytest

from dicomferry.dicom.byte_window import MemoryWindow
from dicomferry.dicom.elements import MAX_NESTING, Element, ElementReader
from dicomferry.dicom.encoding import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    UNDEFINED_LENGTH,
    DataSetEncoding,
)
from dicomferry.dicom.header import read_header
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.dicom.tags import ITEM, ITEM_END, SEQUENCE_END
from dicomferry.errors import InstanceError
from tests.dicom.factories import delimiter, element, identity, item, part10, sequence

ENCODINGS = [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG]
CONTENT = 0x0040A730  # Content Sequence, nests in itself
NAME = 0x00100010


def read(data_set: bytes, encoding: DataSetEncoding = EXPLICIT_LITTLE) -> list[Element]:
    return list(ElementReader(MemoryWindow(data_set)).read(0, encoding))


def read_short(
    data_set: bytes, encoding: DataSetEncoding = EXPLICIT_LITTLE
) -> list[tuple[int, str]]:
    return [(tag, vr) for tag, vr, _, _, _ in read(data_set, encoding)]


def code_of(data_set: bytes, encoding: DataSetEncoding = EXPLICIT_LITTLE) -> str:
    with pytest.raises(InstanceError) as caught:
        read(data_set, encoding)
    return caught.value.code


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_element_is_its_tag_vr_place_and_bytes(encoding: DataSetEncoding) -> None:
    data_set = element(0x00080060, "CS", "MR", encoding) + element(NAME, "PN", "A^B ", encoding)
    assert read(data_set, encoding) == [
        (0x00080060, "CS", 8, 2, b"MR"),
        (NAME, "PN", 18, 4, b"A^B "),
    ]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("undefined", [False, True])
def test_lengths_and_delimiters_give_the_same_structure(
    encoding: DataSetEncoding, undefined: bool
) -> None:
    name = element(NAME, "PN", "A^B ", encoding)
    inner = sequence(
        CONTENT,
        item(name, encoding.order, undefined),
        item(b"", encoding.order, undefined),
        encoding=encoding,
        undefined=undefined,
    )
    outer = sequence(
        CONTENT,
        item(inner + element(0x0040DB00, "CS", "X ", encoding), encoding.order, undefined),
        encoding=encoding,
        undefined=undefined,
    )
    assert read_short(outer + element(0x00880140, "UI", "1\0", encoding), encoding) == [
        (CONTENT, "SQ"),
        (ITEM, encoding.order),
        (CONTENT, "SQ"),
        (ITEM, encoding.order),
        (NAME, "PN"),
        (ITEM_END, ""),
        (ITEM, encoding.order),
        (ITEM_END, ""),
        (SEQUENCE_END, ""),
        (0x0040DB00, "CS"),
        (ITEM_END, ""),
        (SEQUENCE_END, ""),
        (0x00880140, "UI"),
    ]


@pytest.mark.parametrize("explicit", [EXPLICIT_LITTLE, EXPLICIT_BIG])
def test_unknown_of_undefined_length_is_an_implicit_little_endian_sequence(
    explicit: DataSetEncoding,
) -> None:
    content = item(element(NAME, "PN", "A^B ", IMPLICIT_LITTLE)) + delimiter(0xFFFEE0DD)
    data_set = element(0x00091001, "UN", content, explicit, UNDEFINED_LENGTH)
    assert read(data_set, explicit)[:3] == [
        (0x00091001, "SQ", 12, UNDEFINED_LENGTH, b""),
        (ITEM, "<", 20, 12, b""),
        (NAME, "PN", 28, 4, b"A^B "),
    ]


def test_items_in_implicit_vr_within_an_explicit_data_set() -> None:
    data_set = sequence(CONTENT, item(element(NAME, "PN", "A^B ", IMPLICIT_LITTLE)))
    assert (NAME, "PN") in read_short(data_set)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_unknown_is_resolved_where_the_dictionary_knows_the_tag(encoding: DataSetEncoding) -> None:
    assert read(element(NAME, "UN", "A^B ", encoding), encoding)[0][1] == "PN"


@pytest.mark.parametrize("encoding", [IMPLICIT_LITTLE, EXPLICIT_LITTLE])
def test_what_the_dictionary_takes_for_a_sequence_must_start_with_an_item(
    encoding: DataSetEncoding,
) -> None:
    data_set = element(0x20010010, "LO", "Philips Imaging DD 001", encoding)
    data_set += element(0x2001105F, "UN", b"no item!", encoding)
    assert read_short(data_set, encoding)[1] == (0x2001105F, "UN")
    of_items = data_set[:-8] + item(b"")
    assert read_short(of_items, encoding)[1] == (0x2001105F, "SQ")


def test_a_long_unknown_stays_unknown() -> None:
    data_set = element(0x00081195, "UN", bytes(0x10000))
    assert read(data_set) == [(0x00081195, "UN", 12, 0x10000, b"")]


@pytest.mark.parametrize("encoding", [IMPLICIT_LITTLE, EXPLICIT_LITTLE])
def test_private_elements_are_known_by_their_creator(encoding: DataSetEncoding) -> None:
    known = element(0x00290010, "LO", "SIEMENS CSA HEADER", encoding)
    other = element(0x00290011, "LO", "SOMEBODY", encoding)
    data_set = known + other
    data_set += element(0x00291008, "UN", "IMAGE ", encoding)
    data_set += element(0x00291108, "UN", "IMAGE ", encoding)
    assert read_short(data_set, encoding) == [
        (0x00290010, "LO"),
        (0x00290011, "LO"),
        (0x00291008, "CS"),
        (0x00291108, "UN"),
    ]


def test_a_creator_holds_for_its_own_data_set_only() -> None:
    private = element(0x00291008, "UN", "IMAGE ", IMPLICIT_LITTLE)
    data_set = element(0x00290010, "LO", "SIEMENS CSA HEADER", IMPLICIT_LITTLE)
    data_set += sequence(CONTENT, item(private), encoding=IMPLICIT_LITTLE)
    assert (0x00291008, "UN") in read_short(data_set, IMPLICIT_LITTLE)


def test_a_private_sequence_of_undefined_length_in_implicit_vr() -> None:
    content = item(element(NAME, "PN", "A^B ", IMPLICIT_LITTLE)) + delimiter(0xFFFEE0DD)
    data_set = element(0x00091001, "", content, IMPLICIT_LITTLE, UNDEFINED_LENGTH)
    assert read_short(data_set, IMPLICIT_LITTLE)[0] == (0x00091001, "SQ")


def test_a_vr_that_nobody_knows_has_the_long_form_by_the_standard() -> None:
    head = struct.pack("<HH", 0x0009, 0x1001)
    long_form = head + b"ZZ\0\0" + struct.pack("<L", 4) + b"abcd"
    short_form = head + b"ZZ" + struct.pack("<H", 4) + b"abcd"
    name = element(NAME, "PN", "A^B ")
    assert read(long_form + name)[0] == (0x00091001, "UN", 12, 4, b"")
    assert read(short_form + name)[0] == (0x00091001, "UN", 8, 4, b"")
    assert read_short(long_form + name)[1] == read_short(short_form + name)[1] == (NAME, "PN")


def test_an_encapsulated_value_within_an_item_is_passed_over() -> None:
    fragments = item(b"") + item(b"\xfe\xff\xdd\xe0" + bytes(4)) + delimiter(0xFFFEE0DD)
    icon = element(0x7FE00010, "OB", fragments, length=UNDEFINED_LENGTH)
    data_set = sequence(0x00880200, item(icon + element(0x7FE10010, "LO", "A ")))
    assert read_short(data_set)[2:4] == [(0x7FE00010, "OB"), (0x7FE10010, "LO")]


@pytest.mark.parametrize("tag", [0x7FE00008, 0x7FE00009, 0x7FE00010])
def test_pixel_data_is_the_last_element(tag: int) -> None:
    data_set = element(NAME, "PN", "A ") + element(tag, "OW", bytes(64))
    data_set += element(0xFFFCFFFC, "OB", bytes(10))
    reader = ElementReader(MemoryWindow(data_set))
    elements = list(reader.read(0, EXPLICIT_LITTLE))
    assert elements[-1] == reader.pixel_data == (tag, "OW", 22, 64, b"")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("padding", [1, 7, 8, 9, 100_000])
def test_zeros_at_the_end_are_padding(encoding: DataSetEncoding, padding: int) -> None:
    data_set = element(NAME, "PN", "A^B ", encoding) + bytes(padding)
    assert read_short(data_set, encoding) == [(NAME, "PN")]


def test_odd_lengths_are_read_as_they_are() -> None:
    data_set = element(NAME, "PN", "ABC") + element(0x00100020, "LO", "1")
    assert [value for *_, value in read(data_set)] == [b"ABC", b"1"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("vr", ["PN", "OB", "UT", "SQ"])
def test_what_reaches_beyond_the_end_is_truncated(encoding: DataSetEncoding, vr: str) -> None:
    tag = {"PN": NAME, "OB": 0x00420011, "UT": 0x00081195, "SQ": CONTENT}[vr]
    data_set = element(NAME, "PN", "A ", encoding) + element(tag, vr, "", encoding, length=999)
    assert code_of(data_set, encoding) == "TRUNCATED"


@pytest.mark.parametrize("cut", range(1, 12))
def test_an_element_that_is_cut_off_is_truncated(cut: int) -> None:
    data_set = element(NAME, "PN", "A^B ")
    assert code_of(data_set[:-cut]) == "TRUNCATED"


@pytest.mark.parametrize("cut", [1, 4, 8, 9, 16, 17, 24, 30, 36])
def test_an_unended_sequence_is_truncated(cut: int) -> None:
    name = element(NAME, "PN", "A^B ")
    data_set = sequence(CONTENT, item(name, undefined=True), undefined=True)
    assert code_of(data_set[:-cut]) == "TRUNCATED"


@pytest.mark.parametrize(
    "data_set",
    [
        sequence(CONTENT, element(NAME, "PN", "A^B ")),  # no item
        sequence(CONTENT, item(element(NAME, "PN", "A ", length=20))) + bytes(40),
        element(NAME, "PN", "A ") + delimiter(0xFFFEE00D),  # nothing to end
        element(NAME, "PN", "A ") + delimiter(0xFFFEE0DD),
        sequence(CONTENT, item(delimiter(0xFFFEE0DD)), undefined=True),
        sequence(CONTENT, delimiter(ITEM, 0x1000)) + bytes(0x2000),
        element(0x00081195, "UT", "a", length=UNDEFINED_LENGTH) + bytes(20),
        element(0x00420011, "OB", "abcdefgh" * 4, length=UNDEFINED_LENGTH),
    ],
)
def test_broken_structure_is_malformed(data_set: bytes) -> None:
    assert code_of(data_set) == "MALFORMED"


def nested(depth: int, undefined: bool) -> bytes:
    data_set = element(NAME, "PN", "A ")
    for _ in range(depth):
        data_set = sequence(CONTENT, item(data_set, undefined=undefined), undefined=undefined)
    return data_set


@pytest.mark.parametrize("undefined", [False, True])
def test_deep_nesting_is_read_up_to_a_bound(undefined: bool) -> None:
    assert (NAME, "PN") in read_short(nested(MAX_NESTING, undefined))
    assert code_of(nested(MAX_NESTING + 1, undefined)) == "NESTED_TOO_DEEP"


def test_ten_thousand_levels_are_a_failure_of_the_file_alone() -> None:
    head = element(CONTENT, "SQ", b"", length=UNDEFINED_LENGTH) + delimiter(ITEM, UNDEFINED_LENGTH)
    with pytest.raises(InstanceError) as caught:
        read_header(BytesReader(part10(identity() + head * 10_000)))
    assert caught.value.code == "NESTED_TOO_DEEP"
