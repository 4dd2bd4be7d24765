"""The header of a JPEG XL code stream, bare or in a container, read before libjxl sees it."""

from collections.abc import Iterator
from typing import NamedTuple

from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.image_pixel import ImagePixel

# More than all of what is read here can take.
_HEADER_BYTES = 64
_ASPECTS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


class JpegXlHeader(NamedTuple):
    """SizeHeader and ImageMetadata of a code stream (ISO/IEC 18181-1, Annex D).

    Attributes:
        rows, columns: as in the stream.
        precision: bits of a sample; 0 of floating-point ones, and where a preview or an animation
            comes first.
        is_still: there is neither a preview nor an animation.
        is_xyb: samples are in the color space that lossy encoding uses; False where a preview, an
            animation or extra channels come first.
    """

    rows: int
    columns: int
    precision: int
    is_still: bool
    is_xyb: bool


def check_jpegxl(stream: bytes, image: ImagePixel) -> JpegXlHeader:
    """Read the header of a stream, and compare it with the attributes.

    In a few bytes there can be thousands of pictures, and a frame has one.

    Raises:
        InstanceError: CODE_STREAM_INVALID, CODE_STREAM_MISMATCH.
    """
    header = read_jpegxl(stream)
    if (
        (header.rows, header.columns) != (image.rows, image.columns)
        or not header.is_still
        or not 1 <= header.precision <= image.bits_allocated
    ):
        raise InstanceError(Reason.CODE_STREAM_MISMATCH)
    return header


def read_jpegxl(stream: bytes) -> JpegXlHeader:
    """Read the header.

    Raises:
        InstanceError: CODE_STREAM_INVALID.
    """
    start = _code_stream(stream)
    if stream[start : start + 2] != b"\xff\x0a" or len(stream) < start + 12:
        raise InstanceError(Reason.CODE_STREAM_INVALID)
    bits = _Bits(stream[start + 2 : start + 2 + _HEADER_BYTES])
    rows, columns = bits.size()
    if bits.take(1):  # all of the metadata has its default: 8 bits in XYB
        return JpegXlHeader(rows, columns, precision=8, is_still=True, is_xyb=True)
    if bits.take(1):
        bits.take(3)  # orientation
        if bits.take(1):
            bits.size()  # the intrinsic one
        if bits.take(1) or bits.take(1):  # preview, animation
            return JpegXlHeader(rows, columns, precision=0, is_still=False, is_xyb=False)
    precision = 0
    if bits.take(1):  # floating point: depth and exponent
        bits.choose(32, 16, 24, (6, 1))
        bits.take(4)
    else:
        precision = bits.choose(8, 10, 12, (6, 1))
    bits.take(1)  # 16 bits are enough to decode
    extra_channels = bits.choose(0, 1, (4, 2), (12, 1))
    is_xyb = not extra_channels and bool(bits.take(1))
    return JpegXlHeader(rows, columns, precision, is_still=True, is_xyb=is_xyb)


def holds_jpeg(stream: bytes) -> bool:
    """Whether a container has what it takes to restore a JPEG (18181-2, box jbrd)."""
    return any(kind == b"jbrd" for kind, _ in _boxes(stream))


def _code_stream(stream: bytes) -> int:
    """Return where the code stream begins, or its first part in a container (18181-2)."""
    if stream[4:8] != b"JXL ":
        return 0
    for kind, start in _boxes(stream):
        if kind in (b"jxlc", b"jxlp"):
            return start + (12 if kind == b"jxlp" else 8)
    raise InstanceError(Reason.CODE_STREAM_INVALID)


def _boxes(stream: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield type and offset of each box; of a bare code stream there is none."""
    start = 0 if stream[4:8] == b"JXL " else len(stream)
    while start + 8 <= len(stream):
        yield stream[start + 4 : start + 8], start
        length = int.from_bytes(stream[start : start + 4], "big")
        if length < 8:  # up to the end, or more than 4 GiB
            return
        start += length


class _Bits:
    """Bits of a header, the least significant of each byte first; beyond its end they are 0."""

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._bits & ((1 << count) - 1)
        self._bits >>= count
        return value

    def choose(self, *choices: int | tuple[int, int]) -> int:
        """Read U32: one of four constants, or (bits, offset)."""
        choice = choices[self.take(2)]
        return choice if isinstance(choice, int) else self.take(choice[0]) + choice[1]

    def size(self) -> tuple[int, int]:
        """Read SizeHeader: rows and columns."""
        small = bool(self.take(1))
        rows = self._extent(small)
        ratio = self.take(3)
        if not ratio:
            return rows, self._extent(small)
        up, down = _ASPECTS[ratio - 1]
        return rows, rows * up // down

    def _extent(self, small: bool) -> int:
        if small:
            return 8 * (1 + self.take(5))
        return self.choose((9, 1), (13, 1), (18, 1), (30, 1))
