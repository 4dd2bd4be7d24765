"""Files that are not by the book: read whole, or refused, by import and export alike.

docs/odd-files.md says what is decided where the Standard leaves it open.
"""

import json
import struct
from io import BytesIO
from typing import Any

import pytest
from pydicom import dcmread

from dicomferry.dicom.dicom_file import open_file
from dicomferry.dicom.elements import MAX_NESTING
from dicomferry.dicom.encoding import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    UNDEFINED_LENGTH,
    DataSetEncoding,
)
from dicomferry.dicom.header import read_header
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.errors import InstanceError
from tests.dicom.factories import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    SOP,
    Ranges,
    deflate,
    delimiter,
    element,
    file_meta,
    identity,
    item,
    part10,
    sequence,
)
from tests.dicom.test_one_reader import check_same_places
from tests.pixels.instances import to_dicom

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
ENCODINGS = {
    IMPLICIT: IMPLICIT_LITTLE,
    EXPLICIT: EXPLICIT_LITTLE,
    BIG_ENDIAN: EXPLICIT_BIG,
    DEFLATED: EXPLICIT_LITTLE,
}
EXPLICITS = [EXPLICIT, BIG_ENDIAN, DEFLATED]
NATIVE = ["", ".1", ".1.99"]
AGE, NAME, SEX, CONTENT = 0x00101010, 0x00100010, 0x00100040, 0x0040A730
ITEM_END, SEQUENCE_END = 0xFFFEE00D, 0xFFFEE0DD
PIXELS = bytes(range(256)) * 512  # so large that a wrong length falls into it


def us(tag: int, value: int, encoding: DataSetEncoding) -> bytes:
    return element(tag, "US", struct.pack(f"{encoding.order}H", value), encoding)


def image(encoding: DataSetEncoding) -> bytes:
    """Return the attributes of 256 x 512 pixels of 8 bits, and the pixels."""
    return (
        us(0x00280002, 1, encoding)
        + element(0x00280004, "CS", "MONOCHROME2 ", encoding)
        + us(0x00280010, 512, encoding)
        + us(0x00280011, 256, encoding)
        + us(0x00280100, 8, encoding)
        + us(0x00280101, 8, encoding)
        + us(0x00280102, 7, encoding)
        + us(0x00280103, 0, encoding)
        + element(0x7FE00010, "OB", PIXELS, encoding)
    )


def members_of(file: bytes) -> dict[str, Any]:
    """Return Metadata, after checking that it is the same by ranges, and in the same places."""
    header = read_header(BytesReader(file))
    assert read_header(Ranges(file)) == header
    check_same_places(file)
    members: dict[str, Any] = json.loads(header.metadata)
    return members


def outcome(file: bytes) -> str:
    """Return the code with which both ways of reading fail; an export fails too."""
    codes = set()
    for readable in (BytesReader(file), Ranges(file)):
        with pytest.raises(InstanceError) as caught:
            read_header(readable)
        codes.add(caught.value.code)
    with pytest.raises(InstanceError):
        to_dicom(file, ".5")
    (code,) = codes
    return str(code)


def check_exports(file: bytes, *tags: int) -> None:
    """Assert that each export has the pixels and these tags, as pydicom reads it."""
    stored = members_of(file)
    for target in (*NATIVE, ".5"):
        exported = to_dicom(file, target)
        if exported == file:  # of the same syntax it is a copy
            continue
        members = members_of(exported)
        for tag in tags:
            assert members[f"{tag:08X}"] == stored[f"{tag:08X}"]
        read = dcmread(BytesIO(exported))
        assert all(tag in read for tag in tags)
        if target != ".5":
            assert read.PixelData == PIXELS
        else:
            assert read.pixel_array.tobytes() == PIXELS


def without_vr(
    tag: int, code: bytes, value: bytes, encoding: DataSetEncoding = EXPLICIT_LITTLE
) -> bytes:
    """Encode an element whose two bytes of VR are none, with a length of 16 bits."""
    head = struct.pack(f"{encoding.order}HH", tag >> 16, tag & 0xFFFF)
    return head + code + struct.pack(f"{encoding.order}H", len(value)) + value


NO_VRS = [b"  ", b"??", b"\0\0", b"as", b"A1", b"As", b"\xff\xff", b"\x01\0", b"ZZ", b"QQ"]


@pytest.mark.parametrize("code", NO_VRS)
@pytest.mark.parametrize("syntax", EXPLICITS)
def test_two_bytes_that_are_no_vr_come_before_a_length_of_16_bits(syntax: str, code: bytes) -> None:
    encoding = ENCODINGS[syntax]
    odd = without_vr(AGE, code, b"040Y", encoding)
    empty = without_vr(SEX, code, b"", encoding)
    data_set = identity(encoding=encoding) + empty + odd + image(encoding)
    members = members_of(part10(data_set, syntax))
    assert members[f"{AGE:08X}"] == {"vr": "AS", "Value": ["040Y"]}
    assert members[f"{SEX:08X}"] == {"vr": "CS"}
    assert members["00280010"]["Value"] == [512]
    assert "7FE00010" in members


@pytest.mark.parametrize("code", NO_VRS)
@pytest.mark.parametrize("syntax", EXPLICITS)
def test_exports_of_elements_without_a_vr_give_them_one(syntax: str, code: bytes) -> None:
    encoding = ENCODINGS[syntax]
    odd = without_vr(AGE, code, b"040Y", encoding)
    private = without_vr(0x00111001, code, b"abcd", encoding)
    data_set = identity(encoding=encoding) + odd + private + image(encoding)
    file = part10(data_set, syntax)
    assert members_of(file)["00111001"]["vr"] == "UN"
    check_exports(file, AGE)


@pytest.mark.parametrize("code", NO_VRS)
@pytest.mark.parametrize("syntax", EXPLICITS)
@pytest.mark.parametrize("undefined", [False, True])
def test_elements_without_a_vr_in_items(syntax: str, code: bytes, undefined: bool) -> None:
    """As the first, the only and the last element of an item."""
    encoding = ENCODINGS[syntax]
    odd = without_vr(AGE, code, b"040Y", encoding)
    name, order = element(NAME, "PN", "A^B ", encoding), encoding.order
    size = element(0x00101020, "DS", "1.75", encoding)
    contents = (odd + size, odd, name + odd)
    nest = sequence(
        CONTENT,
        *(item(content, order, undefined) for content in contents),
        encoding=encoding,
        undefined=undefined,
    )
    members = members_of(part10(identity(encoding=encoding) + nest + image(encoding), syntax))
    items = members[f"{CONTENT:08X}"]["Value"]
    assert [sorted(one) for one in items] == [
        ["00101010", "00101020"],
        ["00101010"],
        ["00100010", "00101010"],
    ]
    assert all(one[f"{AGE:08X}"] == {"vr": "AS", "Value": ["040Y"]} for one in items)
    assert "7FE00010" in members


@pytest.mark.parametrize("code", NO_VRS)
@pytest.mark.parametrize("syntax", EXPLICITS)
def test_a_data_set_that_starts_without_a_vr(syntax: str, code: bytes) -> None:
    encoding = ENCODINGS[syntax]
    odd = without_vr(0x00080008, code, rb"ORIGINAL\PRIMARY ", encoding)
    file = part10(odd + identity(encoding=encoding) + image(encoding), syntax)
    assert members_of(file)["00080008"] == {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY"]}
    check_exports(file, 0x00080008)


@pytest.mark.parametrize("code", [b"  ", b"??", b"\0\0", b"us"])
def test_no_element_has_a_vr(code: bytes) -> None:
    parts = [
        (0x00080018, SOP.encode()),
        (NAME, b"A^B "),
        (0x0020000D, b"1.2"),
        (0x0020000E, b"1.3"),
    ]
    data_set = b"".join(without_vr(tag, code, value) for tag, value in parts)
    header = read_header(BytesReader(part10(data_set)))
    assert header[:3] == ("1.2", "1.3", SOP)


def test_the_dictionary_knows_private_elements_without_a_vr_by_their_creator() -> None:
    data_set = element(0x00290010, "LO", "SIEMENS CSA HEADER")
    data_set += without_vr(0x00291008, b"??", b"IMAGE ")
    assert members_of(part10(identity() + data_set))["00291008"]["vr"] == "CS"


@pytest.mark.parametrize("order", [EXPLICIT_LITTLE, EXPLICIT_BIG])
def test_an_element_in_implicit_vr_in_an_explicit_data_set(order: DataSetEncoding) -> None:
    implicit = DataSetEncoding(True, order.order)
    syntax = EXPLICIT if order == EXPLICIT_LITTLE else BIG_ENDIAN
    data_set = identity(encoding=order) + element(
        0x00280002, "US", struct.pack(f"{order.order}H", 1), implicit
    )
    data_set += element(0x00280004, "CS", "MONOCHROME2 ", implicit) + us(0x00280010, 24, implicit)
    members = members_of(part10(data_set + us(0x00280011, 8, order), syntax))
    assert [members[tag]["Value"] for tag in ("00280002", "00280004", "00280010", "00280011")] == [
        [1],
        ["MONOCHROME2"],
        [24],
        [8],
    ]


def test_where_no_length_leads_to_an_element_the_file_is_refused() -> None:
    data_set = (
        identity()
        + struct.pack("<HH2sH", 0x0010, 0x1010, b"??", 6)
        + b"040Y"
        + image(EXPLICIT_LITTLE)
    )
    assert outcome(part10(data_set)) == "MALFORMED"


ZEROS = [4, 6, 8, 10, 12, 16, 22, 30, 512, 65_536, 65_550, 100_006]


@pytest.mark.parametrize("zeros", ZEROS)
@pytest.mark.parametrize("syntax", ENCODINGS)
def test_zeros_do_not_end_a_data_set_that_goes_on(syntax: str, zeros: int) -> None:
    """At its start, in its midst, before the pixels, and after the pixels."""
    encoding = ENCODINGS[syntax]
    gap = bytes(zeros)
    after = element(0xFFFCFFFC, "OB", b"\1\2", encoding)
    name = element(NAME, "PN", "A^B ", encoding)
    start, middle = identity(encoding=encoding), image(encoding)
    for data_set in (
        gap + start + name + middle + after,
        start + gap + name + middle + after,
        start + name + middle[: -len(PIXELS) - 12] + gap + middle[-len(PIXELS) - 12 :] + after
        if encoding.explicit
        else start + name + middle[: -len(PIXELS) - 8] + gap + middle[-len(PIXELS) - 8 :] + after,
        start + name + middle + gap + after,
    ):
        file = part10(data_set, syntax)
        members = members_of(file)
        assert members[f"{NAME:08X}"]["Value"] == [{"Alphabetic": "A^B"}]
        assert members["00280011"]["Value"] == [256]
        assert members["7FE00010"]["BulkDataURI"].endswith(f"length={len(PIXELS)}")
        if zeros in (8, 22):
            check_exports(file, NAME, 0x00280011)
            assert 0xFFFCFFFC in dcmread(BytesIO(to_dicom(file, ".5")))


@pytest.mark.parametrize("zeros", [8, 12, 512])
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", ENCODINGS)
def test_zeros_within_an_item(syntax: str, undefined: bool, zeros: int) -> None:
    encoding = ENCODINGS[syntax]
    content = element(NAME, "PN", "A^B ", encoding) + bytes(zeros)
    content += element(AGE, "AS", "040Y", encoding) + bytes(zeros)
    nest = sequence(
        CONTENT, item(content, encoding.order, undefined), encoding=encoding, undefined=undefined
    )
    members = members_of(part10(identity(encoding=encoding) + nest + image(encoding), syntax))
    assert sorted(members[f"{CONTENT:08X}"]["Value"][0]) == ["00100010", "00101010"]
    assert members["00280011"]["Value"] == [256]


@pytest.mark.parametrize("zeros", [1, 2, 3, 5, 7, 9, 13, 511])
@pytest.mark.parametrize("syntax", ENCODINGS)
def test_an_odd_number_of_zeros_loses_nothing_without_a_word(syntax: str, zeros: int) -> None:
    encoding = ENCODINGS[syntax]
    file = part10(identity(encoding=encoding) + bytes(zeros) + image(encoding), syntax)
    try:
        members = json.loads(read_header(BytesReader(file)).metadata)
    except InstanceError as error:
        assert error.code in ("MALFORMED", "TRUNCATED")
    else:
        assert members["00280011"]["Value"] == [256]
        assert "7FE00010" in members


@pytest.mark.parametrize("length", [1, 4, 0xFFFF, 0x10000000, UNDEFINED_LENGTH])
@pytest.mark.parametrize("syntax", ENCODINGS)
def test_a_delimiter_ends_what_it_ends_whatever_its_length_says(syntax: str, length: int) -> None:
    encoding = ENCODINGS[syntax]
    order = encoding.order
    content = element(NAME, "PN", "A^B ", encoding)
    one = (
        delimiter(0xFFFEE000, UNDEFINED_LENGTH, order)
        + content
        + delimiter(ITEM_END, length, order)
    )
    value = one + one + delimiter(SEQUENCE_END, length, order)
    nest = element(CONTENT, "SQ", value, encoding, UNDEFINED_LENGTH)
    file = part10(identity(encoding=encoding) + nest + image(encoding), syntax)
    assert len(members_of(file)[f"{CONTENT:08X}"]["Value"]) == 2
    check_exports(file, CONTENT)


@pytest.mark.parametrize("length", [0, 1, 0xFFFF, UNDEFINED_LENGTH])
@pytest.mark.parametrize("fragments", [1, 1500])
def test_a_delimiter_ends_fragments_whatever_its_length_says(fragments: int, length: int) -> None:
    value = item(b"") + item(b"\xff\xd8\xff\xd9") * fragments + delimiter(SEQUENCE_END, length)
    data_set = identity() + element(0x7FE00010, "OB", value, length=UNDEFINED_LENGTH)
    for after in (b"", bytes(64), element(0xFFFCFFFC, "OB", bytes(70_000))):
        if fragments == 1 or len(after) < 64_000:
            members_of(part10(data_set + after, JPEG_BASELINE))
    with pytest.raises(InstanceError, match="TRUNCATED"):
        read_header(BytesReader(part10(data_set, JPEG_BASELINE)[:-1]))


@pytest.mark.parametrize("length", [0, 4])
@pytest.mark.parametrize("syntax", ENCODINGS)
def test_a_delimiter_after_what_has_a_length_is_passed_over(syntax: str, length: int) -> None:
    """After sequences, within sequences, after items and within items of defined length."""
    encoding = ENCODINGS[syntax]
    order = encoding.order
    item_end, sequence_end = (
        delimiter(ITEM_END, length, order),
        delimiter(SEQUENCE_END, length, order),
    )
    one = item(element(NAME, "PN", "A^B ", encoding), order)
    ended = item(element(NAME, "PN", "A^B ", encoding) + item_end, order)
    after = sequence(CONTENT, one, encoding=encoding) + sequence_end
    nests = [
        after,
        sequence(CONTENT, one + sequence_end, encoding=encoding),
        sequence(CONTENT, one + item_end, encoding=encoding),
        sequence(CONTENT, one + item_end, encoding=encoding, undefined=True),
        sequence(CONTENT, ended, encoding=encoding),
        sequence(CONTENT, one + sequence_end + one, encoding=encoding),
        sequence(CONTENT, item(after, order, undefined=True), encoding=encoding, undefined=True),
    ]
    for nest, items in zip(nests, [1, 1, 1, 1, 1, 2, 1], strict=True):
        file = part10(identity(encoding=encoding) + nest + image(encoding), syntax)
        assert len(members_of(file)[f"{CONTENT:08X}"]["Value"]) == items
        if length:  # pydicom cannot read it, where a sequence is copied
            for target in NATIVE:
                assert "7FE00010" in members_of(to_dicom(file, target))
        else:
            check_exports(file, CONTENT)


@pytest.mark.parametrize("tag", [0xFFFEE000, ITEM_END, SEQUENCE_END])
def test_a_delimiter_with_a_vr_is_refused(tag: int) -> None:
    """Nobody knows whether it ends what it is in."""
    odd = element(NAME, "PN", "A^B ") + element(tag, "US", b"\1\0") + element(AGE, "AS", "040Y")
    for content in (
        odd,
        sequence(CONTENT, item(odd)),
        sequence(CONTENT, item(odd, undefined=True)),
    ):
        with pytest.raises(InstanceError, match="MALFORMED"):
            read_header(BytesReader(part10(identity() + content + image(EXPLICIT_LITTLE))))


@pytest.mark.parametrize("zeros", [4, 8, 70_000])
@pytest.mark.parametrize("syntax", ENCODINGS)
def test_zeros_before_what_is_no_element_are_refused_alike(syntax: str, zeros: int) -> None:
    """Read from memory and by ranges; also where a deflated stream ends with them."""
    garbage = bytes(zeros) + b"no element at all"
    encoding = ENCODINGS[syntax]
    nest = delimiter(0xFFFEE000, UNDEFINED_LENGTH, encoding.order) + garbage[:-17]
    unended = element(CONTENT, "SQ", nest, encoding, UNDEFINED_LENGTH)
    for data_set in (
        garbage + identity(encoding=encoding),
        identity(encoding=encoding) + garbage,
        identity(encoding=encoding) + unended,
    ):
        assert outcome(part10(data_set, syntax)) in ("MALFORMED", "TRUNCATED")


def test_a_delimiter_where_nothing_has_to_end_is_refused() -> None:
    for stray in (
        element(NAME, "PN", "A ") + delimiter(SEQUENCE_END),
        element(NAME, "PN", "A ") + delimiter(ITEM_END),
        sequence(CONTENT, item(b""), undefined=True) + delimiter(SEQUENCE_END),
        sequence(CONTENT, item(b"")) + delimiter(SEQUENCE_END) + delimiter(SEQUENCE_END),
    ):
        with pytest.raises(InstanceError, match="MALFORMED"):
            read_header(BytesReader(part10(identity() + stray + image(EXPLICIT_LITTLE))))


def meta_of(syntax: str, version: str, encoding: DataSetEncoding = EXPLICIT_LITTLE) -> bytes:
    body = element(0x00020001, "OB", b"\0\1", encoding)
    body += element(0x00020010, "UI", syntax + "\0" * (len(syntax) % 2), encoding)
    body += element(0x00020013, "SH", version, encoding)
    body += element(0x00020100, "UI", "1.2.3\0", encoding) + element(
        0x00020102, "OB", b"abcd", encoding
    )
    return element(0x00020000, "UL", struct.pack("<L", len(body)), encoding) + body


@pytest.mark.parametrize("second", [EXPLICIT, IMPLICIT, JPEG_BASELINE, BIG_ENDIAN])
def test_of_two_groups_of_file_meta_the_first_one_counts(second: str) -> None:
    meta = file_meta(EXPLICIT)
    others = [
        meta_of(second, "OLD "),
        element(0x00020010, "UI", second) + element(0x00020013, "SH", "OLD "),
    ]
    for other in others:
        file = part10(identity() + image(EXPLICIT_LITTLE), meta=meta + other)
        header = read_header(BytesReader(file))
        members = members_of(file)
        assert header.transfer_syntax_uid == EXPLICIT == members["00020010"]["Value"][0]
        assert "00020013" not in members
        check_exports(file, 0x00280010)
        assert 0x00020013 not in dcmread(BytesIO(to_dicom(file, ".5"))).file_meta


def test_a_first_group_without_a_transfer_syntax_takes_the_one_of_the_second() -> None:
    meta = file_meta(None) + file_meta(JPEG_BASELINE)
    header = read_header(BytesReader(part10(identity(), meta=meta)))
    assert header.transfer_syntax_uid == JPEG_BASELINE


@pytest.mark.parametrize("syntax", ENCODINGS)
def test_file_meta_in_implicit_vr_is_imported_and_exported_whole(syntax: str) -> None:
    encoding = ENCODINGS[syntax]
    meta = meta_of(syntax, "MINE", IMPLICIT_LITTLE)
    data_set = identity(encoding=encoding) + image(encoding)
    file = part10(deflate(data_set) if syntax == DEFLATED else data_set, meta=meta)
    members = members_of(file)
    assert members["00020013"] == {"vr": "SH", "Value": ["MINE"]}
    for target in (*NATIVE, ".5"):
        exported = dcmread(BytesIO(to_dicom(file, target))).file_meta
        assert exported.ImplementationVersionName == "MINE"
        assert exported.PrivateInformation == b"abcd"


@pytest.mark.parametrize("code", [b"  ", b"??", b"\0\0"])
def test_file_meta_without_vrs(code: bytes) -> None:
    meta = element(0x00020001, "OB", b"\0\1") + without_vr(
        0x00020010, code, EXPLICIT.encode() + b"\0"
    )
    file = part10(
        identity() + image(EXPLICIT_LITTLE), meta=meta + without_vr(0x00020013, code, b"MINE")
    )
    assert members_of(file)["00020013"] == {"vr": "SH", "Value": ["MINE"]}
    check_exports(file, 0x00280010)


GARBAGE = [
    b"\n",
    b"\r\n" * 20,
    b"--boundary--\r\n",
    b"\xff" * 50,
    bytes(20) + b"garbage, not DICOM",
]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("syntax", ENCODINGS)
def test_bytes_after_pixel_data_that_are_no_element_are_left_out_of_exports(
    syntax: str, garbage: bytes
) -> None:
    encoding = ENCODINGS[syntax]
    padding = element(0xFFFCFFFC, "OB", b"\1\2", encoding)
    for after in (garbage, padding + garbage):
        file = part10(identity(encoding=encoding) + image(encoding) + after, syntax)
        check_exports(file, 0x00280010)
        exported = to_dicom(file, ".5")
        assert (0xFFFCFFFC in dcmread(BytesIO(exported))) == (after != garbage)
        assert garbage not in exported or len(garbage) == 1


@pytest.mark.parametrize("syntax", ENCODINGS)
@pytest.mark.parametrize("cut", [1, 8])
def test_a_sequence_after_pixel_data_that_is_cut_off_is_refused(syntax: str, cut: int) -> None:
    encoding = ENCODINGS[syntax]
    content = item(element(NAME, "PN", "A^B ", encoding), encoding.order, undefined=True)
    after = sequence(0xFFFAFFFA, content, encoding=encoding, undefined=True)
    data_set = identity(encoding=encoding) + image(encoding) + after
    members_of(part10(data_set, syntax))
    assert outcome(part10(data_set[:-cut], syntax)) == "TRUNCATED"


@pytest.mark.parametrize("after", [b"\n", b"\r\n", b"garbage", b"\xff" * 50, b"0" * 200])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_bytes_after_the_last_element_are_told_from_no_broken_transfer(
    syntax: str, after: bytes
) -> None:
    encoding = ENCODINGS[syntax]
    data_set = identity(encoding=encoding) + element(NAME, "PN", "A^B ", encoding)
    assert outcome(part10(data_set + after, syntax)) in ("TRUNCATED", "MALFORMED")


@pytest.mark.parametrize("with_pixels", [False, True])
def test_a_deflated_stream_that_is_cut_off_after_the_header_is_refused(with_pixels: bool) -> None:
    data_set = identity() + (image(EXPLICIT_LITTLE) if with_pixels else b"")
    whole = part10(data_set, DEFLATED)
    read_header(BytesReader(whole))
    compressed = len(deflate(data_set))
    for cut in (1, 2, compressed // 8):
        assert outcome(whole[:-cut]) == "TRUNCATED"


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_too_many_levels_are_refused_by_an_import_however_they_are_encoded(syntax: str) -> None:
    """An export that copies the bytes of a sequence does not look into it."""
    encoding = ENCODINGS[syntax]
    for undefined in (False, True):
        data_set = element(NAME, "PN", "A ", encoding)
        for _ in range(MAX_NESTING + 1):
            inner = item(data_set, encoding.order, undefined)
            data_set = sequence(CONTENT, inner, encoding=encoding, undefined=undefined)
        file = part10(identity(encoding=encoding) + data_set, syntax)
        with pytest.raises(InstanceError, match="NESTED_TOO_DEEP"):
            read_header(BytesReader(file))
        if not undefined:
            assert data_set in to_dicom(file, ".1" if syntax == EXPLICIT else "")


@pytest.mark.parametrize("syntax", ENCODINGS)
def test_of_a_tag_that_comes_twice_exports_use_the_one_that_metadata_has(syntax: str) -> None:
    encoding = ENCODINGS[syntax]
    twice = us(0x00280010, 7, encoding)
    file = part10(identity(encoding=encoding) + twice + image(encoding), syntax)
    assert members_of(file)["00280010"]["Value"] == [512]
    value = open_file(BytesReader(file)).value(0x00280010)
    assert value == struct.pack(f"{encoding.order}H", 512)
