"""Deflated Image Frame Compression (PS3.5, Section 8.2.16 and Annex A.4): zlib, frame by frame."""

import zlib

from dicomferry.dicom.part10_writer import DEFLATE_LEVEL
from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.image_pixel import ImagePixel
from dicomferry.pixels.quality import Quality
from dicomferry.pixels.samples import Decoded, Pixels, pack, unpack

METHOD = ""
SETTING = ""
DECODER = "zlib"
STARTS: tuple[bytes, ...] = ()


def decode(stream: bytes, image: ImagePixel, _syntax: str) -> Decoded:
    """Inflate a frame; never more than its attributes allow.

    Raises:
        InstanceError: CODE_STREAM_INVALID.
    """
    length = (image.frame_bits + 7) // 8
    try:
        raw = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream, length)
    except zlib.error:
        raise InstanceError(Reason.CODE_STREAM_INVALID) from None
    if len(raw) < length:
        raise InstanceError(Reason.CODE_STREAM_INVALID)
    photometric = "YBR_FULL" if image.photometric == "YBR_FULL_422" else image.photometric
    return Decoded(unpack(raw, image), photometric)


def plan(image: ImagePixel, _syntax: str) -> ImagePixel:
    """Return the attributes of the image as `encode` leaves it.

    Raises:
        InstanceError: UNFIT_FOR_COMPRESSION.
    """
    if image.is_float:
        raise InstanceError(Reason.UNFIT_FOR_COMPRESSION)
    return image


def encode(
    pixels: Pixels, source: ImagePixel, _planned: ImagePixel, _syntax: str, _quality: Quality
) -> bytes:
    """Deflate a frame."""
    deflater = zlib.compressobj(DEFLATE_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(pack(pixels, source)) + deflater.flush()


def loss(_stream: bytes, _syntax: str) -> str:
    """Return '': nothing is ever lost."""
    return ""
