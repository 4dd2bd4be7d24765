"""Text in every character set of PS3.3 C.12.1.1.2, and what files make of them."""

import pytest

from dicomferry.dicom.charsets import CONTROLS_AND_NAMES, codecs_of, decode_text

# A term of Table C.12-2, and bytes of its upper half with what the registered set has there.
SINGLE_BYTE = {
    "ISO_IR 100": (b"\xc4\xe9", "Äé"),
    "ISO_IR 101": (b"\xb1\xe8", "ąč"),
    "ISO_IR 109": (b"\xa1\xf5", "Ħġ"),
    "ISO_IR 110": (b"\xe0\xf1", "āņ"),
    "ISO_IR 144": (b"\xbb\xee", "Лю"),
    "ISO_IR 127": (b"\xe2\xc8", "قب"),
    "ISO_IR 126": (b"\xc4\xe9", "Δι"),
    "ISO_IR 138": (b"\xf9\xe0", "שא"),
    "ISO_IR 148": (b"\xd0\xfe", "Ğş"),
    "ISO_IR 203": (b"\xa4\xbd", "€œ"),
    "ISO_IR 13": (b"\xd4\xcf", "ﾔﾏ"),
    "ISO_IR 166": (b"\xb9\xd2", "นา"),
}
FINAL = {  # of ESC 2/13 F, Table C.12-3
    "100": b"A",
    "101": b"B",
    "109": b"C",
    "110": b"D",
    "144": b"L",
    "127": b"G",
    "126": b"F",
    "138": b"H",
    "148": b"M",
    "203": b"b",
    "166": b"T",
}


@pytest.mark.parametrize("term", SINGLE_BYTE)
def test_each_single_byte_set_without_code_extensions(term: str) -> None:
    encoded, text = SINGLE_BYTE[term]
    assert decode_text(b"a^" + encoded, codecs_of(term.encode())) == "a^" + text


@pytest.mark.parametrize("number", FINAL)
def test_each_single_byte_set_with_code_extensions(number: str) -> None:
    encoded, text = SINGLE_BYTE[f"ISO_IR {number}"]
    codecs = codecs_of(b"\\ISO 2022 IR " + number.encode())
    value = b"a\x1b-" + FINAL[number] + encoded + b"\x1b(B z"
    assert decode_text(value, codecs) == f"a{text} z"


@pytest.mark.parametrize("term", ["ISO_IR 192", "GB18030", "GBK"])
def test_each_set_without_code_extensions(term: str) -> None:
    codec = {"ISO_IR 192": "utf-8"}.get(term, term)
    codecs = codecs_of(term.encode() + b"\\ISO 2022 IR 87")
    assert decode_text("王^小东 \x1b z".encode(codec), codecs) == "王^小东 \x1b z"


# The examples of PS3.5 Annexes H.3, I.2, J.3 and K.2.
NAMES = [
    (
        rb"\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    (
        rb"ISO 2022 IR 13\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"
        b"=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    (
        rb"\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    (
        rb"\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东=",
    ),
    (rb"\ISO 2022 IR 159", b"A=\x1b$(D\x30\x21\x1b(B", "A=丂"),
]


@pytest.mark.parametrize(("charset", "encoded", "text"), NAMES)
def test_the_examples_of_the_standard(charset: bytes, encoded: bytes, text: str) -> None:
    assert decode_text(encoded, codecs_of(charset), CONTROLS_AND_NAMES) == text


@pytest.mark.parametrize("reset", [b"\r\n", b"\t", b"\f", b"\v"])
def test_a_control_character_invokes_the_first_set_again(reset: bytes) -> None:
    codecs = codecs_of(rb"ISO 2022 IR 100\ISO 2022 IR 144\ISO 2022 IR 58")
    line = b"\x1b-L\xbb" + reset + b"\xc4"
    assert decode_text(line, codecs) == "Л" + reset.decode() + "Ä"
    chinese = b"\x1b$)A\xb5\xda\xd2\xbb" + reset + b"\x1b$)A\xb5\xda\xb6\xfe" + reset
    assert decode_text(chinese, codecs).split(reset.decode()) == ["第一", "第二", ""]


def test_a_byte_of_a_kanji_that_looks_like_a_delimiter_is_none() -> None:
    codecs = codecs_of(rb"\ISO 2022 IR 87")
    first, second = b"\x1b$B\x3d\x5e\x1b(B", b"\x1b$B\x5c\x3d\x1b(B"
    expected = first.decode("iso2022_jp") + "^" + second.decode("iso2022_jp")
    assert decode_text(first + b"^" + second, codecs, CONTROLS_AND_NAMES) == expected


def test_half_width_katakana_beside_kanji() -> None:
    codecs = codecs_of(rb"ISO 2022 IR 13\ISO 2022 IR 87")
    assert decode_text(b"\xd4\x1b$B;3\xcf\x1b(J\\", codecs) == "ﾔ山ﾏ\\"


@pytest.mark.parametrize(
    "charset",
    [
        b" ISO_IR 192",
        b"ISO_IR 192 ",
        b"ISO_IR 192\0",
        b"\0 ISO_IR 192\0\0",
        b"iso_ir 192",
        b"ISO-IR 192",
        b"ISO IR 192",
        b"ISO_IR_192",
        b"ISO_IR192",
        b"ISO 2022 IR 192",
        b"UTF-8",
        b"utf8",
    ],
)
def test_a_term_that_can_mean_one_set_only_is_that(charset: bytes) -> None:
    assert codecs_of(charset) == ("utf-8",)


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        (b"ISO 8859-1", "latin-1"),
        (b"ISO-8859-15", "iso8859_15"),
        (b"ISO8859_5", "iso8859_5"),
        (b"iso-ir-100", "latin-1"),
        (b"GB2312", "gb2312"),
        (b"gb18030", "gb18030"),
        (b"ISO 2022 GBK", "gbk"),
    ],
)
def test_other_names_of_sets_are_known(charset: bytes, codec: str) -> None:
    assert codecs_of(charset) == (codec,)


def test_every_term_of_several_may_be_padded() -> None:
    padded = codecs_of(b" ISO 2022 IR 6 \\ ISO 2022 IR 87\0\\ISO_2022_IR_159 ")
    assert padded == codecs_of(rb"ISO 2022 IR 6\ISO 2022 IR 87\ISO 2022 IR 159")


@pytest.mark.parametrize("charset", [b"ISO_IR 999", b"ISO_IR", b"8859", b"zlib", b"idna", b"\xff"])
def test_a_term_that_means_nothing_is_the_default_and_keeps_every_byte(charset: bytes) -> None:
    assert codecs_of(charset) == ("latin-1",)
    every = bytes(range(0x20, 0x100))
    assert decode_text(every, codecs_of(charset)).encode("latin-1") == every


@pytest.mark.parametrize(
    "escape", [b"\x1b$B", b"\x1b-L", b"\x1b$)A", b"\x1b(J", b"\x1b%G", b"\x1b"]
)
def test_an_escape_sequence_to_a_set_that_is_not_named_stays_in_the_text(escape: bytes) -> None:
    assert (
        decode_text(b"a" + escape + b"b", codecs_of(b"ISO_IR 100")).encode() == b"a" + escape + b"b"
    )
