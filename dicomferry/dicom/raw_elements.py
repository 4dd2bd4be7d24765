"""Raw data elements: where each one is in its buffer (PS3.5 Section 7.1).

A transcoder needs the bytes of the elements that `ElementReader` finds, not their meaning: a
transcoded file repeats them. The items of a sequence are read on request.
"""

from collections.abc import Iterator
from itertools import repeat
from typing import NamedTuple

from dicomferry.dicom.byte_window import ByteWindow, whole_window
from dicomferry.dicom.dictionary import STANDARD_VR
from dicomferry.dicom.elements import Element, ElementReader, parse_item
from dicomferry.dicom.encoding import UNDEFINED_LENGTH, DataSetEncoding
from dicomferry.dicom.odd_headers import LOOK_AHEAD
from dicomferry.dicom.tags import ITEM, ITEM_END, PIXEL_DATA
from dicomferry.dicom.vr import KNOWN_VRS
from dicomferry.errors import InstanceError, Reason

# An export has codes of its own: it says what to do about an instance that is stored already.
_EXPORT_CODES = {
    Reason.TRUNCATED: Reason.DATA_SET_INVALID,
    Reason.MALFORMED: Reason.DATA_SET_INVALID,
    Reason.BROKEN_DEFLATE: Reason.DATA_SET_INVALID,
    Reason.HEADER_TOO_LARGE: Reason.DATA_SET_TOO_LARGE,
    Reason.INFLATED_TOO_LARGE: Reason.DATA_SET_TOO_LARGE,
    Reason.EMPTY_FILE: Reason.NOT_DICOM,
    Reason.GZIPPED: Reason.NOT_DICOM,
    Reason.ZIPPED: Reason.NOT_DICOM,
}


class RawElement(NamedTuple):
    """Where one data element is in its buffer.

    Attributes:
        tag: group << 16 | element.
        start: of the tag.
        value: of the value.
        end: past the value and its delimiter.
        undefined: the length is undefined.
    """

    tag: int
    start: int
    value: int
    end: int
    undefined: bool

    def vr(self, buffer: bytes, encoding: DataSetEncoding) -> bytes:
        """Return the VR as written, empty if the file has none that is known.

        Args:
            buffer: holds the element.
            encoding: of the data set that the element is in.
        """
        if encoding.implicit:
            return b""
        code = buffer[self.start + 4 : self.start + 6]
        return code if code in KNOWN_VRS else b""


class Item(NamedTuple):
    """One item of a sequence (PS3.5 7.5).

    Attributes:
        encoding: of its elements.
        undefined: its length is undefined.
        elements: in their order, without any delimiter.
    """

    encoding: DataSetEncoding
    undefined: bool
    elements: list[RawElement]


def take_elements(reader: ElementReader, events: Iterator[Element], start: int) -> list[RawElement]:
    """Return the elements of one data set, up to its end or the end of its item.

    Args:
        reader: gives `events`, and passes sequences over.
        events: at the first element.
        start: the offset of the first element.
    """
    places = []
    for tag, vr, value, length, _ in events:
        if tag == ITEM_END and not vr:  # with a VR it is an element that has this tag
            break
        end = value + length
        undefined = length == UNDEFINED_LENGTH
        if undefined:
            end = reader.position
        places.append((tag, start, value, end, undefined))
        start = end
    # A third of the time of a RawElement(…) each, which does nothing else.
    elements = list(map(tuple.__new__, repeat(RawElement), places))
    if reader.gaps:
        elements = [each._replace(start=_after_gaps(each.start, reader.gaps)) for each in elements]
    return elements


def _after_gaps(position: int, gaps: dict[int, int]) -> int:
    while position in gaps:
        position = gaps[position]
    return position


def elements_after(window: ByteWindow, offset: int, encoding: DataSetEncoding) -> list[RawElement]:
    """Return the elements that follow pixel data, which ends at `offset`.

    Some transfers append bytes to a file that are no elements: these end the data set.

    Raises:
        InstanceError: TRUNCATED, MALFORMED, NESTED_TOO_DEEP, or as the window raises.
    """
    if offset >= window.size:
        return []
    reader = ElementReader(window, descend=False, stop_at=frozenset())
    return take_elements(reader, _while_elements(reader, offset, encoding), offset)


def _while_elements(
    reader: ElementReader, position: int, encoding: DataSetEncoding
) -> Iterator[Element]:
    events = reader.read(position, encoding)
    while _is_element_after(reader.window, position, encoding):
        event = next(events, None)
        if event is None:
            return
        yield event
        position = event[2] + event[3] if event[3] != UNDEFINED_LENGTH else reader.position


def _is_element_after(window: ByteWindow, position: int, encoding: DataSetEncoding) -> bool:
    """Tell whether zeros, or none, and an element that can follow pixel data are at `position`."""
    window.load(position, 8)
    at = position - window.base
    head = window.data[at : min(at + 8, window.limit)]
    if not any(head[:4]):
        window.load(position, LOOK_AHEAD)
        at = position - window.base
        rest = window.data[at : min(at + LOOK_AHEAD, window.limit)]
        zeros = (len(rest) - len(rest.lstrip(b"\0"))) // 2 * 2
        head = rest[zeros : zeros + 8]
        if len(head) < 8:
            return at + len(rest) < window.size - window.base  # more zeros, perhaps
    if len(head) < 8:
        return False
    tag, _ = parse_item(head, encoding.order)
    if tag & 0x10000 and tag >> 16 != 0xFFFF:
        return tag > PIXEL_DATA and (encoding.implicit or head[4:6] in KNOWN_VRS)
    return tag > PIXEL_DATA and tag in STANDARD_VR


def list_elements(buffer: bytes, encoding: DataSetEncoding) -> list[RawElement]:
    """Return the elements of a whole data set; pixel data is one of them.

    Raises:
        InstanceError: DATA_SET_INVALID, NESTED_TOO_DEEP.
    """
    reader = ElementReader(whole_window(buffer), descend=False, stop_at=frozenset())
    try:
        return take_elements(reader, reader.read(0, encoding), 0)
    except InstanceError as error:
        raise as_export_error(error) from None


def read_items(
    buffer: bytes, sequence: RawElement, encoding: DataSetEncoding, depth: int = 1
) -> Iterator[Item]:
    """Yield the items of a sequence.

    Args:
        buffer: holds the sequence.
        sequence: where it is.
        encoding: of the data set that it is in.
        depth: in how many sequences the items are, from 1.

    Raises:
        InstanceError: DATA_SET_INVALID, NESTED_TOO_DEEP.
    """
    reader = ElementReader(whole_window(buffer), descend=False)
    value, end = sequence.value, sequence.end
    size = UNDEFINED_LENGTH if sequence.undefined else end - value
    try:
        events = reader.read_items(value, end, size, encoding, depth)
        for tag, _, position, length, _ in events:
            if tag == ITEM:
                own = reader.item_encoding
                elements = take_elements(reader, events, position)
                yield Item(own, length == UNDEFINED_LENGTH, elements)
    except InstanceError as error:
        raise as_export_error(error) from None


def as_export_error(error: InstanceError) -> InstanceError:
    """Return an error of the reader with the code that exports have for it."""
    return InstanceError(_EXPORT_CODES.get(error.code, error.code))
