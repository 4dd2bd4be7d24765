"""Encoded elements, data sets and files, byte by byte, for what pydicom would not write."""

import struct
import zlib

from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from dicomferry.dicom.encoding import EXPLICIT_LITTLE, UNDEFINED_LENGTH, DataSetEncoding

STUDY, SERIES, SOP = "1.2.3", "1.2.3.4", "1.2.3.4.5"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"


def element(
    tag: int,
    vr: str,
    value: bytes | str,
    encoding: DataSetEncoding = EXPLICIT_LITTLE,
    length: int | None = None,
) -> bytes:
    """Encode one element (PS3.5 7.1), its length as it is unless told."""
    raw = value.encode() if isinstance(value, str) else value
    order = encoding.order
    length = len(raw) if length is None else length
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if encoding.implicit:
        return head + struct.pack(f"{order}L", length) + raw
    if vr in EXPLICIT_VR_LENGTH_32:
        return head + vr.encode() + bytes(2) + struct.pack(f"{order}L", length) + raw
    return head + vr.encode() + struct.pack(f"{order}H", length) + raw


def delimiter(tag: int, length: int = 0, order: str = "<") -> bytes:
    """Encode an Item (FFFE,E000) or one of the delimitation items."""
    return struct.pack(f"{order}HHL", tag >> 16, tag & 0xFFFF, length)


def item(data_set: bytes, order: str = "<", undefined: bool = False) -> bytes:
    """Encode an item (PS3.5 7.5.1)."""
    if undefined:
        return (
            delimiter(0xFFFEE000, UNDEFINED_LENGTH, order)
            + data_set
            + delimiter(0xFFFEE00D, 0, order)
        )
    return delimiter(0xFFFEE000, len(data_set), order) + data_set


def sequence(
    tag: int, *items: bytes, encoding: DataSetEncoding = EXPLICIT_LITTLE, undefined: bool = False
) -> bytes:
    """Encode a sequence of encoded items (PS3.5 7.5)."""
    value = b"".join(items)
    if not undefined:
        return element(tag, "SQ", value, encoding)
    value += delimiter(0xFFFEE0DD, 0, encoding.order)
    return element(tag, "SQ", value, encoding, UNDEFINED_LENGTH)


def identity(
    study: str = STUDY,
    series: str = SERIES,
    sop: str = SOP,
    encoding: DataSetEncoding = EXPLICIT_LITTLE,
) -> bytes:
    """Encode the elements that every instance needs, without (0008,eeee) other than its own."""
    return (
        element(0x00080016, "UI", SECONDARY_CAPTURE + "\0", encoding)
        + element(0x00080018, "UI", sop, encoding)
        + element(0x0020000D, "UI", study, encoding)
        + element(0x0020000E, "UI", series, encoding)
    )


def file_meta(
    syntax: str | None = EXPLICIT, *more: bytes, group_length: int | None = None
) -> bytes:
    """Encode group 0002 (PS3.10 7.1)."""
    body = element(0x00020001, "OB", b"\0\1") + b"".join(more)
    if syntax is not None:
        body += element(0x00020010, "UI", syntax)
    length = len(body) if group_length is None else group_length
    return element(0x00020000, "UL", struct.pack("<L", length)) + body


def part10(data_set: bytes, syntax: str | None = EXPLICIT, meta: bytes | None = None) -> bytes:
    """Return a file with preamble, group 0002 and the data set, deflated if the syntax says so."""
    if syntax == DEFLATED:
        data_set = deflate(data_set)
    return bytes(128) + b"DICM" + (file_meta(syntax) if meta is None else meta) + data_set


def deflate(data_set: bytes) -> bytes:
    """Deflate as PS3.5 A.5 does: without the header of zlib."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data_set) + deflater.flush()


class Ranges:
    """A file that is read by ranges, and counts what is read."""

    def __init__(self, data: bytes, size: int | None = None) -> None:
        self._data = data
        self._size = len(data) if size is None else size
        self.reads: list[tuple[int, int]] = []

    @property
    def size(self) -> int:
        return self._size

    @property
    def bytes_read(self) -> int:
        return sum(length for _, length in self.reads)

    def read(self, offset: int, length: int) -> bytes:
        part = self._data[offset : offset + length]
        self.reads.append((offset, len(part)))
        return part
