"""Metadata where pydicom is no judge: the named differences, and the text itself."""

import json
from typing import Any

import pytest

from dicomferry.dicom.encoding import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    UNDEFINED_LENGTH,
    DataSetEncoding,
)
from dicomferry.dicom.header import read_header
from dicomferry.dicom.range_reader import BytesReader
from tests.dicom.factories import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    SOP,
    delimiter,
    element,
    file_meta,
    identity,
    item,
    part10,
    sequence,
)
from tests.dicom.reference import referenced


def member_of(tag: int, data_set: bytes, syntax: str = EXPLICIT) -> Any:
    """Return what Metadata says of a tag, the data set being completed to an instance."""
    encoding = {IMPLICIT: IMPLICIT_LITTLE, BIG_ENDIAN: EXPLICIT_BIG}.get(syntax, EXPLICIT_LITTLE)
    file = part10(identity(encoding=encoding) + data_set, syntax)
    return json.loads(read_header(BytesReader(file)).metadata)[f"{tag:08X}"]


def value_of(tag: int, vr: str, value: bytes | str, syntax: str = EXPLICIT) -> Any:
    encoding = {IMPLICIT: IMPLICIT_LITTLE, BIG_ENDIAN: EXPLICIT_BIG}.get(syntax, EXPLICIT_LITTLE)
    member = member_of(tag, element(tag, vr, value, encoding), syntax)
    assert member.pop("vr") == vr
    return member.pop("Value", None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1.50", ["1.50"]),
        ("0.1000000000000000055511151231257827", ["0.1000000000000000055511151231257827"]),
        (" 1.0\\ 2.00\\ ", ["1.0", "2.00", None]),
        ("1,5", ["1,5"]),
        ("", None),
    ],
)
def test_decimal_strings_keep_every_digit(value: str, expected: object) -> None:
    assert value_of(0x00181149, "DS", value) == expected


@pytest.mark.parametrize(("value", "expected"), [("007", ["007"]), ("1A", ["1A"]), (" ", None)])
def test_integer_strings_are_kept_as_they_are(value: str, expected: object) -> None:
    assert value_of(0x00201208, "IS", value) == expected


def test_numbers_of_a_wrong_length_are_kept_as_text() -> None:
    assert value_of(0x00280010, "US", b"512") == ["512"]
    assert value_of(0x00189313, "FD", b"\xe9") == ["é"]


def test_what_json_has_no_number_for_is_text() -> None:
    infinite = b"\0\0\x80\x7f" + b"\0\0\x80\xff" + b"\0\0\xc0\x7f" + b"\0\0\x80\x3f"
    assert value_of(0x00189810, "FL", infinite) == ["inf", "-inf", "NaN", 1.0]


def test_an_empty_value_among_others_is_null() -> None:
    assert value_of(0x00080008, "CS", "ORIGINAL\\\\AXIAL") == ["ORIGINAL", None, "AXIAL"]
    assert value_of(0x00100010, "PN", "\\A^B") == [None, {"Alphabetic": "A^B"}]


def test_person_names_have_component_groups() -> None:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    charset = element(0x00080005, "CS", "ISO_IR 192")
    assert member_of(0x00100010, charset + element(0x00100010, "PN", name))["Value"] == [
        {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    ]


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("=A^B", {"Ideographic": "A^B"}),
        ("==A^B", {"Phonetic": "A^B"}),
        ("A^B==C", {"Alphabetic": "A^B", "Phonetic": "C"}),
        (" =B= ", {"Ideographic": "B"}),
        ("A^B=\0\0", {"Alphabetic": "A^B"}),
        ("A=B=C=D", {"Alphabetic": "A", "Ideographic": "B", "Phonetic": "C=D"}),
        ("==", None),
        ("= =\0", None),
    ],
)
def test_only_groups_of_a_name_that_are_not_empty_are_written(
    name: str, groups: dict[str, str] | None
) -> None:
    """PS3.18 F.2.2; a fourth group, which is none, is kept with the third."""
    assert value_of(0x00100010, "PN", name) == (groups and [groups])
    several = value_of(0x00100010, "PN", f"{name}\\Z")
    assert several == [groups, {"Alphabetic": "Z"}]


# A tag of each VR of characters, and a value of it.
CHARACTERS = {
    "AE": (0x00400241, "STATION"),
    "AS": (0x00101010, "040Y"),
    "CS": (0x00080008, "ORIGINAL"),
    "DA": (0x00080020, "20240229"),
    "DS": (0x00200032, "-1.50"),
    "DT": (0x00189074, "20240229"),
    "IS": (0x00201208, "+7"),
    "LO": (0x00081080, "a b"),
    "LT": (0x00104000, "a b"),
    "PN": (0x00100010, "A^B"),
    "SH": (0x00080100, "ab"),
    "ST": (0x00080081, "a b"),
    "TM": (0x00080030, "1200"),
    "UC": (0x00080119, "ab"),
    "UI": (0x0008001A, "1.2.3"),
    "UR": (0x00080120, "http://x/y"),
    "UT": (0x0040A160, "a b"),
}
SINGLE = {"LT", "ST", "UR", "UT"}  # a backslash is a character
BOTH_SIDES = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"}


@pytest.mark.parametrize("padding", ["\0", " ", "\0\0", " \0", "\0 ", "   "])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("vr", CHARACTERS)
def test_spaces_and_nul_after_every_value_are_padding(vr: str, syntax: str, padding: str) -> None:
    tag, text = CHARACTERS[vr]
    value: Any = {"Alphabetic": text} if vr == "PN" else text
    assert value_of(tag, vr, text + padding, syntax) == [value]
    assert value_of(tag, vr, padding, syntax) is None
    if vr in SINGLE:
        return
    several = padding.join([text, f"\\{text}", "\\", f"\\{text}", ""])
    assert value_of(tag, vr, several, syntax) == [value, value, None, value]


@pytest.mark.parametrize("padding", ["\0", " ", " \0"])
@pytest.mark.parametrize("vr", sorted(BOTH_SIDES))
def test_where_spaces_before_a_value_have_no_meaning_they_are_padding(
    vr: str, padding: str
) -> None:
    tag, text = CHARACTERS[vr]
    assert value_of(tag, vr, padding + text) == [text]
    assert value_of(tag, vr, f"{padding}{text}\\{padding}{text}") == [text, text]


@pytest.mark.parametrize("vr", ["LT", "ST", "UT"])
def test_spaces_before_a_text_are_part_of_it(vr: str) -> None:
    """PS3.5 Table 6.2-1."""
    assert value_of(CHARACTERS[vr][0], vr, "  a\\ b ") == ["  a\\ b"]


def test_tags_are_eight_hexadecimal_digits() -> None:
    assert value_of(0x00280009, "AT", b"\x18\0\x63\x10\xe0\x7f\x1a\0") == ["00181063", "7FE0001A"]


def test_an_item_inherits_a_character_set_and_may_change_it() -> None:
    inherits = item(element(0x00100010, "PN", "Ü".encode("latin-1")))
    changes = item(element(0x00080005, "CS", "ISO_IR 144") + element(0x00100010, "PN", b"\xd6"))
    data_set = element(0x00080005, "CS", "ISO_IR 100")
    data_set += sequence(0x0040A730, inherits, changes, inherits)
    items = member_of(0x0040A730, data_set)["Value"]
    names = [one["00100010"]["Value"][0]["Alphabetic"] for one in items]
    assert names == ["Ü", "ж", "Ü"]


NAME, CHARSET, CONTENT = 0x00100010, 0x00080005, 0x0040A730


def name_of(members: Any) -> str:
    text: str = members[f"{NAME:08X}"]["Value"][0]["Alphabetic"]
    return text


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_a_character_set_holds_for_text_that_stands_before_it(syntax: str) -> None:
    encoding = {IMPLICIT: IMPLICIT_LITTLE, BIG_ENDIAN: EXPLICIT_BIG}.get(syntax, EXPLICIT_LITTLE)
    name = element(NAME, "PN", "Ñ^€".encode(), encoding)
    own = element(CHARSET, "CS", "ISO_IR 144", encoding)
    cyrillic = element(NAME, "PN", b"\xd6", encoding)
    inner = sequence(CONTENT, item(name, encoding.order), encoding=encoding, undefined=True)
    data_set = inner + name
    data_set += sequence(
        0x00081140,
        item(name, encoding.order),
        item(cyrillic + own, encoding.order),
        item(inner, encoding.order, undefined=True),
        encoding=encoding,
    )
    data_set += element(CHARSET, "CS", "ISO_IR 192", encoding)
    file = part10(data_set + identity(encoding=encoding), syntax)
    header = read_header(BytesReader(file))
    assert header.sop_instance_uid == SOP
    members = json.loads(header.metadata)
    assert members[f"{CHARSET:08X}"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert name_of(members) == name_of(members[f"{CONTENT:08X}"]["Value"][0]) == "Ñ^€"
    inherits, has_own, nested = members["00081140"]["Value"]
    assert (name_of(inherits), name_of(has_own)) == ("Ñ^€", "ж")
    assert name_of(nested[f"{CONTENT:08X}"]["Value"][0]) == "Ñ^€"


def test_of_two_character_sets_the_last_one_holds_for_all() -> None:
    name = element(NAME, "PN", "Ñ".encode())
    data_set = element(CHARSET, "CS", "ISO_IR 100") + name + element(CHARSET, "CS", "ISO_IR 192")
    assert member_of(NAME, data_set)["Value"] == [{"Alphabetic": "Ñ"}]


def test_text_of_the_file_meta_has_no_character_set() -> None:
    meta = file_meta(EXPLICIT, element(0x00020013, "SH", b"\xc4 "))
    charset = element(CHARSET, "CS", "ISO_IR 192")
    header = read_header(BytesReader(part10(charset + identity(), meta=meta)))
    assert json.loads(header.metadata)["00020013"]["Value"] == ["Ä"]


def test_bytes_outside_the_character_set_are_replaced() -> None:
    data_set = element(0x00080005, "CS", "ISO_IR 192") + element(0x00104000, "LT", b"a\xffb")
    assert member_of(0x00104000, data_set)["Value"] == ["a\ufffdb"]


@pytest.mark.parametrize("charset", ["ISO_IR 999", "zlib", "utf-16", "rot13", "unicode_escape"])
def test_a_character_set_that_is_none_is_the_default(charset: str) -> None:
    data_set = element(0x00080005, "CS", charset) + element(0x00104000, "LT", b"\\u0041\xe9")
    assert member_of(0x00104000, data_set)["Value"] == ["\\u0041é"]


def test_quotes_and_control_characters_are_escaped() -> None:
    text = 'say "no"\r\n\t\x00\\ end'
    assert value_of(0x00104000, "LT", text) == [text]


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_binary_values_are_references_into_the_file(syntax: str) -> None:
    encoding = {IMPLICIT: IMPLICIT_LITTLE, BIG_ENDIAN: EXPLICIT_BIG}.get(syntax, EXPLICIT_LITTLE)
    document = element(0x00420011, "OB", b"%PDF", encoding)
    file = part10(identity(encoding=encoding) + document, syntax)
    member = json.loads(read_header(BytesReader(file)).metadata)["00420011"]
    assert referenced(member["BulkDataURI"], file) == b"%PDF"


def test_references_count_in_the_inflated_data_set() -> None:
    data_set = identity() + element(0x00420011, "OB", b"%PDF")
    file = part10(data_set, DEFLATED)
    member = json.loads(read_header(BytesReader(file)).metadata)["00420011"]
    assert referenced(member["BulkDataURI"], data_set) == b"%PDF"


def test_native_pixel_data_is_a_reference_with_a_length() -> None:
    data_set = element(0x7FE00010, "OW", bytes(64))
    start = len(part10(identity())) + 12
    assert member_of(0x7FE00010, data_set) == {
        "vr": "OW",
        "BulkDataURI": f"?offset={start}&length=64",
    }


def test_encapsulated_pixel_data_is_a_reference_without_a_length() -> None:
    fragments = item(b"") + item(b"\xff\xd8\xff\xd9") + delimiter(0xFFFEE0DD)
    data_set = element(0x7FE00010, "OB", fragments, length=UNDEFINED_LENGTH)
    member = member_of(0x7FE00010, data_set)
    assert member["BulkDataURI"].startswith("?offset=")
    assert "length" not in member["BulkDataURI"]


def test_what_follows_pixel_data_is_not_in_metadata() -> None:
    data_set = element(0x7FE00010, "OW", b"\0\0") + element(0xFFFCFFFC, "OB", b"\0\0")
    with pytest.raises(KeyError):
        member_of(0xFFFCFFFC, data_set)


def test_file_meta_is_included() -> None:
    assert member_of(0x00020010, b"", IMPLICIT) == {"vr": "UI", "Value": [IMPLICIT]}
    assert member_of(0x00020000, b"", BIG_ENDIAN)["Value"][0] < 100


def test_of_a_tag_that_comes_twice_the_last_one_counts() -> None:
    data_set = element(0x00100020, "LO", "first ") + element(0x00100020, "LO", "last")
    assert member_of(0x00100020, data_set)["Value"] == ["last"]


@pytest.mark.parametrize(("representation", "vr"), [(b"\0\0", "US"), (b"\1\0", "SS")])
def test_pixel_representation_decides_between_signed_and_unsigned(
    representation: bytes, vr: str
) -> None:
    encoding: DataSetEncoding = IMPLICIT_LITTLE
    padding = element(0x00280120, "", b"\xff\xff", encoding)
    data_set = element(0x00280103, "US", representation, encoding) + padding
    data_set += sequence(0x0040A730, item(padding), encoding=encoding)
    expected = {"vr": vr, "Value": [65535 if vr == "US" else -1]}
    assert member_of(0x00280120, data_set, IMPLICIT) == expected
    assert member_of(0x0040A730, data_set, IMPLICIT)["Value"] == [{"00280120": expected}]


@pytest.mark.parametrize("representation", [0, 1])
def test_us_or_ss_follows_pixel_representation_wherever_that_stands(representation: int) -> None:
    """Before it, in items before it, and in items that have their own."""
    encoding: DataSetEncoding = IMPLICIT_LITTLE
    value = element(0x00189810, "", b"\xfb\xff", encoding)
    told = element(0x00280103, "US", bytes([representation, 0]), encoding)
    other = element(0x00280103, "US", bytes([1 - representation, 0]), encoding)
    nested = sequence(CONTENT, item(value), item(value + other), encoding=encoding)
    data_set = sequence(0x00081140, item(value + nested), encoding=encoding) + value
    data_set += told + nested
    file = part10(data_set + identity(encoding=encoding), IMPLICIT)
    members = json.loads(read_header(BytesReader(file)).metadata)
    signed, unsigned = {"vr": "SS", "Value": [-5]}, {"vr": "US", "Value": [65531]}
    expected, opposite = (signed, unsigned) if representation else (unsigned, signed)
    assert members["00189810"] == expected
    (outer,) = members["00081140"]["Value"]
    assert outer["00189810"] == expected
    for holder in (members, outer):
        inherits, has_own = holder[f"{CONTENT:08X}"]["Value"]
        assert (inherits["00189810"], has_own["00189810"]) == (expected, opposite)


def test_numbers_in_unknown_items_of_a_big_endian_data_set_are_little_endian() -> None:
    content = item(element(0x00280010, "US", b"\1\0", IMPLICIT_LITTLE)) + delimiter(0xFFFEE0DD)
    data_set = element(0x00091001, "UN", content, EXPLICIT_BIG, UNDEFINED_LENGTH)
    data_set += element(0x00280010, "US", b"\0\2", EXPLICIT_BIG)
    rows = {"vr": "US", "Value": [1]}
    assert member_of(0x00091001, data_set, BIG_ENDIAN)["Value"] == [{"00280010": rows}]
    assert member_of(0x00280010, data_set, BIG_ENDIAN)["Value"] == [2]


def test_a_lookup_table_that_counts_negative_entries_overflowed() -> None:
    assert value_of(0x00283002, "SS", b"\0\x80\0\x80\x10\0") == [32768, -32768, 16]


def test_metadata_is_compact_utf8() -> None:
    data_set = element(0x00080005, "CS", "ISO_IR 192") + element(0x00100020, "LO", "é ")
    metadata = read_header(BytesReader(part10(data_set + identity()))).metadata
    assert '"00100020":{"vr":"LO","Value":["é"]}'.encode() in metadata
    assert b" " not in metadata.replace(b"ISO_IR 192", b"")
