"""The data elements of an encoded data set, one after the other (PS3.5 Section 7).

Everything that reads DICOM here starts from this tokenizer: elements stay encoded, none of them
becomes an object. Nesting is flat: a sequence is followed by its items, each of them opened and
closed, and by its end, whether the file delimits them by lengths or by delimitation items.
"""

from collections.abc import Iterator
from struct import Struct

from dicomferry.dicom.byte_window import ByteWindow
from dicomferry.dicom.dictionary import STANDARD_VR
from dicomferry.dicom.vr import (
    BY_REFERENCE,
    ITEM_ORDER,
    LONG_FORM,
    SHORT_FORM,
    UNDEFINED_LENGTH,
    Encoding,
    explicit_header,
    looks_like_vr,
    resolve_vr,
)
from dicomferry.errors import InstanceError, Reason

# (tag, vr, offset, length, value). The offset of the value is counted from the start of the file,
# or of the inflated data set; the value is the encoded bytes, empty where it is by reference.
Element = tuple[int, str, int, int, bytes]

ITEM = 0xFFFEE000  # its VR is the byte order of the item, "<" or ">"
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
# PS3.5 sets no bound. Real nesting stays below 20; JSON readers give up at a few hundred levels,
# and each sequence is three of them.
MAX_NESTING = 128

_INLINE_VR = {
    # Not (0000,0000): with a length of 0 it is padding.
    tag: vr
    for tag, vr in STANDARD_VR.items()
    if vr not in BY_REFERENCE and vr != "SQ" and tag
}


_IMPLICIT = {order: Struct(f"{order}HHL").unpack_from for order in "<>"}
_EXPLICIT = {order: Struct(f"{order}HH2sH").unpack_from for order in "<>"}
_LENGTH = {order: Struct(f"{order}L").unpack_from for order in "<>"}
_HEADER_AND_ITEM_TAG = 16
_SEQUENCE_END_BYTES = (b"\xfe\xff\xdd\xe0", b"\xff\xfe\xe0\xdd")


class ElementReader:
    """Reads the elements of data sets from a window, in one pass.

    Attributes:
        position: the offset after what has been read, once a walk is at its end.
        pixel_data: the element that ended the walk, if it did.
    """

    def __init__(self, window: ByteWindow) -> None:
        self.window = window
        self.position = 0
        self.pixel_data: Element | None = None

    def read(self, offset: int, encoding: Encoding) -> Iterator[Element]:
        """Yield the elements of the data set that starts at `offset`, up to its pixel data.

        Pixel data at the top level is the last element; its value is neither read nor checked.
        VRs are resolved by the dictionaries where the file has none or UN, as PS3.5 6.2.2 allows;
        where those leave a choice ("US or SS") the choice is left to the caller.

        Raises:
            InstanceError: TRUNCATED, MALFORMED, NESTED_TOO_DEEP, or what the window raises.
        """
        return self._data_set(offset, self.window.size, False, encoding, 0)

    def _data_set(  # noqa: PLR0912, PLR0915 - a call an element would cost a third of the speed
        self, position: int, end: int, delimited: bool, encoding: Encoding, depth: int
    ) -> Iterator[Element]:
        window = self.window
        implicit, order = encoding
        unpack = _IMPLICIT[order] if implicit else _EXPLICIT[order]
        unpack_length = _LENGTH[order]
        short_vr, long_vr, inline_vr = SHORT_FORM.get, LONG_FORM.get, _INLINE_VR.get
        creators: dict[int, str] = {}
        data, base = window.data, window.base
        at = position - base  # an index of `data`, as `start`, `stop`, `bound` and `last`
        bound = last = -1  # values that end up to `bound`, headers up to `last` are at hand

        while True:
            if at > last:
                position = at + base
                if position >= end:
                    if delimited:
                        raise self._overrun(position + 8)
                    break
                window.load(position, _HEADER_AND_ITEM_TAG)
                data, base = window.data, window.base
                at = position - base
                if depth == 0:
                    end = window.size  # of an inflated data set known when its end is met
                bound = min(window.limit, end - base)
                last = min(window.limit - _HEADER_AND_ITEM_TAG, end - base - 8)
                if at + 8 > bound:
                    if base + window.limit < end:
                        raise InstanceError(Reason.TRUNCATED)
                    if delimited or data[at:bound].strip(b"\0"):
                        raise self._overrun(position + 8)
                    position = end  # padding
                    break

            start = at + 8
            if implicit:
                group, number, length = unpack(data, at)
                tag = group << 16 | number
                vr = inline_vr(tag)
            else:
                group, number, code, length = unpack(data, at)
                tag = group << 16 | number
                vr = short_vr(code)

            if vr is None:
                if group == 0xFFFE:
                    position = start + base
                    # A delimiter is superfluous, but harmless, where a length ends the item too.
                    if tag == ITEM_END and (delimited or position == end > 0 < depth):
                        break
                    raise InstanceError(Reason.MALFORMED)
                if not implicit:
                    vr = long_vr(code)
                    if vr is not None and at <= bound - 12:
                        start = at + 12
                        (length,) = unpack_length(data, at + 8)
                    else:
                        vr, start, length = explicit_header(data, at, end - base, order)
                if not tag and not length:  # padding with zeros
                    position = end
                    break
                if vr is None or vr == "UN":
                    creator = creators.get(tag >> 8, "") if group & 1 else ""
                    vr = resolve_vr(tag, vr, length, creator, data[start : start + 4])
                position = start + base
                if vr == "SQ" and not (depth == 0 and tag in PIXEL_DATA):
                    yield tag, vr, position, length, b""
                    yield from self._sequence(position, end, length, encoding, depth + 1)
                    data, base = window.data, window.base
                    at = self.position - base
                    last = -1
                    continue
                if depth == 0 and tag in PIXEL_DATA:
                    self.pixel_data = tag, vr, position, length, b""
                    yield self.pixel_data
                    break
                if vr in BY_REFERENCE:
                    yield tag, vr, position, length, b""
                    if length == UNDEFINED_LENGTH:
                        position = self._after_fragments(position, order)
                        data, base = window.data, window.base
                    else:
                        position += length
                    if position > end:
                        raise self._overrun(position)
                    at = position - base
                    if at > bound:
                        last = -1
                    continue

            stop = start + length
            if stop > bound:
                position = start + base
                if length == UNDEFINED_LENGTH:
                    raise InstanceError(Reason.MALFORMED)
                if position + length > end:
                    raise self._overrun(position + length)
                value = window.require(position, length)
                yield tag, vr, position, length, value
                data, base = window.data, window.base
                at = position + length - base
                last = -1
            else:
                value = data[start:stop]
                yield tag, vr, start + base, length, value
                at = stop
            if group & 1 and number < 0x100:
                creators[group << 8 | number] = value.rstrip(b"\0 ").decode("latin-1")
        self.position = position

    def _sequence(
        self, position: int, end: int, length: int, encoding: Encoding, depth: int
    ) -> Iterator[Element]:
        """Yield the items of the sequence whose value starts at `position`, and its end."""
        if depth > MAX_NESTING:
            raise InstanceError(Reason.NESTED_TOO_DEEP)
        delimited = length == UNDEFINED_LENGTH
        if not delimited:
            end = self._end(position, length, end)
        while delimited or position < end:
            if position + 8 > end:
                raise self._overrun(position + 8)
            header = self.window.require(position, 8)
            position += 8
            if header[:4] in _SEQUENCE_END_BYTES:
                break
            if header[:4] not in ITEM_ORDER:
                raise InstanceError(Reason.MALFORMED)
            # Items in UN are implicit, little endian (PS3.5 6.2.2); elsewhere it occurs as well.
            order = ITEM_ORDER[header[:4]]
            (length,) = _LENGTH[order](header, 4)
            implicit = encoding.implicit or (length >= 8 and not self._is_explicit(position))
            item_end = end if length == UNDEFINED_LENGTH else self._end(position, length, end)
            yield ITEM, order, position, length, b""
            yield from self._data_set(
                position, item_end, length == UNDEFINED_LENGTH, Encoding(implicit, order), depth
            )
            position = self.position
            yield ITEM_END, "", position, 0, b""
        yield SEQUENCE_END, "", position, 0, b""
        self.position = position if delimited else end

    def _is_explicit(self, position: int) -> bool:
        """Tell whether the data set that starts at `position` is in explicit VR."""
        self.window.load(position, 8)
        at = position - self.window.base
        return looks_like_vr(self.window.data[at + 4 : at + 6])

    def _after_fragments(self, position: int, order: str) -> int:
        """Return the offset after the fragments of an encapsulated value (PS3.5 A.4)."""
        while True:
            group, number, length = _IMPLICIT[order](self.window.require(position, 8))
            position += 8
            tag = group << 16 | number
            if tag == SEQUENCE_END:
                return position
            if tag != ITEM or length == UNDEFINED_LENGTH:
                raise InstanceError(Reason.MALFORMED)
            position += length

    def _end(self, position: int, length: int, end: int) -> int:
        """Return where a value ends that must lie before `end`."""
        if position + length > end:
            raise self._overrun(position + length)
        return position + length

    def _overrun(self, stop: int) -> InstanceError:
        """Return what is wrong if something reaches up to `stop` but may not."""
        return InstanceError(Reason.TRUNCATED if stop > self.window.size else Reason.MALFORMED)
