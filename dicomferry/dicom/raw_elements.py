"""Raw data elements: where each one lies in its buffer (PS3.5, Section 7.1).

Unlike the tokenizer of `headers`, which resolves what elements mean, this one keeps how they are
written: a transcoded file repeats their bytes.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from dicomferry.dicom.vr import LONG_FORM, SHORT_FORM
from dicomferry.errors import InstanceError, Reason

UNDEFINED = 0xFFFFFFFF
ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
LONG_VRS = frozenset(LONG_FORM)
SHORT_VRS = frozenset(SHORT_FORM)
_MAX_NESTING = 64


class Encoding(NamedTuple):
    """How data elements are written."""

    explicit: bool
    little_endian: bool

    @property
    def order(self) -> str:
        """The byte order for `struct`."""
        return "<" if self.little_endian else ">"


IMPLICIT_LITTLE = Encoding(False, True)
EXPLICIT_LITTLE = Encoding(True, True)


class RawElement(NamedTuple):
    """Where one data element lies in its buffer.

    Attributes:
        tag: group << 16 | element.
        vr: as written; empty in Implicit VR.
        start: of the tag.
        value: of the value.
        end: past the value and its delimiter.
        undefined: the length is undefined.
    """

    tag: int
    vr: bytes
    start: int
    value: int
    end: int
    undefined: bool


class ShortError(Exception):
    """The elements go on beyond the buffer."""


def read_items(
    buffer: bytes, start: int, end: int, encoding: Encoding
) -> Iterator[tuple[RawElement, list[RawElement]]]:
    """Yield the items of a sequence value with their elements, without any delimiters.

    Raises:
        InstanceError: DATA_SET_INVALID.
    """
    position = start
    order = encoding.order
    try:
        while position < end:
            tag, length = _item(buffer, position, order)
            if tag == SEQUENCE_END:
                return
            if tag != ITEM:
                raise InstanceError(Reason.DATA_SET_INVALID)
            value = position + 8
            if length == UNDEFINED:
                stop = _skip_item(buffer, value, encoding, 0)
                inner = stop - 8
            else:
                stop = inner = value + length
                if stop > end:
                    raise InstanceError(Reason.DATA_SET_INVALID)
            item = RawElement(tag, b"", position, value, inner, length == UNDEFINED)
            yield item, list(scan(buffer, value, inner, encoding, frozenset()))
            position = stop
    except ShortError:
        raise InstanceError(Reason.DATA_SET_INVALID) from None


def scan(  # noqa: PLR0912 (one loop: a call an element would double its cost)
    buffer: bytes, start: int, end: int, encoding: Encoding, stop_at: frozenset[int]
) -> Iterator[RawElement]:
    """Yield the elements of buffer[start:end], the first of `stop_at` as the last one.

    An element of `stop_at` need not lie within the buffer.
    """
    explicit, order = encoding.explicit, encoding.order
    with_vr = struct.Struct(order + "HH2sH").unpack_from
    without_vr = struct.Struct(order + "HHL").unpack_from
    position = start
    while position < end:
        if position + 8 > end:
            if not buffer[position:end].strip(b"\0"):
                return
            raise ShortError
        vr = b""
        value = position + 8
        if explicit:
            group, element, vr, length = with_vr(buffer, position)
            if vr in LONG_VRS:
                if position + 12 > end:
                    raise ShortError
                _, _, length = without_vr(buffer, position + 4)
                value = position + 12
            elif vr not in SHORT_VRS and not vr.isalpha():
                if not (group or element or buffer[position:end].strip(b"\0")):
                    return  # padding
                # Implicit VR in the midst of Explicit VR: some old writers do it.
                vr = b"UN"
                _, _, length = without_vr(buffer, position)
                if group == 0:
                    raise InstanceError(Reason.DATA_SET_INVALID)
        else:
            group, element, length = without_vr(buffer, position)
        if group == 0xFFFE:
            raise InstanceError(Reason.DATA_SET_INVALID)
        tag = group << 16 | element
        if tag in stop_at:
            undefined = length == UNDEFINED
            yield RawElement(
                tag, vr, position, value, value if undefined else value + length, undefined
            )
            return
        if length == UNDEFINED:
            inner = IMPLICIT_LITTLE if vr == b"UN" else encoding  # PS3.5, Section 6.2.2
            stop = _skip_sequence(buffer, value, inner, 0)
            yield RawElement(tag, vr, position, value, stop, True)
        else:
            stop = value + length
            yield RawElement(tag, vr, position, value, stop, False)
        if stop > end:
            raise ShortError
        position = stop


def _item(buffer: bytes, position: int, order: str) -> tuple[int, int]:
    if position + 8 > len(buffer):
        raise ShortError
    group, element, length = struct.unpack_from(order + "HHL", buffer, position)
    return group << 16 | element, length


def _skip_sequence(buffer: bytes, position: int, encoding: Encoding, depth: int) -> int:
    """Return the offset past the delimiter of a sequence of undefined length."""
    if depth > _MAX_NESTING:
        raise InstanceError(Reason.DATA_SET_INVALID)
    while True:
        tag, length = _item(buffer, position, encoding.order)
        position += 8
        if tag == SEQUENCE_END:
            return position
        if tag != ITEM:
            raise InstanceError(Reason.DATA_SET_INVALID)
        if length == UNDEFINED:
            position = _skip_item(buffer, position, encoding, depth + 1)
        else:
            position += length


def _skip_item(buffer: bytes, position: int, encoding: Encoding, depth: int) -> int:
    """Return the offset past the delimiter of an item of undefined length."""
    order = encoding.order
    while True:
        tag, length = _item(buffer, position, order)
        if tag == ITEM_END:
            return position + 8
        if tag >> 16 == 0xFFFE:
            raise InstanceError(Reason.DATA_SET_INVALID)
        vr = b""
        position += 8
        if encoding.explicit:
            vr = buffer[position - 4 : position - 2]
            if vr in LONG_VRS:
                if position + 4 > len(buffer):
                    raise ShortError
                (length,) = struct.unpack_from(order + "L", buffer, position)
                position += 4
            elif vr.isalpha():
                (length,) = struct.unpack_from(order + "H", buffer, position - 2)
        if length == UNDEFINED:
            inner = IMPLICIT_LITTLE if vr == b"UN" else encoding
            position = _skip_sequence(buffer, position, inner, depth + 1)
        else:
            position += length
