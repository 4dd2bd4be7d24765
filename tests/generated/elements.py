"""Data sets as trees of elements, written in any encoding that PS3.5 allows.

Nothing of the project and nothing of pydicom writes them: both are what is tested or judges.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from dicomferry.dicom.encoding import UNDEFINED_LENGTH, DataSetEncoding
from tests.dicom.factories import delimiter, element, item

WORD_BYTES = {"US": 2, "SS": 2, "OW": 2, "UL": 4, "OL": 4, "OF": 4, "OV": 8, "OD": 8}
_PIXEL_DATA = 0x7FE00010


class Element(NamedTuple):
    """An element of a data set.

    Attributes:
        tag: group and element.
        vr: its VR, as Explicit VR writes it.
        value: bytes in little endian, or the items of a sequence.
        undefined: the value is written with undefined length, as encapsulated pixels are.
        word_bytes: of a word that big endian swaps, where the VR does not tell.
    """

    tag: int
    vr: str
    value: "bytes | tuple[tuple[Element, ...], ...]"
    undefined: bool = False
    word_bytes: int = 0


class Style(NamedTuple):
    """What of the encoding is free.

    Attributes:
        undefined_sequences, undefined_items: they end by delimiters.
        group_lengths: each group begins with its length (retired, still legal).
        unknown_vrs: sequences and tables are written as UN, as a gateway does that doesn't know
            them (PS3.5 6.2.2); not in Implicit VR.
        padding: bytes of Data Set Trailing Padding (FFFC,FFFC); 0 for none.
    """

    undefined_sequences: bool = False
    undefined_items: bool = False
    group_lengths: bool = False
    unknown_vrs: bool = False
    padding: int = 0


def us(tag: int, *values: int, vr: str = "US") -> Element:
    """Return an element of 16-bit numbers; negative ones as two's complement."""
    return Element(tag, vr, struct.pack(f"<{len(values)}H", *(each & 0xFFFF for each in values)))


def text(tag: int, vr: str, value: str | bytes) -> Element:
    """Return an element of characters, padded to even length."""
    raw = value.encode() if isinstance(value, str) else value
    return Element(tag, vr, raw + (b"\0" if vr == "UI" else b" ") * (len(raw) % 2))


def sequence(tag: int, *items: Sequence[Element]) -> Element:
    """Return a sequence of items."""
    return Element(tag, "SQ", tuple(tuple(each) for each in items))


def write(elements: Sequence[Element], encoding: DataSetEncoding, style: Style) -> bytes:
    """Return the encoded data set; its elements are sorted by tag here."""
    ordered = sorted(elements, key=lambda each: each.tag)
    groups: dict[int, list[bytes]] = {}
    for each in ordered:
        groups.setdefault(each.tag >> 16, []).append(_written(each, encoding, style))
    parts = []
    for group, encoded in groups.items():
        if style.group_lengths and group not in (0x7FE0, 0xFFFC):
            length = struct.pack(f"{encoding.order}L", sum(map(len, encoded)))
            parts.append(element(group << 16, "UL", length, encoding))
        parts += encoded
    return b"".join(parts)


def _written(each: Element, encoding: DataSetEncoding, style: Style) -> bytes:
    unknown = style.unknown_vrs and encoding.explicit and each.tag != _PIXEL_DATA
    if isinstance(each.value, tuple):
        return _sequence(each, encoding, style, unknown)
    value = _ordered(each.value, each.word_bytes or WORD_BYTES.get(each.vr, 1), encoding)
    vr = "UN" if unknown and each.tag & 0xFF00FFFF == 0x60003000 else each.vr
    return element(each.tag, vr, value, encoding, UNDEFINED_LENGTH if each.undefined else None)


def _sequence(each: Element, encoding: DataSetEncoding, style: Style, unknown: bool) -> bytes:
    # Within UN of undefined length the items are in Implicit VR Little Endian (PS3.5 6.2.2).
    unknown = unknown and encoding.order == "<"
    inner = DataSetEncoding(implicit=True, order="<") if unknown else encoding
    nested = style._replace(padding=0)
    value = b"".join(
        item(write(content, inner, nested), inner.order, style.undefined_items)
        for content in each.value
        if isinstance(content, tuple)
    )
    if not (style.undefined_sequences or unknown):
        return element(each.tag, "SQ", value, encoding)
    value += delimiter(0xFFFEE0DD, 0, inner.order)
    return element(each.tag, "UN" if unknown else "SQ", value, encoding, UNDEFINED_LENGTH)


def _ordered(value: bytes, size: int, encoding: DataSetEncoding) -> bytes:
    """Return a value of words in the byte order of the encoding."""
    if encoding.little_endian or size == 1 or len(value) % size:
        return value
    return b"".join(value[at : at + size][::-1] for at in range(0, len(value), size))
