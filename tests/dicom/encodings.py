"""Data sets in every encoding that PS3.5 allows, and in some that it does not: bytes, by chance."""

import struct
from collections.abc import Iterable
from random import Random
from typing import Any, NamedTuple

from dicomferry.dicom.encoding import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    UNDEFINED_LENGTH,
    DataSetEncoding,
)
from tests.dicom.factories import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    SECONDARY_CAPTURE,
    deflate,
    delimiter,
    element,
    file_meta,
    part10,
)

ENCODINGS = {
    IMPLICIT: IMPLICIT_LITTLE,
    EXPLICIT: EXPLICIT_LITTLE,
    BIG_ENDIAN: EXPLICIT_BIG,
    DEFLATED: EXPLICIT_LITTLE,
}
# Terms of (0008,0005), and encoded texts of each.
TEXTS: dict[str, list[bytes]] = {
    "": [b"a b", b"Z"],
    "ISO_IR 100": [b"\xc4\xe9", b"a\xdf"],
    "ISO_IR 101": [b"\xb1\xe8"],
    "ISO_IR 109": [b"\xa1\xf5"],
    "ISO_IR 110": [b"\xe0\xf1"],
    "ISO_IR 126": [b"\xc4\xe9"],
    "ISO_IR 127": [b"\xe2\xc8"],
    "ISO_IR 138": [b"\xf9\xe0"],
    "ISO_IR 144": [b"\xbb\xee"],
    "ISO_IR 148": [b"\xd0\xfe"],
    "ISO_IR 166": [b"\xb9\xd2"],
    "ISO_IR 13": [b"\xd4\xcf\xc0\xde"],
    "ISO_IR 192": ["Ñ €".encode(), "山".encode()],
    "GB18030": ["王小东".encode("gb18030")],
    "GBK": ["王".encode("gbk")],
    "\\ISO 2022 IR 87": [b"\x1b$B;3ED\x1b(B", b"a\x1b$BBO\x1b(Bb"],
    "ISO 2022 IR 13\\ISO 2022 IR 87": [b"\xd4\xcf", b"\x1b$B;3ED\x1b(J"],
    "\\ISO 2022 IR 149": [b"\x1b$)C\xb1\xe8", b"\x1b$)C\xc8\xab a"],
    "\\ISO 2022 IR 58": [b"\x1b$)A\xd5\xc5", b"\x1b$)A\xd0\xa1\xb6\xab"],
    "ISO 2022 IR 100\\ISO 2022 IR 144": [b"\xc4\x1b-L\xbb\xee", b"\x1b-L\xbb"],
    "\\ISO 2022 IR 126": [b"\x1b-F\xc4\xe9", b"a"],
}
ASCII = [b"a b", b"Z", b"x-y_z"]
WORD = {"US": 2, "SS": 2, "AT": 4, "OW": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "UV": 8, "SV": 8}
TEXT_VRS = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")
SINGLE = ("LT", "ST", "UT", "UR", "OB", "OW")
VALUES: dict[str, list[bytes]] = {
    "AE": [b"STATION", b"A B"],
    "AS": [b"040Y", b"007D"],
    "CS": [b"AXIAL", b"A_B C"],
    "DA": [b"20240229", b"19000101"],
    "DS": [b"-8.50", b"9e-7", b"+8"],
    "DT": [b"20240229", b"20240229120000.5+0100"],
    "IS": [b"8", b"-9", b"+80"],
    "TM": [b"1200", b"235959.9"],
    "UI": [b"1.2.840.10008.1.2", b"2.25.9"],
    "UR": [b"https://example.org/a?b=c%20d"],
}
# Tags of each VR.
TAGS = {
    "AE": (0x00080054, 0x00400241),
    "AS": (0x00101010,),
    "AT": (0x00209165, 0x00280009),
    "CS": (0x00080008, 0x00080060, 0x00180015, 0x00280004),
    "DA": (0x00080020, 0x00100030),
    "DS": (0x00101020, 0x00180050, 0x00200032, 0x00281050),
    "DT": (0x0008002A, 0x00189074),
    "FD": (0x00081163, 0x00189073),
    "FL": (0x00089459, 0x00180013),
    "IS": (0x00181152, 0x00200013),
    "LO": (0x00080070, 0x00081080, 0x00100020),
    "LT": (0x00104000, 0x00204000),
    "OB": (0x00420011,),
    "OW": (0x00281201, 0x00281202),
    "PN": (0x00080090, 0x00100010, 0x00321032),
    "SH": (0x00080050, 0x00080100, 0x00200010),
    "SL": (0x00186020, 0x0072007C),
    "SS": (0x00189219,),
    "ST": (0x00080081, 0x00082111),
    "SV": (0x00720082,),
    "TM": (0x00080030, 0x00100032),
    "UC": (0x00080119,),
    "UI": (0x0008001A, 0x00200052),
    "UL": (0x00081161, 0x00720078),
    "UR": (0x00080120, 0x00081190),
    "US": (0x00280010, 0x00280011, 0x00280100),
    "US or SS": (0x00189810, 0x00280106, 0x00280120),
    "UT": (0x0040A160,),
    "UV": (0x00720083,),
}
SEQUENCES = (0x00081140, 0x00400260, 0x0040A730)
PRIVATE = ((0x00091001, "UN"), (0x00091002, "LO"), (0x00091003, "US"))


class Odd(NamedTuple):
    """An instance as bytes.

    Attributes:
        seed: what it is drawn by.
        file: the instance.
        oddities: the names of what is odd about it.
    """

    seed: int
    file: bytes
    oddities: frozenset[str]


class _Drawing:
    """One instance being drawn."""

    def __init__(self, dice: Random, encoding: DataSetEncoding, oddity: str) -> None:
        self.dice = dice
        self.encoding = encoding
        self.oddity = oddity
        self.own_charsets = self.maybe()  # items have (0008,0005)

    def pick(self, values: Iterable[Any]) -> Any:
        """Return one of the values."""
        return self.dice.choice(tuple(values))

    def maybe(self) -> bool:
        """Return True in one of two cases."""
        return self.dice.random() < 0.5

    def value(self, vr: str, term: str) -> bytes:
        """Return an encoded value of a VR, padded, some with several values."""
        if vr in WORD:
            size = WORD[vr]
            raw: bytes = self.dice.randbytes(self.dice.randint(0, 3 * size))
            if vr in ("FL", "FD"):
                number = 1.5 if self.maybe() else -0.25
                raw = struct.pack("f" if vr == "FL" else "d", number) * (len(raw) // size)
            return raw[: len(raw) // size * size]
        if vr in ("OB", "UN"):
            return self.dice.randbytes(2 * self.dice.randint(0, 4)) + b"\1\2"
        texts = VALUES.get(vr) or [*ASCII, *TEXTS[term]]
        count = 1 if vr in SINGLE else self.pick((1, 1, 2, 3))
        parts = [self.pick([b"", *texts]) for _ in range(count)]
        if vr == "PN":
            groups = self.pick((1, 1, 2, 3))
            parts = [
                b"=".join(self.pick([b"", *texts]) for _ in range(groups)) for _ in range(count)
            ]
        value = b"\\".join(parts)
        return value + self.pick([b"", b" ", b"\0"] if vr != "UI" else [b"", b"\0"])

    def leaf(self, tag: int, vr: str, term: str) -> bytes:
        """Return an element."""
        if vr == "US or SS":
            vr = "US"
        value = self.value(vr, term)
        value += b"\0" * (len(value) % 2) if vr in ("UI", "OB", "UN") else b" " * (len(value) % 2)
        if self.oddity == "no VR" and not self.encoding.implicit and self.maybe():
            code = self.pick((b"  ", b"??", b"as"))
            head = struct.pack(f"{self.encoding.order}HH", tag >> 16, tag & 0xFFFF) + code
            return head + struct.pack(f"{self.encoding.order}H", len(value)) + value
        if self.oddity == "UN" and vr not in WORD and self.maybe():
            vr = "UN"
        return element(tag, vr, value, self.encoding)

    def data_set(self, term: str, depth: int) -> list[tuple[int, bytes]]:
        """Return the elements of a data set by their tags."""
        elements: dict[int, bytes] = {}
        own = self.pick(TEXTS) if not depth or (self.own_charsets and self.maybe()) else ""
        if own:
            term = own
            charset = own + " " * (len(own) % 2)
            elements[0x00080005] = element(0x00080005, "CS", charset, self.encoding)
        for vr in self.dice.choices(sorted(TAGS), k=self.dice.randint(0, 6)):
            tag = self.pick(TAGS[vr])
            elements[tag] = self.leaf(tag, vr, term)
        if self.maybe():
            sign = struct.pack(f"{self.encoding.order}H", self.pick((0, 1)))
            elements[0x00280103] = element(0x00280103, "US", sign, self.encoding)
        if self.maybe():
            elements[0x00090010] = element(0x00090010, "LO", "NOBODY", self.encoding)
            tag, vr = self.pick(PRIVATE)
            elements[tag] = element(tag, vr, self.value(vr, term), self.encoding)
        for tag in self.dice.choices(SEQUENCES, k=self.dice.randint(0, 2 if depth < 3 else 0)):
            elements[tag] = self.sequence(tag, term, depth)
        return sorted(elements.items())

    def sequence(self, tag: int, term: str, depth: int) -> bytes:
        """Return a sequence, with lengths or delimiters."""
        order = self.encoding.order
        length = self.pick((0, 4)) if self.oddity == "length of a delimiter" else 0
        value = b""
        for _ in range(self.pick((0, 1, 2))):
            content = b"".join(data for _, data in self.data_set(term, depth + 1))
            if self.maybe():
                value += delimiter(0xFFFEE000, UNDEFINED_LENGTH, order) + content
                value += delimiter(0xFFFEE00D, length, order)
            else:
                value += delimiter(0xFFFEE000, len(content), order) + content
        if self.maybe():
            return element(tag, "SQ", value, self.encoding)
        value += delimiter(0xFFFEE0DD, length, order)
        return element(tag, "SQ", value, self.encoding, UNDEFINED_LENGTH)


ODDITIES = ("", "", "", "no VR", "UN", "length of a delimiter", "zeros", "order", "two metas")


def odd_file(seed: int) -> Odd:
    """Draw an instance."""
    dice = Random(seed)
    syntax = dice.choice(sorted(ENCODINGS))
    encoding = ENCODINGS[syntax]
    oddity = dice.choice(ODDITIES if syntax != DEFLATED else ODDITIES[:-1])
    drawing = _Drawing(dice, encoding, oddity)
    elements = dict(drawing.data_set("", 0))
    for tag, uid in (
        (0x00080016, SECONDARY_CAPTURE),
        (0x00080018, "1.2.3.4"),
        (0x0020000D, "1.2.3"),
        (0x0020000E, "1.2.3.5"),
    ):
        elements[tag] = element(tag, "UI", uid + "\0" * (len(uid) % 2), encoding)
    parts = [data for _, data in sorted(elements.items())]
    if oddity == "order":
        dice.shuffle(parts)
    if oddity == "zeros":
        parts.insert(dice.randint(1, len(parts)), bytes(8 * dice.randint(1, 3)))
    data_set = b"".join(parts)
    even = syntax + "\0" * (len(syntax) % 2)
    meta = file_meta(None, element(0x00020010, "UI", even))
    if oddity == "two metas":
        meta += file_meta(None, element(0x00020010, "UI", IMPLICIT + "\0"))
        if encoding.order == ">":
            oddity += " before big endian"
    file = part10(deflate(data_set) if syntax == DEFLATED else data_set, meta=meta)
    return Odd(seed, file, frozenset({oddity} - {""}))
