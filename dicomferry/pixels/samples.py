"""Frames as arrays, and the conversions that the codecs share.

A decoded frame is an array of `ImagePixel.shape` and `ImagePixel.dtype`: color by pixel, little
endian, signed numbers extended to the word, single bits one a byte.
"""

from typing import Any, NamedTuple

import numpy as np

from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.image_pixel import ImagePixel

Pixels = np.ndarray[Any, np.dtype[Any]]

# What imagecodecs, pyjpegls and pylibjpeg-rle raise on streams that they cannot decode.
DECODE_ERRORS = (RuntimeError, ValueError, OverflowError, IndexError)


class Decoded(NamedTuple):
    """One frame, decoded.

    Attributes:
        pixels: the frame.
        photometric: Photometric Interpretation of its samples; the stream's, if it differs from
            the attributes'.
    """

    pixels: Pixels
    photometric: str


def unpack(raw: bytes, image: ImagePixel, index: int = 0) -> Pixels:
    """Return a native, little-endian frame as an array.

    Args:
        raw: the bytes that hold the frame.
        image: its attributes.
        index: of the frame, from 0, where frames of single bits follow without padding.

    Raises:
        InstanceError: PIXEL_ATTRIBUTES_INVALID: subsampled color of single bits.
    """
    if image.bits_allocated == 1:
        if image.is_subsampled:
            raise InstanceError(Reason.PIXEL_ATTRIBUTES_INVALID)
        first = index * image.frame_bits % 8
        bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")
        return bits[first : first + image.frame_bits].reshape(image.shape)
    samples = np.frombuffer(raw, image.dtype, count=image.frame_bits // image.bits_allocated)
    if image.is_subsampled:
        samples = _expand_422(samples, image)
    elif image.samples > 1 and image.planar:
        samples = by_pixel(samples.reshape(image.samples, image.rows, image.columns))
    return correct(samples.reshape(image.shape), image)


def by_pixel(planes: Pixels) -> Pixels:
    """Return (samples, rows, columns) as (rows, columns, samples).

    A copy in any case: numpy takes an array of one row or column for contiguous whatever its
    strides are, and libraries in C look at these.
    """
    return planes.transpose(1, 2, 0).copy()


def pack(pixels: Pixels, image: ImagePixel) -> bytes:
    """Return a frame as native bytes, color by pixel; single bits end within a byte."""
    if image.bits_allocated == 1:
        return np.packbits(pixels.reshape(-1), bitorder="little").tobytes()
    return pixels.tobytes()


def correct(pixels: Pixels, image: ImagePixel) -> Pixels:
    """Return the values that Bits Stored allows: bits beyond it are not part of them (8.1.1)."""
    unused = image.bits_allocated - image.bits_stored
    if not unused or image.is_float or image.whole_words:
        return pixels
    if image.signed:
        return (pixels << unused) >> unused
    highest = (1 << image.bits_stored) - 1
    return pixels & highest if pixels.size and int(pixels.max()) > highest else pixels


def stored_values(pixels: Pixels, image: ImagePixel) -> Pixels:
    """Return the numbers that the Bits Stored bits at High Bit are (PS3.5 8.1.1).

    Args:
        pixels: decoded samples, which have all bits if `image.whole_words`.
        image: their attributes; those of the result are `image.of_values`.
    """
    if not image.whole_words:
        return pixels
    above = image.bits_allocated - 1 - image.high_bit
    return (pixels << above) >> (image.bits_allocated - image.bits_stored)


def precision(image: ImagePixel) -> int:
    """Return the bits of a sample that a lossless code stream has to hold."""
    return image.bits_allocated if image.whole_words else image.bits_stored


def unsigned(pixels: Pixels, image: ImagePixel) -> Pixels:
    """Return the samples' bits as unsigned numbers, for code streams without a sign."""
    if not image.signed:
        return pixels
    bits = pixels.view(pixels.dtype.str.replace("i", "u"))
    kept = precision(image)
    return bits if kept == image.bits_allocated else bits & ((1 << kept) - 1)


def from_decoder(
    decoded: Pixels, image: ImagePixel, depth: int, signed_stream: bool = False
) -> Pixels:
    """Bring the array of a decoder into the form of the attributes.

    Args:
        decoded: its array.
        image: the attributes.
        depth: bits a sample in the stream.
        signed_stream: the stream says that its samples are signed.

    Raises:
        InstanceError: CODE_STREAM_MISMATCH.
    """
    if decoded.size != image.rows * image.columns * image.samples:
        raise InstanceError(Reason.CODE_STREAM_MISMATCH)
    pixels = decoded.reshape(image.shape)
    if pixels.dtype != image.dtype:
        # Same bits, other sign: the attributes hold (as for every reader), so extend or mask.
        pixels = pixels.astype(image.dtype)
    if image.signed != signed_stream:
        unused = 8 * image.dtype.itemsize - depth
        if unused > 0:
            pixels = (pixels << unused) >> unused
    return correct(pixels, image)


def require_integers_to_16_bits(image: ImagePixel) -> None:
    """Refuse images that no image codec here takes.

    Raises:
        InstanceError: UNFIT_FOR_COMPRESSION, COLOUR_UNFIT.
    """
    if image.is_float or image.bits_allocated not in (8, 16):
        raise InstanceError(Reason.UNFIT_FOR_COMPRESSION)
    if image.samples not in (1, 3):
        raise InstanceError(Reason.COLOUR_UNFIT)


def _expand_422(samples: Pixels, image: ImagePixel) -> Pixels:
    """Y Y Cb Cr to Y Cb Cr, Y Cb Cr (PS3.3, Section C.7.6.3.1.2), without what fills a pair up."""
    rows, columns = image.shape[:2] if image.pairs_by_row else (1, image.rows * image.columns)
    pairs = samples.reshape(-1, 4)[:, [0, 2, 3, 1, 2, 3]]
    return np.ascontiguousarray(pairs.reshape(rows, -1, 3)[:, :columns])
