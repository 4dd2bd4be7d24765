"""High-Throughput JPEG 2000 (PS3.5, Section 8.2.14; ISO/IEC 15444-15)."""

import sys
import threading

import imagecodecs
import numpy as np

from dicomferry.dicom.transfer_syntaxes import HTJ2K, HTJ2K_LOSSLESS_RPCL
from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.codecs.codestream import check_end, read_jpeg2000
from dicomferry.pixels.codecs.htj2k_header import check_segments
from dicomferry.pixels.codecs.jpeg2000 import (
    SMALLEST_FOR_RATE_CONTROL,
    STARTS,
    decoded_photometric,
    is_irreversible,
)
from dicomferry.pixels.image_pixel import ImagePixel
from dicomferry.pixels.quality import Quality
from dicomferry.pixels.samples import (
    DECODE_ERRORS,
    Decoded,
    Pixels,
    from_decoder,
    precision,
    require_integers_to_16_bits,
)

__all__ = ["STARTS"]

METHOD = "ISO_15444_15"
SETTING = "j2k_ratio"
DECODER = "imagecodecs (OpenJPH; OpenJPEG for 4.203)"
_SSIZ = 42  # offset of the first component's depth in a code stream
# The least that a base resolution has in PS3.5 10.18, and what the encoder does by itself.
_BASE = 64
_RESOLUTIONS = 6
_STEPS = 12
_COARSEST = 0.5
_FINEST = 1 / (1 << 18)


def decode(stream: bytes, image: ImagePixel, syntax: str) -> Decoded:
    """Decode a frame; a color transform of the stream is undone.

    Raises:
        InstanceError: CODE_STREAM_INVALID, CODE_STREAM_MISMATCH.
    """
    header = read_jpeg2000(stream, image)
    check_end(stream)
    try:
        if syntax == HTJ2K:
            # OpenJPH lets values that loss pushed out of range wrap from white to black.
            decoded = imagecodecs.jpeg2k_decode(stream, numthreads=1)
        else:
            check_segments(stream)
            decoded = _decode(stream)
    except DECODE_ERRORS:
        raise InstanceError(Reason.CODE_STREAM_INVALID) from None
    pixels = from_decoder(decoded, image, header.precision, header.signed)
    return Decoded(pixels, decoded_photometric(image))


def _decode(stream: bytes) -> Pixels:
    """Decode by OpenJPH.

    imagecodecs prints what OpenJPH says while it copies pixels, and returns what there is: part
    of a picture. Python's hook for such errors, which runs in this thread, is how to know.
    """
    if sys.unraisablehook is not _count_or_pass:
        _other_hooks.append(sys.unraisablehook)
        sys.unraisablehook = _count_or_pass
    _errors.count = 0
    # It would give the components one after the other where the stream has no color transform.
    decoded: Pixels = imagecodecs.htj2k_decode(stream, planar=False)
    if _errors.count:
        raise InstanceError(Reason.CODE_STREAM_INVALID)
    return decoded


class _Errors(threading.local):
    """How many errors OpenJPH had in this thread."""

    count = 0


_errors = _Errors()
_other_hooks = [sys.unraisablehook]


def _count_or_pass(unraisable: "sys.UnraisableHookArgs") -> None:
    if "imagecodecs._htj2k" in str(unraisable.object):
        _errors.count += 1
    else:
        _other_hooks[-1](unraisable)


def loss(stream: bytes, _syntax: str) -> str:
    """Return the method if the stream has lost information: by the irreversible transformation."""
    return METHOD if is_irreversible(stream) else ""


def plan(image: ImagePixel, syntax: str) -> ImagePixel:
    """Return the attributes of the image as `encode` leaves it.

    Raises:
        InstanceError: the pixels do not fit; the code says why.
    """
    require_integers_to_16_bits(image)
    if syntax == HTJ2K and image.photometric == "PALETTE COLOR":
        raise InstanceError(Reason.PALETTE_NOT_LOSSY)
    if image.photometric == "RGB":
        return image._replace(photometric="YBR_ICT" if syntax == HTJ2K else "YBR_RCT")
    return image


def encode(
    pixels: Pixels, source: ImagePixel, _planned: ImagePixel, syntax: str, quality: Quality
) -> bytes:
    """Encode a frame, reversibly or by the quantiser that comes closest to the ratio.

    Lossy frames below 64 rows or columns are encoded at best quality, as in JPEG 2000.
    """
    depth = precision(source)
    if syntax != HTJ2K:
        return _encode(pixels, source, depth, None, syntax == HTJ2K_LOSSLESS_RPCL)
    if min(source.rows, source.columns) < SMALLEST_FOR_RATE_CONTROL:
        return _encode(pixels, source, depth, 2.0**-depth, False)
    # The encoder knows no ratio, so its quantiser's step is searched for. The number of steps is
    # fixed and so is the result: the finest step whose stream is short enough.
    wanted = source.rows * source.columns * source.samples * depth / 8 / quality.j2k_ratio
    low, high = np.log2(_FINEST), np.log2(_COARSEST)
    best = _encode(pixels, source, depth, _COARSEST, False)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        stream = _encode(pixels, source, depth, float(2**middle), False)
        if len(stream) <= wanted:
            best, high = stream, middle
            if len(stream) > wanted * 0.98:
                break
        else:
            low = middle
    return best


def _encode(
    pixels: Pixels, source: ImagePixel, depth: int, step: float | None, index: bool
) -> bytes:
    """Encode, and give the stream the depth of Bits Stored.

    The encoder takes the depth from the array: 8 or 16. Between them the samples are given as
    signed numbers around 0, to which no level shift applies, and the true depth and sign are put
    into the SIZ segment afterwards. Irreversible coding scales by the depth, so there the samples
    fill the word first.
    """
    word = 8 * pixels.dtype.itemsize
    patch = depth < word
    if patch:
        if not source.signed:
            half = 1 << (depth - 1)
            pixels = (pixels.astype(np.int32) - half).astype(f"i{pixels.dtype.itemsize}")
        if step is not None:
            pixels = pixels << (word - depth)
    stream = bytearray(
        imagecodecs.htj2k_encode(
            pixels,
            step,
            reversible=step is None,
            rgb=source.photometric == "RGB",
            resolutions=_resolutions(source),
            tlm=index,
        )
    )
    if patch:
        for component in range(source.samples):
            stream[_SSIZ + 3 * component] = (0x80 if source.signed else 0) | (depth - 1)
    return bytes(stream)


def _resolutions(image: ImagePixel) -> int:
    """Return how many resolutions there are: in the lowest no side is longer than `_BASE`.

    Section 10.18 of PS3.5 wants it of one side, for thumbnails, and of the RPCL syntax alone.
    """
    longest = max(image.rows, image.columns)
    return max(_RESOLUTIONS, 1 + (-(-longest // _BASE) - 1).bit_length())
