"""Whether the pixel data of a file is all there, without reading it.

A transfer that broke off is the most frequent defect of real archives, and it hides: the header
is intact. Native pixel data must fit into the file by its declared length; encapsulated pixel
data must end with a Sequence Delimitation Item (PS3.5 A.4), which the end of the file shows.
"""

from struct import Struct

from headers.elements import ITEM, UNDEFINED_LENGTH, Element, ElementReader, Encoding
from headers.failures import InstanceError
from headers.readable import Readable
from headers.window import InflatedWindow, MemoryWindow, Window

_TAIL = 1 << 16
_DELIMITER = {"<": b"\xfe\xff\xdd\xe0" + bytes(4), ">": b"\xff\xfe\xe0\xdd" + bytes(4)}
_HEADER = {order: Struct(f"{order}HHL") for order in "<>"}
# Walking the fragments costs a read each, and is needed only if more than `_TAIL` follows them.
_MOST_FRAGMENTS = 1000


def check_pixel_data(
    file: Readable, window: Window, pixel_data: Element, encoding: Encoding
) -> None:
    """Raise if pixel data is cut off.

    Raises:
        InstanceError: TRUNCATED, or BROKEN_DEFLATE.
    """
    _, _, offset, length, _ = pixel_data
    if isinstance(window, InflatedWindow):
        complete = length == UNDEFINED_LENGTH or window.reaches(offset + length)
    elif length != UNDEFINED_LENGTH:
        complete = offset + length <= file.size
    else:
        complete = _is_delimited(file, offset, encoding)
    if not complete:
        raise InstanceError("TRUNCATED")


def _is_delimited(file: Readable, offset: int, encoding: Encoding) -> bool:
    """Tell whether the fragments that start at `offset` end, and what follows them is complete."""
    delimiter = _DELIMITER[encoding.order]
    start = max(offset, file.size - _TAIL)
    tail = file.read(start, file.size - start)
    at = tail.rfind(delimiter)
    while at >= 0:
        if _is_complete(tail[at + len(delimiter) :], encoding):
            return True
        at = tail.rfind(delimiter, 0, at)
    return start > offset and _reaches_delimiter(file, offset, encoding.order)


def _is_complete(rest: bytes, encoding: Encoding) -> bool:
    """Tell whether bytes are nothing but padding and whole elements."""
    try:
        for _ in ElementReader(MemoryWindow(rest)).read(0, encoding):
            pass
    except InstanceError:
        return False
    return True


def _reaches_delimiter(file: Readable, offset: int, order: str) -> bool:
    """Tell whether the fragments that start at `offset` lead to their delimiter, one by one."""
    for _ in range(_MOST_FRAGMENTS):
        header = file.read(offset, 8)
        if len(header) < 8 or header == _DELIMITER[order]:
            return len(header) == 8
        group, number, length = _HEADER[order].unpack(header)
        if group << 16 | number != ITEM:
            return False
        offset += 8 + length
    return False
