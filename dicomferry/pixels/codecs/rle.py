"""RLE Lossless (PS3.5, Section 8.2.2 and Annex G)."""

import struct

import imagecodecs
import numpy as np
import numpy.typing as npt
import rle as pylibjpeg_rle

from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.image_pixel import ImagePixel
from dicomferry.pixels.quality import Quality
from dicomferry.pixels.samples import DECODE_ERRORS, Decoded, Pixels, correct, unpack

METHOD = ""
SETTING = ""
DECODER = "imagecodecs (PackBits)"
STARTS: tuple[bytes, ...] = ()  # the number of segments, in any of four bytes
_MAX_SEGMENTS = 15


def decode(stream: bytes, image: ImagePixel, _syntax: str) -> Decoded:
    """Decode a frame.

    Raises:
        InstanceError: CODE_STREAM_INVALID, CODE_STREAM_MISMATCH.
    """
    if len(stream) < 64:  # the header with its 15 offsets
        raise InstanceError(Reason.CODE_STREAM_INVALID)
    segments = struct.unpack_from("<L", stream)[0]
    if segments != image.samples * image.dtype.itemsize:
        raise InstanceError(Reason.CODE_STREAM_MISMATCH)
    photometric = "YBR_FULL" if image.photometric == "YBR_FULL_422" else image.photometric
    if image.bits_allocated == 1:
        [[packed]] = _bytes_of(stream, 1, 1, (image.frame_bits + 7) // 8)
        return Decoded(unpack(packed.tobytes(), image), photometric)
    size = image.dtype.itemsize
    planes = _bytes_of(stream, image.samples, size, image.rows * image.columns)
    # The most significant byte comes first.
    samples = planes[:, ::-1].transpose(2, 0, 1).copy().view(image.dtype)
    return Decoded(correct(samples.reshape(image.shape), image), photometric)


def _bytes_of(stream: bytes, samples: int, size: int, pixels: int) -> npt.NDArray[np.uint8]:
    """Decode a frame's segments, by sample and by byte of it; no more memory than a few of them.

    Not by pylibjpeg-rle, which panics, and says so on standard error, at a segment that is too
    long. What comes after the last pixel is padding, as long as it does not grow by a run.
    """
    count = samples * size
    offsets = [*struct.unpack_from(f"<{count}L", stream, 4), len(stream)]
    decoded = np.empty((count, pixels), np.uint8)
    for plane, start, end in zip(decoded, offsets, offsets[1:], strict=False):
        if not 64 <= start < end <= len(stream):
            raise InstanceError(Reason.CODE_STREAM_INVALID)
        room = bytearray(pixels + end - start)
        try:
            found = imagecodecs.packbits_decode(stream[start:end], out=room)
        except DECODE_ERRORS:
            raise InstanceError(Reason.CODE_STREAM_INVALID) from None
        if len(found) < pixels:
            raise InstanceError(Reason.CODE_STREAM_INVALID)
        plane[:] = np.frombuffer(room, np.uint8, pixels)
    return decoded.reshape(samples, size, pixels)


def plan(image: ImagePixel, _syntax: str) -> ImagePixel:
    """Return the attributes of the image as `encode` leaves it.

    Raises:
        InstanceError: UNFIT_FOR_RLE.
    """
    if (
        image.is_float
        or image.bits_allocated not in (8, 16, 32)
        or image.samples not in (1, 3)
        or image.samples * image.bits_allocated // 8 > _MAX_SEGMENTS
    ):
        raise InstanceError(Reason.UNFIT_FOR_RLE)
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


def loss(_stream: bytes, _syntax: str) -> str:
    """Return '': nothing is ever lost."""
    return ""
