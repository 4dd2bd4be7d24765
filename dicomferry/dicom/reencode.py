"""Data elements from one encoding to another (PS3.5, Annex A): values keep their bytes.

Only the parts that the encoding dictates change: VRs appear or vanish, lengths are recomputed,
numbers of a big-endian data set are swapped. An element that no dictionary knows becomes UN and
keeps its bytes.
"""

import struct
from array import array
from functools import lru_cache
from heapq import merge

from dicomferry.dicom.dictionary import STANDARD_VR, other_vr
from dicomferry.dicom.encoding import UNDEFINED_LENGTH, DataSetEncoding
from dicomferry.dicom.raw_elements import RawElement, read_items
from dicomferry.dicom.tags import PIXEL_REPRESENTATION
from dicomferry.dicom.vr import KNOWN_VRS, LONG_FORM
from dicomferry.errors import InstanceError, Reason

# (VR, value) by tag; None removes the attribute.
Changes = dict[int, tuple[bytes, bytes] | None]

_WORD = {
    **dict.fromkeys((b"US", b"SS", b"OW", b"AT"), "H"),
    **dict.fromkeys((b"UL", b"SL", b"FL", b"OF", b"OL"), "I"),
    **dict.fromkeys((b"FD", b"OD", b"SV", b"UV", b"OV"), "Q"),
}
_ITEM_HEAD = struct.pack("<HH", 0xFFFE, 0xE000)
_ITEM_TAIL = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
_SEQUENCE_TAIL = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def encode_element(tag: int, vr: bytes, value: bytes, explicit: bool) -> bytes:
    """Return one little-endian element of defined length; UN where the VR's length is too short."""
    group, element = tag >> 16, tag & 0xFFFF
    if not explicit:
        return struct.pack("<HHL", group, element, len(value)) + value
    if vr not in LONG_FORM:
        if len(value) < 0x10000:
            return struct.pack("<HH2sH", group, element, vr, len(value)) + value
        vr = b"UN"  # PS3.5, Section 6.2.2
    return struct.pack("<HH2sHL", group, element, vr, 0, len(value)) + value


def reencode(
    buffer: bytes,
    elements: list[RawElement],
    source: DataSetEncoding,
    target: DataSetEncoding,
    signed: bool = False,
    depth: int = 0,
) -> list[tuple[int, bytes]]:
    """Return (tag, encoded element) of each element, in their order.

    Args:
        buffer: holds the elements.
        elements: of one data set.
        source: how they are encoded.
        target: how to encode them, little endian.
        signed: the enclosing data set's Pixel Representation, for "US or SS".
        depth: in how many sequences they are; at the top group lengths are the caller's to mend.

    Raises:
        InstanceError: DATA_SET_INVALID, NESTED_TOO_DEEP.
    """
    for each in elements:
        if each.tag == PIXEL_REPRESENTATION:
            signed = any(buffer[each.value : each.end])
    if source == target:
        return [
            (each.tag, buffer[each.start : each.end])
            if source.implicit or buffer[each.start + 4 : each.start + 6] in KNOWN_VRS
            else (each.tag, _reencode_one(buffer, each, source, target, signed, depth))
            for each in elements
        ]
    encoded = [
        (each.tag, _reencode_one(buffer, each, source, target, signed, depth)) for each in elements
    ]
    return encoded if not depth else mend_group_lengths(encoded, target.explicit)


def join(
    encoded: list[tuple[int, bytes]], changes: Changes, explicit: bool
) -> list[tuple[int, bytes]]:
    """Return the elements with `changes`; where the source is out of order its order stays."""
    kept = [each for each in encoded if each[0] not in changes]
    new = [
        (tag, encode_element(tag, *change, explicit=explicit))
        for tag, change in sorted(changes.items())
        if change is not None
    ]
    return list(merge(kept, new, key=lambda each: each[0]))


def mend_group_lengths(
    encoded: list[tuple[int, bytes]], explicit: bool, groups: frozenset[int] | None = None
) -> list[tuple[int, bytes]]:
    """Return the elements with the values of their (gggg,0000), if any, recomputed (PS3.5 7.2).

    That of group 7FE0 is left out: encapsulated pixel data has no length.

    Args:
        encoded: elements of one data set.
        explicit: how they are encoded.
        groups: those that changed; None for all. Of others even a wrong length stays as it is.
    """
    if all(tag & 0xFFFF for tag, _ in encoded):
        return encoded
    lengths: dict[int, int] = {}
    for tag, data in encoded:
        if tag & 0xFFFF:
            lengths[tag >> 16] = lengths.get(tag >> 16, 0) + len(data)
    mended = []
    for tag, data in encoded:
        group = tag >> 16
        if tag & 0xFFFF or not (groups is None or group in groups):
            mended.append((tag, data))
        elif group != 0x7FE0:
            length = struct.pack("<L", lengths.get(group, 0))
            mended.append((tag, encode_element(tag, b"UL", length, explicit)))
    return mended


def swap(value: bytes, vr: bytes) -> bytes:
    """Return a big-endian value of `vr` in little endian; an incomplete last word stays."""
    code = _WORD.get(vr)
    if code is None:
        return value
    words = array(code)
    whole = len(value) - len(value) % words.itemsize
    words.frombytes(value[:whole])
    words.byteswap()
    return words.tobytes() + value[whole:]


def _reencode_one(
    buffer: bytes,
    element: RawElement,
    source: DataSetEncoding,
    target: DataSetEncoding,
    signed: bool,
    depth: int,
) -> bytes:
    tag, value = element.tag, buffer[element.value : element.end]
    explicit = not target.implicit  # the properties cost as much as all else of a short element
    big = source.order == ">"
    known = _dictionary_vr(tag, signed)
    written = element.vr(buffer, source)
    vr = written or known
    if big and vr == b"UN" and known not in (b"UN", b"SQ"):
        vr = known  # a public number that someone wrote as UN; UN alone could not be swapped
    if vr == b"UN" or (element.undefined and vr != b"SQ"):
        if not element.undefined:
            return encode_element(tag, b"UN", value, explicit)
        # A sequence that nobody knows is Implicit VR Little Endian within UN, and so in both.
        # Encapsulated frames in an icon have items too, and a VR.
        return _undefined(tag, written or b"UN", value, explicit)
    if vr != b"SQ":
        if big:
            value = swap(value, vr)
        return encode_element(tag, vr, value, explicit)
    parts = []
    for item in read_items(buffer, element, source, depth + 1):
        encoded = reencode(buffer, item.elements, item.encoding, target, signed, depth + 1)
        content = b"".join(data for _, data in encoded)
        if item.undefined:
            parts.append(_ITEM_HEAD + struct.pack("<L", UNDEFINED_LENGTH) + content + _ITEM_TAIL)
        else:
            parts.append(_ITEM_HEAD + struct.pack("<L", len(content)) + content)
    content = b"".join(parts)
    if element.undefined:
        return _undefined(tag, b"SQ", content + _SEQUENCE_TAIL, explicit)
    if len(content) >= UNDEFINED_LENGTH:
        raise InstanceError(Reason.DATA_SET_TOO_LARGE)
    return encode_element(tag, b"SQ", content, explicit)


def _undefined(tag: int, vr: bytes, content: bytes, explicit: bool) -> bytes:
    """Return an element of undefined length; `content` ends with its delimiter."""
    group, number = tag >> 16, tag & 0xFFFF
    if not explicit:
        return struct.pack("<HHL", group, number, UNDEFINED_LENGTH) + content
    return struct.pack("<HH2sHL", group, number, vr, 0, UNDEFINED_LENGTH) + content


@lru_cache(maxsize=8192)  # half the time of an element
def _dictionary_vr(tag: int, signed: bool) -> bytes:
    if tag >> 16 & 1:
        # PS3.5 6.2.2 has UN for elements whose VR is not known: a private dictionary could be
        # wrong, the bytes cannot.
        return b"LO" if 0x10 <= tag & 0xFFFF <= 0xFF else b"UN"
    vr = STANDARD_VR.get(tag) or other_vr(tag)
    if len(vr) == 2:
        return vr.encode()
    if vr == "US or SS":
        return b"SS" if signed else b"US"
    # "OB or OW", "US or OW", "US or SS or OW": OW as in Implicit VR (PS3.5, Annex A.1)
    return b"OW" if "OW" in vr else b"UN"
