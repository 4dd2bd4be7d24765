"""JPEG XL (PS3.5, Section 8.2.15; ISO/IEC 18181)."""

import imagecodecs
import numpy as np

from dicomferry.dicom.transfer_syntaxes import (
    JPEG_BASELINE,
    JPEG_XL_LOSSLESS,
    JPEG_XL_RECOMPRESSION,
)
from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.codecs import jpeg
from dicomferry.pixels.codecs.codestream import check_jpeg, read_jpeg
from dicomferry.pixels.codecs.jpegxl_header import check_jpegxl, holds_jpeg, read_jpegxl
from dicomferry.pixels.image_pixel import ImagePixel
from dicomferry.pixels.quality import Quality
from dicomferry.pixels.render.color import to_rgb
from dicomferry.pixels.samples import (
    DECODE_ERRORS,
    Decoded,
    Pixels,
    from_decoder,
    precision,
    require_integers_to_16_bits,
    unsigned,
)

METHOD = "ISO_18181_1"
SETTING = "jxl_distance"
DECODER = "imagecodecs (libjxl)"
STARTS = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")  # code stream and container
_LOSSLESS_EFFORT = 1  # 20 times as fast as effort 3, streams 3 % longer
_LOSSY_EFFORT = 4
# Of a gray frame's own range, at distance 1 and in proportion: any sample, root mean square. What
# the encoder keeps by itself on 8 bits that fill their range.
MAX_ERROR = 0.05
MAX_MEAN_ERROR = 0.01
_HALVINGS = 7


def decode(stream: bytes, image: ImagePixel, syntax: str) -> Decoded:
    """Decode a frame. One that is a recompressed JPEG becomes that JPEG's pixels exactly.

    Raises:
        InstanceError: CODE_STREAM_INVALID, CODE_STREAM_MISMATCH.
    """
    if syntax == JPEG_XL_RECOMPRESSION:
        return jpeg.decode(to_jpeg(stream, image), image, JPEG_BASELINE)
    header = check_jpegxl(stream, image)
    try:
        decoded = imagecodecs.jpegxl_decode(stream, index=0, numthreads=1)
    except DECODE_ERRORS:
        raise InstanceError(Reason.CODE_STREAM_INVALID) from None
    photometric = "RGB" if image.samples == 3 else image.photometric
    return Decoded(from_decoder(decoded, image, header.precision), photometric)


def loss(stream: bytes, syntax: str) -> str:
    """Return the method if the stream has lost information: by a JPEG's DCT, or in XYB.

    An encoder leaves the samples' own color space, for XYB, only where it may change them.
    """
    if syntax == JPEG_XL_RECOMPRESSION or holds_jpeg(stream):
        return jpeg.METHOD
    return METHOD if read_jpegxl(stream).is_xyb else ""


def plan(image: ImagePixel, syntax: str) -> ImagePixel:
    """Return the attributes of the image as `encode` leaves it.

    Raises:
        InstanceError: the pixels do not fit; the code says why.
    """
    if syntax == JPEG_XL_RECOMPRESSION:
        raise InstanceError(Reason.NOT_JPEG_BASELINE)
    require_integers_to_16_bits(image)
    if syntax == JPEG_XL_LOSSLESS:
        if image.samples == 3 and image.photometric != "RGB":
            # A JPEG XL stream of YBR samples exists only for recompressed JPEG; turned into RGB
            # they would be rounded.
            raise InstanceError(Reason.COLOUR_UNFIT_FOR_JPEG_XL)
        return image
    if image.photometric == "PALETTE COLOR":
        raise InstanceError(Reason.PALETTE_NOT_LOSSY)
    if image.signed:
        raise InstanceError(Reason.SIGNED_NOT_LOSSY)
    if image.samples == 3:
        return image._replace(photometric="RGB")
    return image


def encode(
    pixels: Pixels, source: ImagePixel, _planned: ImagePixel, syntax: str, quality: Quality
) -> bytes:
    """Encode a frame as a bare code stream, lossy gray ones within `MAX_ERROR`.

    JPEG XL measures loss as an eye does that sees the whole range of the samples on a screen. To
    the metric, a 16-bit CT is nearly black, so an error as large as a tenth of the displayed window
    goes unnoticed. So the distance is halved until the error is within bounds; a frame that is not
    within them after `_HALVINGS` is encoded without loss.
    """
    if source.samples == 3:
        pixels = to_rgb(pixels, source, source.photometric)
    samples = np.ascontiguousarray(unsigned(pixels, source))
    if precision(source) <= 8:  # the encoder takes the fewest bytes that hold the depth
        samples = samples.astype(np.uint8, copy=False)
    if syntax == JPEG_XL_LOSSLESS:
        return _encode(samples, source, None)
    distance = quality.jxl_distance
    for _ in range(_HALVINGS):
        stream = _encode(samples, source, distance)
        if source.samples == 3 or _is_within(stream, samples, quality.jxl_distance):
            break
        distance /= 2
    else:
        return _encode(samples, source, None)
    if distance == quality.jxl_distance:
        return stream
    return min(stream, _encode(samples, source, None), key=len)


def _encode(samples: Pixels, source: ImagePixel, distance: float | None) -> bytes:
    """Encode samples, without loss if there is no distance."""
    return bytes(
        imagecodecs.jpegxl_encode(
            samples,
            lossless=distance is None,
            distance=distance,
            effort=_LOSSLESS_EFFORT if distance is None else _LOSSY_EFFORT,
            bitspersample=precision(source),
            usecontainer=False,
            numthreads=1,
        )
    )


def _is_within(stream: bytes, samples: Pixels, distance: float) -> bool:
    """Whether a stream is as near to the samples as `distance` asks for."""
    # The decoder's array is as wide as the stream's depth, which may be less than a word.
    decoded = imagecodecs.jpegxl_decode(stream, numthreads=1).reshape(samples.shape)
    error = np.abs(decoded.astype(np.int32) - samples)
    extent = distance * (int(samples.max()) - int(samples.min()))
    root_mean_square = float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))
    return float(error.max()) <= extent * MAX_ERROR and root_mean_square <= extent * MAX_MEAN_ERROR


def from_jpeg(stream: bytes, image: ImagePixel) -> bytes:
    """Recompress a JPEG stream losslessly; `to_jpeg` restores it bit for bit.

    Raises:
        InstanceError: CODE_STREAM_INVALID, CODE_STREAM_MISMATCH.
    """
    check_jpeg(read_jpeg(stream), image)
    try:
        return bytes(imagecodecs.jpegxl_encode_jpeg(stream, usecontainer=True, numthreads=1))
    except DECODE_ERRORS:
        raise InstanceError(Reason.CODE_STREAM_INVALID) from None


def to_jpeg(stream: bytes, image: ImagePixel) -> bytes:
    """Return the JPEG stream that was recompressed.

    Raises:
        InstanceError: CODE_STREAM_INVALID, CODE_STREAM_MISMATCH.
    """
    check_jpegxl(stream, image)
    try:
        return bytes(imagecodecs.jpegxl_decode_jpeg(stream, numthreads=1))
    except DECODE_ERRORS:
        raise InstanceError(Reason.CODE_STREAM_INVALID) from None
