"""Check that pixel data is complete, without reading it.

A transfer that broke off is the most frequent defect of real archives, and it hides: the header
is intact. Native pixel data must fit into the file by its declared length, encapsulated pixel
data must end with a Sequence Delimitation Item (PS3.5 A.4), and elements after either must be
complete too. Bytes that are not an element do no harm: some transfers append them.
"""

from struct import Struct

from dicomferry.dicom.byte_window import ByteWindow, InflatedWindow, MemoryWindow
from dicomferry.dicom.dictionary import STANDARD_VR
from dicomferry.dicom.elements import Element, ElementReader, parse_item
from dicomferry.dicom.encoding import UNDEFINED_LENGTH, DataSetEncoding
from dicomferry.dicom.range_reader import RangeReader
from dicomferry.dicom.tags import ITEM
from dicomferry.dicom.vr import explicit_header
from dicomferry.errors import InstanceError, Reason

_TAIL = 1 << 16
_DELIMITER = {"<": b"\xfe\xff\xdd\xe0" + bytes(4), ">": b"\xff\xfe\xe0\xdd" + bytes(4)}
_HEADER = {order: Struct(f"{order}HHL") for order in "<>"}
# Walking the fragments costs a read each, and is needed only if the end of the file is odd.
_MAX_FRAGMENTS = 1000


def check_pixel_data(
    file: RangeReader, window: ByteWindow, pixel_data: Element, encoding: DataSetEncoding
) -> None:
    """Raise if pixel data, or an element after it, is cut off.

    Raises:
        InstanceError: TRUNCATED, BROKEN_DEFLATE, INFLATED_TOO_LARGE.
    """
    _, _, offset, length, _ = pixel_data
    if isinstance(window, InflatedWindow):
        if length != UNDEFINED_LENGTH and not window.reaches(offset + length):
            raise InstanceError(Reason.TRUNCATED)
        return
    if length != UNDEFINED_LENGTH:
        end = offset + length
    elif _ends_with_delimiter(file, offset, encoding):
        return
    else:
        end = _after_fragments(file, offset, encoding.order)
    if _after_elements(file, end, encoding) > file.size:
        raise InstanceError(Reason.TRUNCATED)


def _ends_with_delimiter(file: RangeReader, offset: int, encoding: DataSetEncoding) -> bool:
    """Tell whether the file ends with a delimiter and nothing but whole elements after it."""
    delimiter = _DELIMITER[encoding.order]
    start = max(offset, file.size - _TAIL)
    tail = file.read(start, file.size - start)
    at = tail.rfind(delimiter)
    return at >= 0 and _is_complete(tail[at + len(delimiter) :], encoding)


def _is_complete(rest: bytes, encoding: DataSetEncoding) -> bool:
    try:
        for _ in ElementReader(MemoryWindow(rest)).read(0, encoding):
            pass
    except InstanceError:
        return False
    return True


def _after_fragments(file: RangeReader, offset: int, order: str) -> int:
    """Return the offset after the delimiter to which the fragments at `offset` lead."""
    for _ in range(_MAX_FRAGMENTS):
        header = file.read(offset, 8)
        if header == _DELIMITER[order]:
            return offset + 8
        if len(header) < 8:
            break
        tag, length = parse_item(header, order)
        if tag != ITEM:
            break
        offset += 8 + length
    raise InstanceError(Reason.TRUNCATED)


def _after_elements(file: RangeReader, offset: int, encoding: DataSetEncoding) -> int:
    """Return where the elements that start at `offset` end by their lengths.

    Stops at bytes that cannot be an element after pixel data, or at an undefined length.
    """
    while offset + 12 <= file.size:
        head = file.read(offset, 12)
        group, number, length = _HEADER[encoding.order].unpack_from(head)
        start = 8
        if encoding.implicit:
            known = group << 16 | number in STANDARD_VR
        else:
            vr, start, length = explicit_header(head, 0, file.size - offset, encoding.order)
            known = vr is not None
        if not known or group < 0x7FE0 or length == UNDEFINED_LENGTH:
            break
        offset += start + length
    return offset
