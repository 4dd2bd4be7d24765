"""Encoded values as JSON text (PS3.18 F.2.3), a writer for each VR.

A writer takes the encoded value and returns the text between the brackets of "Value", empty if
the element is. A value that does not fit its VR is kept as its raw text: better a string where a
number should be than an instance that can't be found.
"""

from collections.abc import Callable
from functools import lru_cache
from json.encoder import encode_basestring
from math import isfinite
from struct import Struct

from dicomferry.dicom.charsets import CONTROLS_AND_NAMES, CONTROLS_AND_VALUES, decode_text

Writer = Callable[[bytes], str]

_quoted: Callable[[str], str] = encode_basestring
_NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
# Spaces by the Standard; NUL by the many who pad every VR as UI is (PS3.5 6.2).
_PADDING = " \0"
# Around what is no text every white space is padding.
_WHITE = _PADDING + "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0"
_SINGLE: dict[str, Struct] = {
    order + vr: Struct(order + form) for order in "<>" for vr, form in _NUMBERS.items()
}


def _listed(parts: list[str]) -> str:
    """Write several values, null for an empty one."""
    return ",".join([_quoted(part) if part else "null" for part in parts])


def _code_string(value: bytes) -> str:
    """Write AS, CS, DA, DT or TM: default repertoire, no meaning in what is around it."""
    text = value.decode("latin-1").strip(_PADDING)
    if "\\" in text:
        return _listed([part.strip(_PADDING) for part in text.split("\\")])
    return _quoted(text) if text else ""


def _unspaced(value: bytes) -> str:
    """Write AE, DS, IS or UI as strings: no digit is lost, nothing unfit is refused."""
    text = value.decode("latin-1").strip(_WHITE)
    if "\\" in text:
        return _listed([part.strip(_WHITE) for part in text.split("\\")])
    return _quoted(text) if text else ""


def _universal_resource(value: bytes) -> str:
    """Write UR: one value."""
    text = value.decode("latin-1").rstrip(_WHITE)
    return _quoted(text) if text else ""


def raw_text(value: bytes) -> str:
    """Write a value that does not fit its VR, each byte as a character."""
    return _quoted(value.decode("latin-1"))


def _tags_writer(order: str) -> Writer:
    def write(value: bytes) -> str:
        count, rest = divmod(len(value), 4)
        if rest:
            return raw_text(value)
        parts = Struct(f"{order}{count * 2}H").unpack(value)
        pairs = zip(parts[::2], parts[1::2], strict=True)
        return ",".join([f'"{group:04X}{number:04X}"' for group, number in pairs])

    return write


def _integers_writer(vr: str, order: str) -> Writer:
    single = Struct(order + _NUMBERS[vr])
    size, unpack = single.size, single.unpack

    def write(value: bytes) -> str:
        if len(value) == size:
            return str(unpack(value)[0])
        count, rest = divmod(len(value), size)
        if rest:
            return raw_text(value)
        return ",".join(map(str, Struct(f"{order}{count}{_NUMBERS[vr]}").unpack(value)))

    return write


def _floats_writer(vr: str, order: str) -> Writer:
    size = Struct(order + _NUMBERS[vr]).size

    def write(value: bytes) -> str:
        count, rest = divmod(len(value), size)
        if rest:
            return raw_text(value)
        numbers = Struct(f"{order}{count}{_NUMBERS[vr]}").unpack(value)
        return ",".join([repr(x) if isfinite(x) else _not_finite(x) for x in numbers])

    return write


def _not_finite(number: float) -> str:
    """Write a number that JSON cannot express, in the words of PS3.18 F.2.3."""
    return '"NaN"' if number != number else '"inf"' if number > 0 else '"-inf"'  # noqa: PLR0124


def _texts_writer(codecs: tuple[str, ...]) -> Writer:
    codec = codecs[0]

    def write(value: bytes) -> str:
        text = (
            value.decode(codec)
            if value.isascii() and b"\x1b" not in value
            else decode_text(value, codecs, CONTROLS_AND_VALUES)
        )
        if "\\" in text:
            return _listed([part.rstrip(_PADDING) for part in text.split("\\")])
        text = text.rstrip(_PADDING)
        return _quoted(text) if text else ""

    return write


def _long_text_writer(codecs: tuple[str, ...]) -> Writer:
    def write(value: bytes) -> str:
        text = decode_text(value, codecs).rstrip(_PADDING)
        return _quoted(text) if text else ""

    return write


def _person_name(name: str) -> str:
    """Write the component groups of a person name that are not empty (PS3.18 F.2.2).

    What comes after a third "=" stays with the third group.
    """
    groups = name.rstrip(_NAME_PADDING).split("=", 2)
    written = [
        f"{key}:{_quoted(group)}"
        for key, group in zip(_GROUPS, groups, strict=False)
        if group.strip(_PADDING)
    ]
    return f"{{{','.join(written)}}}" if written else "null"


_GROUPS = ('"Alphabetic"', '"Ideographic"', '"Phonetic"')
_NAME_PADDING = _PADDING + "="


def _person_names_writer(codecs: tuple[str, ...]) -> Writer:
    def write(value: bytes) -> str:
        text = decode_text(value, codecs, CONTROLS_AND_NAMES)
        if "\\" in text:
            return ",".join([_person_name(name) for name in text.split("\\")])
        written = _person_name(text)
        return "" if written == "null" else written

    return write


@lru_cache(maxsize=256)
def writers(codecs: tuple[str, ...], order: str) -> dict[str, Writer]:
    """Return the writer of each VR that has values, for a character set and a byte order.

    Args:
        codecs: as `dicomferry.dicom.charsets.codecs_of` gives them.
        order: "<" little endian, ">" big endian.
    """
    texts, long_text = _texts_writer(codecs), _long_text_writer(codecs)
    return {
        **dict.fromkeys(("AS", "CS", "DA", "DT", "TM"), _code_string),
        **dict.fromkeys(("AE", "DS", "IS", "UI"), _unspaced),
        **dict.fromkeys(("LO", "SH", "UC"), texts),
        **dict.fromkeys(("LT", "ST", "UT"), long_text),
        **{vr: _integers_writer(vr, order) for vr in ("SL", "SS", "SV", "UL", "US", "UV")},
        **{vr: _floats_writer(vr, order) for vr in ("FD", "FL")},
        "AT": _tags_writer(order),
        "PN": _person_names_writer(codecs),
        "UR": _universal_resource,
    }
