"""JPEG XL (PS3.5, Section 8.2.15; ISO/IEC 18181)."""

import imagecodecs
import numpy as np

from headers.failures import InstanceError
from transcode import jpeg
from transcode.codestream import check_jpeg, check_jpegxl, read_jpeg
from transcode.colour import to_rgb
from transcode.image import ImagePixel
from transcode.pixels import (
    DECODE_ERRORS,
    Decoded,
    Pixels,
    from_decoder,
    precision,
    require_integers_to_16_bits,
    unsigned,
)
from transcode.quality import Quality
from transcode.syntaxes import JPEG_BASELINE, JPEG_XL_LOSSLESS, JPEG_XL_RECOMPRESSION

METHOD = "ISO_18181_1"
_LOSSLESS_EFFORT = 1  # 20 times as fast as effort 3, streams 3 % longer
_LOSSY_EFFORT = 4


def decode(stream: bytes, image: ImagePixel, syntax: str) -> Decoded:
    """Decode a frame. One that is a recompressed JPEG becomes that JPEG's pixels exactly.

    Raises:
        InstanceError: CODE_STREAM_INVALID, CODE_STREAM_MISMATCH.
    """
    if syntax == JPEG_XL_RECOMPRESSION:
        return jpeg.decode(to_jpeg(stream, image), image, JPEG_BASELINE)
    check_jpegxl(stream, image)
    try:
        decoded = imagecodecs.jpegxl_decode(stream, numthreads=1)
    except DECODE_ERRORS:
        raise InstanceError("CODE_STREAM_INVALID") from None
    photometric = "RGB" if image.samples == 3 else image.photometric
    return Decoded(from_decoder(decoded, image, image.bits_stored), photometric)


def plan(image: ImagePixel, syntax: str) -> ImagePixel:
    """Return the attributes of the image as `encode` leaves it.

    Raises:
        InstanceError: the pixels do not fit; the code says why.
    """
    if syntax == JPEG_XL_RECOMPRESSION:
        raise InstanceError("NOT_JPEG_BASELINE")
    require_integers_to_16_bits(image)
    if syntax == JPEG_XL_LOSSLESS:
        if image.samples == 3 and image.photometric != "RGB":
            # A JPEG XL stream of YBR samples exists only for recompressed JPEG; turned into RGB
            # they would be rounded.
            raise InstanceError("COLOUR_UNFIT_FOR_JPEG_XL")
        return image
    if image.photometric == "PALETTE COLOR":
        raise InstanceError("PALETTE_NOT_LOSSY")
    if image.signed:
        raise InstanceError("SIGNED_NOT_LOSSY")
    if image.samples == 3:
        return image._replace(photometric="RGB")
    return image


def encode(
    pixels: Pixels, source: ImagePixel, _planned: ImagePixel, syntax: str, quality: Quality
) -> bytes:
    """Encode a frame as a bare code stream."""
    lossless = syntax == JPEG_XL_LOSSLESS
    if source.samples == 3:
        pixels = to_rgb(pixels, source, source.photometric)
    samples = np.ascontiguousarray(unsigned(pixels, source))
    return bytes(
        imagecodecs.jpegxl_encode(
            samples,
            lossless=lossless,
            distance=None if lossless else quality.jxl_distance,
            effort=_LOSSLESS_EFFORT if lossless else _LOSSY_EFFORT,
            bitspersample=precision(source),
            usecontainer=False,
            numthreads=1,
        )
    )


def from_jpeg(stream: bytes, image: ImagePixel) -> bytes:
    """Recompress a JPEG stream so that it can be had back bit by bit.

    Raises:
        InstanceError: CODE_STREAM_INVALID, CODE_STREAM_MISMATCH.
    """
    check_jpeg(read_jpeg(stream), image)
    try:
        return bytes(imagecodecs.jpegxl_encode_jpeg(stream, usecontainer=True, numthreads=1))
    except DECODE_ERRORS:
        raise InstanceError("CODE_STREAM_INVALID") from None


def to_jpeg(stream: bytes, image: ImagePixel) -> bytes:
    """Return the JPEG stream that was recompressed.

    Raises:
        InstanceError: CODE_STREAM_INVALID, CODE_STREAM_MISMATCH.
    """
    check_jpegxl(stream, image)
    try:
        return bytes(imagecodecs.jpegxl_decode_jpeg(stream, numthreads=1))
    except DECODE_ERRORS:
        raise InstanceError("CODE_STREAM_INVALID") from None
