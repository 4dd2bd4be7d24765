"""Number of Frames (0028,0008), as writers write it."""

import re
import struct

# Of an IS; some writers make it a decimal.
_COUNT = re.compile(rb"\+?([0-9]{1,10})(?:\.0*)?")


def parse_number(value: bytes, order: str) -> int | None:
    """Read a US; some writers make it a UL or text. None if it is no number.

    Args:
        value: as in the file.
        order: of its bytes, as `struct` writes it.
    """
    if len(value) in (2, 4):
        return int(struct.unpack(order + ("H" if len(value) == 2 else "L"), value)[0])
    text = value.strip(b"\0 ")
    return int(text) if text.isdigit() and len(text) < 12 else None


def parse_frame_count(value: bytes, order: str) -> int | None:
    """Read Number of Frames: an IS; some writers make it a US or UL. Empty or 0 is 1.

    Returns:
        None if it is no number of frames.
    """
    text = value.strip(b"\0 ")
    if not text:
        return 1
    match = _COUNT.fullmatch(text)
    is_text = all(0x20 <= each < 0x7F for each in text)
    frames = int(match[1]) if match else None if is_text else parse_number(value, order)
    return None if frames is None else max(1, frames)
