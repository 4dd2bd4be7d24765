"""Headers of elements that are not by the book (PS3.5 7.1): without a VR, or after zeros.

What they are shows by what comes after them. Where nothing does, the file is refused: a length
that is guessed wrong would pass over all that follows.
"""

import re
from struct import Struct

from dicomferry.dicom.dictionary import STANDARD_VR, other_vr
from dicomferry.dicom.encoding import UNDEFINED_LENGTH, DataSetEncoding
from dicomferry.dicom.vr import KNOWN_VRS, looks_like_vr
from dicomferry.errors import InstanceError, Reason

# The longest value of the short form, and a header after it.
LOOK_AHEAD = 0x10000 + 24
_TAG = {order: Struct(f"{order}HH").unpack_from for order in "<>"}
_LENGTH = {order: Struct(f"{order}L").unpack_from for order in "<>"}
_SHORT_LENGTH = {order: Struct(f"{order}H").unpack_from for order in "<>"}
_ZEROS = re.compile(rb"\0+")
_NO_TAG, _NO_HEADER = bytes(4), bytes(8)


def header_without_vr(data: bytes, at: int, stop: int, end: int, order: str) -> tuple[int, int]:
    """Return start and length of the value where an explicit data set has no VR that is known.

    Two bytes that are no VR come before a length of 16 bits, as dcmtk has it. Two capital letters
    may be a VR to come: these have the long form (PS3.5 7.1.2). Some writers put elements in
    implicit VR into explicit data sets: the element that follows the value tells.

    Args:
        data: holds the header.
        at: the index of the element in `data`, which holds its first 8 bytes at least.
        stop: up to where `data` may be looked at, `LOOK_AHEAD` or up to `end`.
        end: the index up to which its value may reach.
        order: "<" little endian, ">" big endian.

    Raises:
        InstanceError: MALFORMED.
    """
    (short,) = _SHORT_LENGTH[order](data, at + 6)
    if not looks_like_vr(data[at + 4 : at + 6]):
        (length,) = _LENGTH[order](data, at + 4)
        if _leads_on(data, at, at + 8 + length, (stop, end), order):
            return at + 8, length
        _check_next(data, at, at + 8 + short, stop, order)
        return at + 8, short
    if not short and at + 12 <= stop:
        (length,) = _LENGTH[order](data, at + 8)
        after = at + 12 + length
        if _leads_on(data, at, after, (stop, end), order):
            return at + 12, length
        if after <= end and not _leads_on(data, at, at + 8, (stop, end), order):
            return at + 12, length
    return at + 8, short


def is_implicit(data: bytes, at: int, stop: int, end: int, order: str) -> bool:
    """Tell whether a data set that should be explicit starts with an element in implicit VR.

    Args:
        data, at, stop, end, order: as `header_without_vr` takes them.
    """
    while at + 8 <= stop and not looks_like_vr(data[at + 4 : at + 6]):
        (length,) = _LENGTH[order](data, at + 4)
        (short,) = _SHORT_LENGTH[order](data, at + 6)
        if length != short:
            after, bounds = at + 8 + short, (stop, end)
            if _leads_on(data, at, at + 8 + length, bounds, order):
                return True
            is_followed = data[after + 4 : after + 6] in KNOWN_VRS and after + 8 <= stop
            return not (is_followed or _leads_on(data, at, after, bounds, order))
        at += 8 + length  # the same in either
    return at + 8 > stop


def _check_next(data: bytes, at: int, after: int, stop: int, order: str) -> None:
    """Raise MALFORMED if what is at `after`, where an element ends, cannot be a header."""
    if after + 8 > stop or data[after : after + 4] == _NO_TAG:
        return
    group, number = _TAG[order](data, after)
    is_known = group == 0xFFFE or data[after + 4 : after + 6] in KNOWN_VRS
    is_later = group & 1 and (group, number) > _TAG[order](data, at)
    if not (is_known or is_later or group << 16 | number in STANDARD_VR):
        raise InstanceError(Reason.MALFORMED)


def _leads_on(data: bytes, at: int, after: int, bounds: tuple[int, int], order: str) -> bool:
    """Tell whether an element at `at` that ends at `after` is followed by another, or the end."""
    stop, end = bounds
    if after + 8 > stop:
        return after == end
    group, number = _TAG[order](data, after)
    if (group, number) <= _TAG[order](data, at):
        return False
    if group == 0xFFFE:
        return number in (0xE00D, 0xE0DD)
    if not group & 1 or number < 0x10 or group == 0xFFFF:
        return group << 16 | number in STANDARD_VR
    (length,) = _LENGTH[order](data, after + 4)
    fits = length == UNDEFINED_LENGTH or after + 8 + length <= stop
    return fits or data[after + 4 : after + 6] in KNOWN_VRS


def after_zeros(data: bytes, at: int, bound: int, room: int) -> int:
    """Return the index after the zeros at `at`, of which some may belong to the next header.

    Args:
        data: holds the zeros.
        at: the index of the first one; at least `LOOK_AHEAD` before `bound`, or that is `room`.
        bound: up to where `data` may be looked at.
        room: the index of the end of the data set.

    Raises:
        InstanceError: TRUNCATED.
    """
    if bound < room and bound < at + LOOK_AHEAD:
        raise InstanceError(Reason.TRUNCATED)
    run = _ZEROS.match(data, at, bound)
    end = run.end() if run else at
    if end < bound - 8:
        return at + (end - at) // 2 * 2  # of (0028,0010) the first byte is zero in big endian
    if end == bound == room:
        return end
    return end - 8 - (end - at) % 8 if bound < room else at + (end - at) // 2 * 2


def check_header(data: bytes, at: int, encoding: DataSetEncoding) -> None:
    """Raise MALFORMED unless more zeros, an element or a delimiter is at `at`, after a gap."""
    if data[at : at + 8] == _NO_HEADER:
        return
    group, number = _TAG[encoding.order](data, at)
    tag = group << 16 | number
    if encoding.implicit:
        is_header = group & 1 or tag in STANDARD_VR or other_vr(tag) != "UN"
    else:
        is_header = data[at + 4 : at + 6] in KNOWN_VRS
    if not (is_header or group == 0xFFFE):
        raise InstanceError(Reason.MALFORMED)
