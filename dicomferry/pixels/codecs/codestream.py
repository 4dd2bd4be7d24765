"""The headers of code streams, read before any decoder sees them.

A decoder allocates by the size in the stream, not by the attributes. So the two are compared
first: a stream that disagrees with Rows, Columns or Samples per Pixel is not decoded.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.image_pixel import ImagePixel


class JpegHeader(NamedTuple):
    """The frame header of a JPEG or JPEG-LS stream (ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2).

    Attributes:
        sof: offset of the frame header's marker.
        marker: its second byte: 0xC0 baseline … 0xC3 lossless, 0xF7 JPEG-LS.
        precision, rows, columns: as in the stream.
        component_ids: one a component.
        jfif: it has a JFIF segment.
        adobe_transform: of an Adobe segment; None without one.
    """

    sof: int
    marker: int
    precision: int
    rows: int
    columns: int
    component_ids: tuple[int, ...]
    jfif: bool
    adobe_transform: int | None

    @property
    def has_rgb_ids(self) -> bool:
        """The components are named R, G and B."""
        return self.component_ids in ((82, 71, 66), (114, 103, 98))


class Jpeg2000Header(NamedTuple):
    """The SIZ segment of a JPEG 2000 code stream (ISO/IEC 15444-1 A.5.1).

    Attributes:
        precision: bits of the deepest component.
        signed: of the first component.
    """

    precision: int
    signed: bool


_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}


def read_jpeg(stream: bytes) -> JpegHeader:
    """Read the segments of a JPEG or JPEG-LS stream up to its frame header.

    Raises:
        InstanceError: CODE_STREAM_INVALID.
    """
    if stream[:2] != b"\xff\xd8":
        raise InstanceError(Reason.CODE_STREAM_INVALID)
    position, jfif, adobe = 2, False, None
    try:
        while True:
            while stream[position] == 0xFF and stream[position + 1] == 0xFF:
                position += 1  # fill bytes
            prefix, marker, length = struct.unpack_from(">BBH", stream, position)
            if prefix != 0xFF or length < 2:
                raise InstanceError(Reason.CODE_STREAM_INVALID)
            segment = stream[position + 4 : position + 2 + length]
            if marker == 0xE0 and segment.startswith(b"JFIF"):
                jfif = True
            elif marker == 0xEE and segment.startswith(b"Adobe") and len(segment) >= 12:
                adobe = segment[11]
            elif marker in _FRAME_HEADERS:
                precision, rows, columns, count = struct.unpack_from(">BHHB", segment)
                ids = tuple(segment[6 : 6 + 3 * count : 3])
                if len(ids) != count:
                    raise InstanceError(Reason.CODE_STREAM_INVALID)
                return JpegHeader(position, marker, precision, rows, columns, ids, jfif, adobe)
            position += 2 + length
    except (struct.error, IndexError):
        raise InstanceError(Reason.CODE_STREAM_INVALID) from None


def check_jpeg(header: JpegHeader, image: ImagePixel) -> None:
    """Compare a stream with the attributes.

    Raises:
        InstanceError: CODE_STREAM_MISMATCH.
    """
    if (
        (header.rows, header.columns) != (image.rows, image.columns)
        or len(header.component_ids) != image.samples
        or not 2 <= header.precision <= image.bits_allocated
    ):
        raise InstanceError(Reason.CODE_STREAM_MISMATCH)


def scan_parameters(stream: bytes, header: JpegHeader) -> Iterator[bytes]:
    """Yield the last three bytes of each scan header of a JPEG or JPEG-LS stream.

    Of JPEG they are Ss, Se, Ah and Al (ISO/IEC 10918-1 B.2.3), of JPEG-LS NEAR, ILV and the point
    transform (14495-1 C.2.3). Coded samples never hold a marker; they are not searched once each
    component has had its scan.
    """
    missing = len(header.component_ids)
    at = header.sof
    while missing > 0 and (at := stream.find(b"\xff\xda", at)) >= 0:
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        if end - at >= 8 and end <= len(stream):
            yield stream[end - 3 : end]
            missing -= stream[at + 4]
        at += 2


def check_end(stream: bytes) -> None:
    """Refuse a JPEG, JPEG-LS or JPEG 2000 stream without its end marker (EOI and EOC are the same).

    libjpeg and OpenJPH fill up what a truncated stream lacks, with no more than a warning, and
    CharLS takes seconds to notice.

    Raises:
        InstanceError: CODE_STREAM_INVALID.
    """
    if stream.rfind(b"\xff\xd9") < 0:
        raise InstanceError(Reason.CODE_STREAM_INVALID)


def read_jpeg2000(stream: bytes, image: ImagePixel) -> Jpeg2000Header:
    """Read the SIZ segment of a code stream, or of one in a JP2 file, and compare it.

    Raises:
        InstanceError: CODE_STREAM_INVALID, CODE_STREAM_MISMATCH.
    """
    start = 0
    try:
        if stream[4:8] == b"jP  ":
            while stream[start + 4 : start + 8] != b"jp2c":
                (length,) = struct.unpack_from(">L", stream, start)
                if length < 8:
                    raise InstanceError(Reason.CODE_STREAM_INVALID)
                start += length
            start += 8
        if stream[start : start + 4] != b"\xff\x4f\xff\x51":
            raise InstanceError(Reason.CODE_STREAM_INVALID)
        right, bottom, left, top, *tile, count = struct.unpack_from(">8LH", stream, start + 8)
        depths = stream[start + 42 : start + 42 + 3 * count]
        if len(depths) != 3 * count or not count:
            raise InstanceError(Reason.CODE_STREAM_INVALID)
    except struct.error:
        raise InstanceError(Reason.CODE_STREAM_INVALID) from None
    precision = max((each & 0x7F) + 1 for each in depths[::3])
    width, height = right - left, bottom - top
    across, down = _tiles(left, right, tile[0], tile[2]), _tiles(top, bottom, tile[1], tile[3])
    if (
        (height, width, count) != (image.rows, image.columns, image.samples)
        or len(set(depths[::3])) > 1
        or set(depths[1::3] + depths[2::3]) != {1}
        or precision > max(image.bits_allocated, 8)
        or not 1 <= across * down <= 65535
    ):
        raise InstanceError(Reason.CODE_STREAM_MISMATCH)
    return Jpeg2000Header(precision, bool(depths[0] & 0x80))


def _tiles(start: int, stop: int, size: int, origin: int) -> int:
    """Return the number of tiles between two edges, 0 if the tile grid is invalid (15444-1 B.3).

    OpenJPH works for minutes at tiles that begin after the picture does.
    """
    return -(-(stop - origin) // size) if size and origin <= start < origin + size else 0
