"""RLE Lossless (PS3.5, Section 8.2.2 and Annex G)."""

import struct

import numpy as np
import rle as pylibjpeg_rle
from rle import utils as rle_utils

from headers.failures import InstanceError
from transcode.image import ImagePixel
from transcode.pixels import DECODE_ERRORS, Decoded, Pixels, correct, unpack
from transcode.quality import Quality

METHOD = ""
_MOST_SEGMENTS = 15


def decode(stream: bytes, image: ImagePixel, _syntax: str) -> Decoded:
    """Decode a frame.

    Raises:
        InstanceError: CODE_STREAM_INVALID, CODE_STREAM_MISMATCH.
    """
    if len(stream) < 64:
        raise InstanceError("CODE_STREAM_INVALID")
    segments = struct.unpack_from("<L", stream)[0]
    if segments != image.samples * image.dtype.itemsize:
        raise InstanceError("CODE_STREAM_MISMATCH")
    photometric = "YBR_FULL" if image.photometric == "YBR_FULL_422" else image.photometric
    if image.bits_allocated == 1:
        packed = (image.frame_bits + 7) // 8
        return Decoded(unpack(_decode_frame(stream, packed, 8, packed), image), photometric)
    size = image.rows * image.columns * image.samples * image.dtype.itemsize
    buffer = _decode_frame(stream, image.rows * image.columns, image.bits_allocated, size)
    pixels = np.frombuffer(buffer, image.dtype)
    if image.samples > 1:
        planes = pixels.reshape(image.samples, image.rows, image.columns)
        pixels = np.ascontiguousarray(planes.transpose(1, 2, 0))
    return Decoded(correct(pixels.reshape(image.shape), image), photometric)


def _decode_frame(stream: bytes, pixels: int, bits_allocated: int, size: int) -> bytes:
    """Decode a frame to `size` bytes; it takes no more memory than these."""
    try:
        decoded = bytes(rle_utils.decode_frame(stream, pixels, bits_allocated, "<"))
    except DECODE_ERRORS:
        raise InstanceError("CODE_STREAM_INVALID") from None
    except BaseException as error:
        # A segment that is too long ends in a panic of the library, which is no Exception and has
        # no importable class. It unwinds like one: nothing is corrupted.
        if type(error).__name__ == "PanicException":
            raise InstanceError("CODE_STREAM_INVALID") from None
        raise
    if len(decoded) != size:  # segments may be counted, and have no place
        raise InstanceError("CODE_STREAM_INVALID")
    return decoded


def plan(image: ImagePixel, _syntax: str) -> ImagePixel:
    """Return the attributes of the image as `encode` leaves it.

    Raises:
        InstanceError: UNFIT_FOR_RLE.
    """
    if (
        image.is_float
        or image.bits_allocated not in (8, 16, 32)
        or image.samples not in (1, 3)
        or image.samples * image.bits_allocated // 8 > _MOST_SEGMENTS
    ):
        raise InstanceError("UNFIT_FOR_RLE")
    return image._replace(planar=1 if image.samples > 1 else 0)


def encode(
    pixels: Pixels, source: ImagePixel, _planned: ImagePixel, _syntax: str, _quality: Quality
) -> bytes:
    """Encode a frame."""
    return bytes(
        pylibjpeg_rle.encode_pixel_data(
            pixels.tobytes(),
            byteorder="<",
            rows=source.rows,
            columns=source.columns,
            bits_allocated=source.bits_allocated,
            samples_per_pixel=source.samples,
        )
    )
