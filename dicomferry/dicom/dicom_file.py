"""A DICOM file as its raw data elements (PS3.10, Section 7; PS3.5, Section 7.1).

The elements stay encoded: a transcoded file repeats the bytes of every element that the pixels do
not dictate. What is before the pixel data is read in one go, the pixel data is located only.
"""

import struct
import tempfile
import zlib
from typing import IO, NamedTuple

from dicomferry.dicom.range_reader import RangeReader
from dicomferry.dicom.raw_elements import LONG_VRS, Encoding, RawElement, ShortError, scan
from dicomferry.dicom.transfer_syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    SYNTAXES,
    TransferSyntax,
)
from dicomferry.errors import InstanceError, Reason

FLOAT_PIXEL_DATA = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA = 0x7FE00009
PIXEL_DATA = 0x7FE00010
PIXEL_TAGS = frozenset({FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA, PIXEL_DATA})

# Attributes before or after the pixels. Whole slides of a million tiles have some 200 MiB.
MAX_ATTRIBUTE_BYTES = 512 << 20
# Native Pixel Data has a length of 32 bits, so no honest data set inflates to much more.
MAX_INFLATED_BYTES = (4 << 30) + MAX_ATTRIBUTE_BYTES
_IN_ONE_READ = 8 << 20
_FIRST_READ = 1 << 20
_IN_MEMORY = 64 << 20


class DicomFile(NamedTuple):
    """A file, opened: its attributes are in memory, its pixel data is not.

    Attributes:
        preamble: 128 bytes, empty where the file has none.
        meta: the elements of group 0002 as (tag, VR, value).
        syntax: the transfer syntax.
        encoding: of the data set; what the bytes show, where the UID says otherwise.
        source: what holds the data set; the file itself, or what it inflates to.
        buffer: the data set from the start of `source` on, up to the pixel data at least.
        elements: top-level elements before the pixel data.
        pixels: the pixel data element; its `end` is its start of value if its length is undefined.
    """

    preamble: bytes
    meta: list[tuple[int, bytes, bytes]]
    syntax: TransferSyntax
    encoding: Encoding
    source: RangeReader
    buffer: bytes
    elements: list[RawElement]
    pixels: RawElement | None

    def value(self, tag: int) -> bytes | None:
        """Return the encoded value of a top-level attribute, None if it is absent."""
        for element in self.elements:
            if element.tag == tag:
                return self.buffer[element.value : element.end]
        return None

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes [offset, offset + length) of the data set, without I/O where they are here.

        Fewer at the end.
        """
        if offset + length <= len(self.buffer):
            return self.buffer[offset : offset + length]
        return self.source.read(offset, length)

    def tail(self, offset: int) -> tuple[bytes, list[RawElement]]:
        """Return what follows the pixel data, which ends at `offset`, as a buffer and elements."""
        size = self.source.size - offset
        if size > MAX_ATTRIBUTE_BYTES:
            raise InstanceError(Reason.DATA_SET_TOO_LARGE)
        rest = self.source.read(offset, size) if size > 0 else b""
        if not rest.strip(b"\0"):  # padding to a block size
            return b"", []
        try:
            return rest, list(scan(rest, 0, len(rest), self.encoding, frozenset()))
        except ShortError:
            raise InstanceError(Reason.DATA_SET_INVALID) from None


class _Spooled:
    """A `RangeReader` over a temporary file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer at the end."""
        self._file.seek(offset)
        return self._file.read(length)


def open_file(file: RangeReader) -> DicomFile:
    """Read the attributes of a DICOM file and locate its pixel data.

    Raises:
        InstanceError: NOT_DICOM, DATA_SET_INVALID, DATA_SET_TOO_LARGE, SYNTAX_UNKNOWN.
    """
    head = file.read(0, file.size if file.size <= _IN_ONE_READ else _FIRST_READ)
    preamble, start = (head[:128], 132) if head[128:132] == b"DICM" else (b"", 0)
    meta, start = _read_meta(head, start)
    syntax = _syntax(meta, head, start, bool(preamble))
    source: RangeReader = file
    if syntax.deflated:
        source = _inflate(file, start)
        head, start = source.read(0, min(source.size, _IN_ONE_READ)), 0
    encoding = _encoding(syntax, head, start)
    while True:
        try:
            elements = list(scan(head, start, len(head), encoding, PIXEL_TAGS))
            break
        except ShortError:
            if len(head) >= source.size:
                raise InstanceError(Reason.DATA_SET_INVALID) from None
            if len(head) >= MAX_ATTRIBUTE_BYTES:
                raise InstanceError(Reason.DATA_SET_TOO_LARGE) from None
            more = source.read(len(head), max(len(head), _FIRST_READ))
            if not more:
                raise InstanceError(Reason.DATA_SET_INVALID) from None
            head += more
    pixels = elements.pop() if elements and elements[-1].tag in PIXEL_TAGS else None
    return DicomFile(preamble, meta, syntax, encoding, source, head, elements, pixels)


def _read_meta(head: bytes, start: int) -> tuple[list[tuple[int, bytes, bytes]], int]:
    """Return the File Meta Information and the offset of the data set.

    Its group length is not trusted: the group ends where the next one starts.
    """
    meta = []
    position = start
    while head[position : position + 2] == b"\x02\x00":
        vr = head[position + 4 : position + 6]
        try:
            if vr in LONG_VRS:
                (length,) = struct.unpack_from("<L", head, position + 8)
                value = position + 12
            else:
                (length,) = struct.unpack_from("<H", head, position + 6)
                value = position + 8
            (number,) = struct.unpack_from("<H", head, position + 2)
        except struct.error:
            raise InstanceError(Reason.DATA_SET_INVALID) from None
        if value + length > len(head) or not vr.isalpha():
            raise InstanceError(Reason.DATA_SET_INVALID)
        meta.append((0x00020000 | number, vr, head[value : value + length]))
        position = value + length
    return meta, position


def _syntax(
    meta: list[tuple[int, bytes, bytes]], head: bytes, start: int, has_preamble: bool
) -> TransferSyntax:
    for tag, _, value in meta:
        if tag == 0x00020010 and value.strip(b"\0 "):
            uid = value.strip(b"\0 ").decode("ascii", "replace")
            if uid not in SYNTAXES:
                raise InstanceError(Reason.SYNTAX_UNKNOWN)
            return SYNTAXES[uid]
    # Without a Transfer Syntax UID the bytes have to tell, as they do to every reader.
    if len(head) < start + 8:
        raise InstanceError(Reason.DATA_SET_INVALID if has_preamble else Reason.NOT_DICOM)
    little, big = (struct.unpack_from(order + "H", head, start)[0] for order in "<>")
    explicit = head[start + 4 : start + 6].isupper()
    if not has_preamble and not meta and min(little, big) not in (0x0002, 0x0004, 0x0008):
        raise InstanceError(Reason.NOT_DICOM)
    if not explicit:
        return SYNTAXES[IMPLICIT_VR_LITTLE_ENDIAN]
    return SYNTAXES[EXPLICIT_VR_LITTLE_ENDIAN if little <= big else EXPLICIT_VR_BIG_ENDIAN]


def _encoding(syntax: TransferSyntax, head: bytes, start: int) -> Encoding:
    """Return the encoding that the first element shows; some files contradict their UID."""
    code = head[start + 4 : start + 6]
    if len(code) < 2 or not syntax.little_endian:
        return Encoding(syntax.explicit, syntax.little_endian)
    return Encoding(code.isupper() and code.isalpha(), True)


def _inflate(file: RangeReader, start: int) -> RangeReader:
    """Inflate a data set (PS3.5, Annex A.5) into memory or, beyond 64 MiB, a temporary file."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 (lives on)
    size = 0
    position = start
    try:
        while not inflater.eof and position < file.size:
            block = file.read(position, _FIRST_READ)
            if not block:
                break
            position += len(block)
            while block and not inflater.eof:
                part = inflater.decompress(block, _FIRST_READ)
                block = inflater.unconsumed_tail
                size += len(part)
                if size > MAX_INFLATED_BYTES:
                    raise InstanceError(Reason.DATA_SET_TOO_LARGE)
                spool.write(part)
    except zlib.error:
        raise InstanceError(Reason.DATA_SET_INVALID) from None
    if not inflater.eof:
        raise InstanceError(Reason.DATA_SET_INVALID)
    return _Spooled(spool, size)
