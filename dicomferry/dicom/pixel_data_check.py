"""Check that pixel data is complete, without reading it.

A transfer that broke off is the most frequent defect of real archives, and it hides: the header
is intact. Native pixel data must fit into the file by its declared length, encapsulated pixel
data must end with a Sequence Delimitation Item (PS3.5 A.4), and elements after either must be
complete too. Bytes that are not an element do no harm: some transfers append them.
"""

from dicomferry.dicom.byte_window import ByteWindow, InflatedWindow, MemoryWindow
from dicomferry.dicom.elements import Element, ElementReader, parse_item
from dicomferry.dicom.encoding import UNDEFINED_LENGTH, DataSetEncoding
from dicomferry.dicom.range_reader import RangeReader
from dicomferry.dicom.raw_elements import elements_after
from dicomferry.dicom.tags import ITEM, SEQUENCE_END
from dicomferry.errors import InstanceError, Reason

_TAIL = 1 << 16
_DELIMITER_TAG = {"<": b"\xfe\xff\xdd\xe0", ">": b"\xff\xfe\xe0\xdd"}
# Walking the fragments costs a read each, and is needed only if the end of the file is odd.
_MAX_FRAGMENTS = 1000


def check_pixel_data(
    file: RangeReader, window: ByteWindow, pixel_data: Element, encoding: DataSetEncoding
) -> None:
    """Raise if pixel data, or an element after it, is cut off.

    Raises:
        InstanceError: TRUNCATED, or as the elements after it, BROKEN_DEFLATE, INFLATED_TOO_LARGE.
    """
    _, _, offset, length, _ = pixel_data
    if length != UNDEFINED_LENGTH:
        end = offset + length
        if not (window.reaches(end) if isinstance(window, InflatedWindow) else end <= file.size):
            raise InstanceError(Reason.TRUNCATED)
    elif isinstance(window, InflatedWindow) or _ends_with_delimiter(file, offset, encoding):
        return
    else:
        end = _after_fragments(file, offset, encoding.order)
    elements_after(window, end, encoding)


def _ends_with_delimiter(file: RangeReader, offset: int, encoding: DataSetEncoding) -> bool:
    """Tell whether the file ends with a delimiter and nothing but whole elements after it."""
    start = max(offset, file.size - _TAIL)
    tail = file.read(start, file.size - start)
    at = tail.rfind(_DELIMITER_TAG[encoding.order])
    return 0 <= at <= len(tail) - 8 and _is_complete(tail[at + 8 :], encoding)


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
        if len(header) < 8:
            break
        tag, length = parse_item(header, order)
        if tag == SEQUENCE_END:  # whatever its length says
            return offset + 8
        if tag != ITEM:
            break
        offset += 8 + length
    raise InstanceError(Reason.TRUNCATED)
