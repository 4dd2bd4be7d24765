"""The data elements of an encoded data set, one after the other (PS3.5 Section 7).

The one tokenizer below Metadata (`json_model`) and transcoding (`raw_elements`). Elements stay
encoded: they do not become objects. Nesting is flat: a sequence is followed by its items, each
of them opened and closed, and by its end, whether the file delimits them by lengths or by
delimitation items.
"""

from collections.abc import Iterator
from struct import Struct

from dicomferry.dicom.byte_window import ByteWindow
from dicomferry.dicom.dictionary import STANDARD_VR
from dicomferry.dicom.encoding import EXPLICIT_LITTLE, UNDEFINED_LENGTH, DataSetEncoding
from dicomferry.dicom.odd_headers import (
    LOOK_AHEAD,
    after_zeros,
    check_header,
    header_without_vr,
    is_implicit,
)
from dicomferry.dicom.tags import ITEM, ITEM_END, PIXEL_DATA_TAGS, SEQUENCE_END
from dicomferry.dicom.vr import (
    BY_REFERENCE,
    ITEM_ORDER,
    LONG_FORM,
    SHORT_FORM,
    looks_like_vr,
    resolve_vr,
)
from dicomferry.errors import InstanceError, Reason

# (tag, vr, offset, length, value). The offset of the value is counted from the start of the file,
# or of the inflated data set; the value is the encoded bytes, empty where it is by reference.
# The VR of an ITEM is its byte order, "<" or ">".
Element = tuple[int, str, int, int, bytes]

# PS3.5 sets no bound. Real nesting stays below 20; JSON readers give up at a few hundred levels,
# and each sequence is three of them.
MAX_NESTING = 128

_INLINE_VR = {
    # Not (0000,0000): with a length of 0 it is padding.
    tag: vr
    for tag, vr in STANDARD_VR.items()
    if vr not in BY_REFERENCE and vr != "SQ" and tag
}
_GET_VR = SHORT_FORM.get, LONG_FORM.get, _INLINE_VR.get
_IMPLICIT = {order: Struct(f"{order}HHL").unpack_from for order in "<>"}
_EXPLICIT = {order: Struct(f"{order}HH2sH").unpack_from for order in "<>"}
_LENGTH = {order: Struct(f"{order}L").unpack_from for order in "<>"}
_HEADER_AND_ITEM_TAG = 16
_ITEM_AND_VR = 14  # an item's header, and its first element up to where a VR would be
_NO_TAGS: frozenset[int] = frozenset()
_GROUP_LENGTH = 4  # bytes, of (0000,0000) as any other
_ITEM_END_BYTES = (b"\xfe\xff\x0d\xe0", b"\xff\xfe\xe0\x0d")
_SEQUENCE_END_BYTES = (b"\xfe\xff\xdd\xe0", b"\xff\xfe\xe0\xdd")


class ElementReader:
    """Reads the elements of data sets from a window, in one pass.

    Attributes:
        position: the offset after the elements that have been read, once a walk is at its end; in
            the midst of one, where the element of undefined length ends that was yielded last,
            unless its items are yielded or it is the pixel data.
        item_encoding: of the item that was opened last.
        gaps: of a walk that passes over sequences, where zeros are in the place of an element, and
            where each such run ends.
        pixel_data: the element that ended the walk, if it did.
    """

    def __init__(
        self,
        window: ByteWindow,
        *,
        descend: bool = True,
        stop_at: frozenset[int] = PIXEL_DATA_TAGS,
    ) -> None:
        """Prepare a walk.

        Args:
            window: holds the data set.
            descend: yield the items of sequences; else sequences are passed over.
            stop_at: the top-level tags that end the walk; their values are not looked at.
        """
        self.window = window
        self.position = 0
        self.item_encoding = EXPLICIT_LITTLE
        self.gaps: dict[int, int] = {}
        self.pixel_data: Element | None = None
        self._descend = descend
        self._stop_at = stop_at

    def read(self, offset: int, encoding: DataSetEncoding) -> Iterator[Element]:
        """Yield the elements of the data set that starts at `offset`, up to its pixel data.

        Pixel data at the top level is the last element; its value is neither read nor checked.
        VRs are resolved by the dictionaries where the file has none or UN, as PS3.5 6.2.2 allows;
        where those leave a choice ("US or SS") the choice is left to the caller.

        Raises:
            InstanceError: TRUNCATED, MALFORMED, NESTED_TOO_DEEP, or as the window raises.
        """
        return self._data_set(offset, self.window.size, False, encoding, 0)

    def _data_set(  # noqa: PLR0912, PLR0915 - a call an element would cost a third of the speed
        self, position: int, end: int, delimited: bool, encoding: DataSetEncoding, depth: int
    ) -> Iterator[Element]:
        window = self.window
        implicit, order = encoding
        explicit = not implicit
        unpack = _IMPLICIT[order] if implicit else _EXPLICIT[order]
        unpack_length = _LENGTH[order]
        short_vr, long_vr, inline_vr = _GET_VR
        descend = self._descend
        stop_at = _NO_TAGS if depth else self._stop_at
        creators: dict[int, str] = {}
        data, base = window.data, window.base
        at = position - base  # an index of `data`, as `start`, `stop`, `bound` and `last`
        bound = last = limit = -1  # values that end up to `bound`, headers up to `last` are at hand
        superfluous = -1  # where a Sequence Delimitation Item does no harm

        while True:
            if at > last:
                position = at + base
                if position >= end:
                    if delimited:
                        raise self._overrun(position + 8)
                    break
                if at + _HEADER_AND_ITEM_TAG > window.limit or base != window.base:
                    window.load(position, _HEADER_AND_ITEM_TAG)
                data, base, limit = window.data, window.base, window.limit
                at = position - base
                if depth == 0:
                    end = window.size  # of an inflated data set known when its end is met
                room = end - base
                bound = limit if limit < room else room
                last = (limit - _HEADER_AND_ITEM_TAG) if limit - 8 < room else room - 8
                if at + 8 > bound:
                    if base + limit < end:
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
                    if tag != SEQUENCE_END or at + base != superfluous:
                        raise InstanceError(Reason.MALFORMED)
                    if not descend:
                        self.gaps[at + base] = position
                    at = start
                    continue
                if explicit and (vr := long_vr(code)) is not None:
                    if at > bound - 12:
                        raise self._overrun(at + base + 12)
                    start = at + 12
                    (length,) = unpack_length(data, at + 8)
                elif explicit or (not tag and length != _GROUP_LENGTH):  # odd
                    position = at + base
                    window.load(position, LOOK_AHEAD)
                    data, base, limit = window.data, window.base, window.limit
                    end = min(end, window.size)  # which may have become known
                    at, room, last = position - base, end - base, -1
                    bound = limit if limit < room else room
                    if not tag:  # zeros: padding, or a gap that data follow
                        at = after_zeros(data, at, bound, room)
                        if at <= bound - 8:
                            check_header(data, at, encoding)
                        if not descend:
                            self.gaps[position] = at + base
                        continue
                    start, length = header_without_vr(data, at, bound, room, order)
                if not descend and length != UNDEFINED_LENGTH and tag not in stop_at:
                    position = start + base  # it ends by its length, whatever it is
                    at = self._end(position, length, end) - base
                    superfluous = at + base
                    yield tag, vr or "UN", position, length, b""
                    continue
                if vr is None or vr == "UN":
                    creator = creators.get(tag >> 8, "") if group & 1 else ""
                    vr = resolve_vr(tag, vr, length, creator, data[start : start + 4])
                position = start + base
                if vr == "SQ" and tag not in stop_at:
                    if descend:
                        yield tag, vr, position, length, b""
                        yield from self.read_items(position, end, length, encoding, depth + 1)
                    else:
                        for _ in self.read_items(position, end, length, encoding, depth + 1):
                            pass
                        yield tag, vr, position, length, b""
                    at = self.position - base
                    if length != UNDEFINED_LENGTH:
                        superfluous = self.position
                    if window.base != base or window.limit != limit:
                        data, base = window.data, window.base
                        at = self.position - base
                        last = -1
                    continue
                if tag in stop_at:
                    self.position = position
                    self.pixel_data = tag, vr, position, length, b""
                    yield self.pixel_data
                    break
                if vr in BY_REFERENCE:
                    if length == UNDEFINED_LENGTH:
                        self.position = self._after_fragments(position, order)
                        yield tag, vr, position, length, b""
                        position = self.position
                        data, base = window.data, window.base
                    else:
                        yield tag, vr, position, length, b""
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
            if group & 1 and number < 0x100 and descend:
                creators[group << 8 | number] = value.rstrip(b"\0 ").decode("latin-1")
        self.position = position

    def read_items(
        self, position: int, end: int, length: int, encoding: DataSetEncoding, depth: int = 1
    ) -> Iterator[Element]:
        """Yield the items of one sequence, their elements and its end.

        Args:
            position: of the value of the sequence.
            end: up to where it may reach.
            length: of the value, or `UNDEFINED_LENGTH`.
            encoding: of the data set that the sequence is in.
            depth: in how many sequences the items are, from 1.

        Raises:
            InstanceError: as `read`.
        """
        if depth > MAX_NESTING:
            raise InstanceError(Reason.NESTED_TOO_DEEP)
        delimited = length == UNDEFINED_LENGTH
        if not delimited:
            end = self._end(position, length, end)
        length = -1  # of the item before
        window = self.window
        own_implicit, own_order = encoding
        while delimited or position < end:
            if position + 8 > end:
                raise self._overrun(position + 8)
            at = position - window.base
            if at + _ITEM_AND_VR > window.limit:
                window.load(position, _ITEM_AND_VR)
                at = position - window.base
            data = window.data
            if at + 8 > window.limit:
                raise InstanceError(Reason.TRUNCATED)
            position += 8
            order = ITEM_ORDER.get(data[at : at + 4])
            if order is None:
                if data[at : at + 4] in _SEQUENCE_END_BYTES:
                    if delimited:
                        break
                    continue  # superfluous, as an Item Delimitation Item after a length
                if data[at : at + 4] in _ITEM_END_BYTES and length not in (-1, UNDEFINED_LENGTH):
                    continue
                raise InstanceError(Reason.MALFORMED)
            (length,) = _LENGTH[order](data, at + 4)
            inner = encoding
            # Items in UN are implicit, little endian (PS3.5 6.2.2); elsewhere it occurs as well.
            implicit = own_implicit
            if not implicit and length >= 8 and not looks_like_vr(data[at + 12 : at + 14]):
                item_end = end if length == UNDEFINED_LENGTH else min(end, position + length)
                implicit = self._is_implicit(position, item_end, order)
            if order != own_order or implicit != own_implicit:
                inner = DataSetEncoding(implicit, order)
            item_end = end if length == UNDEFINED_LENGTH else self._end(position, length, end)
            self.item_encoding = inner
            yield ITEM, order, position, length, b""
            yield from self._data_set(position, item_end, length == UNDEFINED_LENGTH, inner, depth)
            position = self.position
            yield ITEM_END, "", position, 0, b""
        yield SEQUENCE_END, "", position, 0, b""
        self.position = position if delimited else end

    def _is_implicit(self, position: int, end: int, order: str) -> bool:
        """Tell whether an item starts with an element in implicit VR; only to be called if odd."""
        window = self.window
        window.load(position, LOOK_AHEAD)
        base = window.base
        room = end - base
        return is_implicit(window.data, position - base, min(window.limit, room), room, order)

    def _after_fragments(self, position: int, order: str) -> int:
        """Return the offset after the fragments of an encapsulated value (PS3.5 A.4)."""
        while True:
            tag, length = parse_item(self.window.require(position, 8), order)
            position += 8
            if tag == SEQUENCE_END:
                return position
            if tag != ITEM or length == UNDEFINED_LENGTH:
                raise InstanceError(Reason.MALFORMED)
            position += length

    def _end(self, position: int, length: int, end: int) -> int:
        """Return where a value ends that must not reach beyond `end`."""
        if position + length > end:
            raise self._overrun(position + length)
        return position + length

    def _overrun(self, stop: int) -> InstanceError:
        """Return the error for a value that reaches up to `stop` but must not."""
        return InstanceError(Reason.TRUNCATED if stop > self.window.size else Reason.MALFORMED)


def parse_item(header: bytes, order: str) -> tuple[int, int]:
    """Return tag and length of an item, fragment or delimitation item from its 8 bytes."""
    group, number, length = _IMPLICIT[order](header)
    return group << 16 | number, length
