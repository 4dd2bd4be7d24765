"""JPEG: Baseline, Extended, and Lossless (PS3.5, Section 8.2.1; ISO/IEC 10918-1)."""

import imagecodecs
import numpy as np

from dicomferry.dicom.transfer_syntaxes import JPEG_BASELINE, JPEG_LOSSLESS, JPEG_LOSSLESS_SV1
from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.codecs import jpeg_lossless
from dicomferry.pixels.codecs.codestream import (
    JpegHeader,
    check_end,
    check_jpeg,
    read_jpeg,
    scan_parameters,
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
    unsigned,
)

METHOD = "ISO_10918_1"
SETTING = "jpeg_quality"
DECODER = "imagecodecs (libjpeg-turbo)"
STARTS = (b"\xff\xd8\xff",)  # SOI and the next marker
_LOSSLESS_FRAMES = (0xC3, 0xC7, 0xCB, 0xCF)
_MAX_EXTENT = 65500  # libjpeg's own bound, a little below the format's


def decode(stream: bytes, image: ImagePixel, _syntax: str) -> Decoded:
    """Decode a frame; color stays as it is in the stream, chroma at full size.

    Raises:
        InstanceError: CODE_STREAM_INVALID, CODE_STREAM_MISMATCH.
    """
    header = read_jpeg(stream)
    check_jpeg(header, image)
    check_end(stream)
    photometric = color_of(header, image)
    space = None
    if image.samples == 3:
        # Naming the space twice keeps libjpeg from guessing and from converting.
        space = "rgb" if photometric == "RGB" else "ycbcr"
    try:
        decoded = imagecodecs.jpeg8_decode(stream, colorspace=space, outcolorspace=space)
    except DECODE_ERRORS:
        raise InstanceError(Reason.CODE_STREAM_INVALID) from None
    if decoded.shape[:2] != image.shape[:2]:
        raise InstanceError(Reason.CODE_STREAM_MISMATCH)
    return Decoded(from_decoder(decoded, image, header.precision), photometric)


def color_of(header: JpegHeader, image: ImagePixel) -> str:
    """Return what the decoded samples are; the stream's own word goes before the attribute."""
    photometric = image.photometric
    if image.samples != 3:
        return photometric
    if header.has_rgb_ids:
        return "RGB"
    if photometric.startswith("YBR") or header.jfif:
        return "YBR_FULL"
    return "RGB"


def plan(image: ImagePixel, syntax: str) -> ImagePixel:
    """Return the attributes of the image as `encode` leaves it.

    Raises:
        InstanceError: the pixels do not fit; the code says why.
    """
    require_integers_to_16_bits(image)
    if max(image.rows, image.columns) > _MAX_EXTENT:
        raise InstanceError(Reason.IMAGE_TOO_LARGE_FOR_TARGET)
    if syntax in (JPEG_LOSSLESS, JPEG_LOSSLESS_SV1):
        return image
    if image.photometric == "PALETTE COLOR":
        raise InstanceError(Reason.PALETTE_NOT_LOSSY)
    if image.bits_stored > (8 if syntax == JPEG_BASELINE else 12):
        raise InstanceError(
            Reason.TOO_DEEP_FOR_BASELINE
            if syntax == JPEG_BASELINE
            else Reason.TOO_DEEP_FOR_EXTENDED
        )
    if image.signed:
        # Without a sign in the stream -1 becomes the largest number, and loss spreads across.
        raise InstanceError(Reason.SIGNED_NOT_LOSSY)
    depth = 8 if image.bits_stored <= 8 else 12
    if image.samples == 3:
        if depth > 8 or image.photometric not in ("RGB", "YBR_FULL"):
            raise InstanceError(Reason.COLOUR_UNFIT)
        image = image._replace(photometric="YBR_FULL_422")
    return image._replace(
        bits_allocated=8 if depth == 8 else 16,
        bits_stored=depth,
        high_bit=depth - 1,
        whole_words=False,
    )


def encode(
    pixels: Pixels, source: ImagePixel, planned: ImagePixel, syntax: str, quality: Quality
) -> bytes:
    """Encode a frame of `source` as `planned`."""
    if syntax in (JPEG_LOSSLESS, JPEG_LOSSLESS_SV1):
        # Readers that look at the stream alone take components of other names for YCbCr.
        ids = b"RGB" if source.photometric == "RGB" else bytes(range(1, source.samples + 1))
        return jpeg_lossless.encode(unsigned(pixels, source), max(2, precision(source)), ids)
    space = None
    if source.samples == 3:
        space = "ycbcr" if source.photometric.startswith("YBR") else "rgb"
    stream = bytes(
        imagecodecs.jpeg8_encode(
            pixels.astype(planned.dtype, copy=False),
            level=_level(quality.jpeg_quality, planned.bits_stored - source.bits_stored),
            colorspace=space,
            outcolorspace="ycbcr" if space else None,
            subsampling="422" if space else None,
            bitspersample=planned.bits_stored,
        )
    )
    if syntax == JPEG_BASELINE:
        return stream
    # Process 2 and 4 is extended sequential (SOF1), which an 8-bit baseline stream is as well.
    at = read_jpeg(stream).sof + 1
    return stream[:at] + b"\xc1" + stream[at + 1 :]


def loss(stream: bytes, _syntax: str) -> str:
    """Return the method if the stream has lost information: by the DCT, or a point transform.

    The latter, in a lossless process, drops the lowest bits (ISO/IEC 10918-1, H.1.1 and B.2.3).
    """
    header = read_jpeg(stream)
    is_dct = header.marker not in _LOSSLESS_FRAMES
    scans = scan_parameters(stream, header)
    return METHOD if is_dct or any(transform & 0x0F for _, _, transform in scans) else ""


def _level(quality: int, unused_bits: int) -> int:
    """Return the quality at which samples that leave bits of the stream unused lose no more.

    The steps of the quantiser are for samples that fill its bits: 4 of 8 would lose 16 times as
    much of their range. Libjpeg's scale of the steps, in percent, is 200 - 2 * quality from 50 on,
    and 5000 / quality below.
    """
    percent = (200 - 2 * quality if quality >= 50 else 5000 / quality) / (1 << unused_bits)
    return round(100 - percent / 2 if percent <= 100 else 5000 / percent)


def encode_picture(pixels: Pixels, quality: Quality) -> bytes:
    """Encode 8-bit gray or RGB as a JPEG file for people (JFIF)."""
    color = pixels.ndim == 3
    return bytes(
        imagecodecs.jpeg8_encode(
            np.ascontiguousarray(pixels),
            level=quality.jpeg_quality,
            colorspace="rgb" if color else None,
            outcolorspace="ycbcr" if color else None,
            subsampling="422" if color else None,
        )
    )
