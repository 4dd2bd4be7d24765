"""JPEG-LS, lossless and near-lossless (PS3.5, Section 8.2.3; ISO/IEC 14495-1)."""

from contextlib import suppress

import imagecodecs
import jpeg_ls
import numpy as np

from dicomferry.dicom.transfer_syntaxes import JPEG_LS_LOSSLESS
from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.codecs import jpegls_lossless
from dicomferry.pixels.codecs.codestream import check_end, check_jpeg, read_jpeg, scan_parameters
from dicomferry.pixels.image_pixel import ImagePixel
from dicomferry.pixels.quality import Quality
from dicomferry.pixels.samples import (
    DECODE_ERRORS,
    Decoded,
    Pixels,
    by_pixel,
    from_decoder,
    precision,
    require_integers_to_16_bits,
    unsigned,
)

METHOD = "ISO_14495_1"
SETTING = "jpegls_near"
DECODER = "pyjpegls (CharLS)"
STARTS = (b"\xff\xd8\xff",)  # SOI and the next marker
_COLOUR_BY_PIXEL = 2
# For fewer samples pyjpegls may have no room. What then stands in writes other bytes, and which
# are written must not depend on what was built.
_FEWEST = 256
_MOST_PADDING = 4


def decode(stream: bytes, image: ImagePixel, _syntax: str) -> Decoded:
    """Decode a frame.

    Raises:
        InstanceError: CODE_STREAM_INVALID, CODE_STREAM_MISMATCH.
    """
    header = read_jpeg(stream)
    check_jpeg(header, image)
    check_end(stream)
    if header.marker != 0xF7:
        raise InstanceError(Reason.CODE_STREAM_INVALID)
    buffer, info = _decode(stream)
    pixels = np.frombuffer(buffer, np.uint8 if header.precision <= 8 else np.dtype("<u2"))
    if pixels.size != image.rows * image.columns * image.samples:
        raise InstanceError(Reason.CODE_STREAM_MISMATCH)
    if image.samples > 1 and info["interleave_mode"] == 0:
        pixels = by_pixel(pixels.reshape(image.samples, image.rows, image.columns))
    photometric = "RGB" if header.has_rgb_ids and image.samples == 3 else image.photometric
    if photometric == "YBR_FULL_422":
        photometric = "YBR_FULL"
    return Decoded(from_decoder(pixels, image, header.precision), photometric)


def _decode(stream: bytes) -> tuple[bytearray, dict[str, int]]:
    """Decode by CharLS, also a stream that was padded with zeros before its end marker.

    A last code may end in a byte of zeros itself, so no more of them are left out than it takes.
    """
    end = stream.rindex(b"\xff\xd9")
    zeros = end - len(stream[:end].rstrip(b"\0"))
    for padding in range(min(zeros, _MOST_PADDING) + 1):
        unpadded = stream[: end - padding] + stream[end:] if padding else stream
        try:
            buffer, info = jpeg_ls.decode_pixel_data(unpadded)
        except DECODE_ERRORS:
            continue
        return buffer, info
    raise InstanceError(Reason.CODE_STREAM_INVALID)


def loss(stream: bytes, _syntax: str) -> str:
    """Return the method if the stream has lost information: by NEAR, or a point transform."""
    scans = scan_parameters(stream, read_jpeg(stream))
    return METHOD if any(near or transform & 0x0F for near, _, transform in scans) else ""


def plan(image: ImagePixel, syntax: str) -> ImagePixel:
    """Return the attributes of the image as `encode` leaves it.

    Raises:
        InstanceError: the pixels do not fit; the code says why.
    """
    require_integers_to_16_bits(image)
    if syntax != JPEG_LS_LOSSLESS and image.photometric == "PALETTE COLOR":
        raise InstanceError(Reason.PALETTE_NOT_LOSSY)
    if syntax != JPEG_LS_LOSSLESS and image.bits_stored <= 8:
        return image._replace(bits_allocated=8)
    return image


def stream_depth(image: ImagePixel) -> int:
    """Return the bits a sample that the stream says it has (P of ISO/IEC 14495-1).

    dcmtk and gdcm take 8 bits or less for bytes, and dcmtk knows no default parameters for less
    than 8. So bytes have 8, and words 9 or more.
    """
    return 8 if image.bits_allocated == 8 else max(9, precision(image))


def encode(
    pixels: Pixels, source: ImagePixel, planned: ImagePixel, syntax: str, quality: Quality
) -> bytes:
    """Encode a frame, within NEAR of each sample where the syntax is the near-lossless one."""
    depth = stream_depth(planned)
    samples = unsigned(pixels, source).astype(f"u{planned.dtype.itemsize}", copy=False)
    near = 0
    if syntax != JPEG_LS_LOSSLESS:
        near = _near(pixels, samples, source, depth, quality.jpegls_near)
    is_ours = jpegls_lossless.IS_BUILT and source.samples == 1 and samples.size >= _FEWEST
    if is_ours and not near:
        return jpegls_lossless.encode(samples, depth)
    if source.samples == 1 and depth == 8 * samples.itemsize:
        with suppress(RuntimeError):  # its buffer is too small for noise
            return _encode_words(samples, near)
    try:
        return bytes(
            jpeg_ls.encode_buffer(
                samples.tobytes(),
                source.rows,
                source.columns,
                source.samples,
                depth,
                lossy_error=near,
                interleave_mode=_COLOUR_BY_PIXEL if source.samples > 1 else None,
            )
        )
    except RuntimeError:  # its buffer has twice the frame's length: too little for a tiny frame
        if near:  # what bounds the samples then is the word
            near = _near(pixels, samples, source, 8 * samples.itemsize, near)
        return _encode_words(samples, near)


def _near(pixels: Pixels, samples: Pixels, source: ImagePixel, depth: int, near: int) -> int:
    """Return the greatest error up to `near` that leaves every sample within Bits Stored.

    A decoder keeps samples within the stream's depth alone, and a stream knows no sign: near the
    bounds a small difference would make another number of it. Such a frame is encoded without loss.
    """
    bits = source.bits_stored
    near = min(near, (1 << max(2, bits)) // 2 - 1)
    if depth > bits and int(samples.max()) + near >= 1 << bits:
        return 0
    bound = 1 << (bits - 1)
    if source.signed and (int(pixels.max()) + near >= bound or int(pixels.min()) - near < -bound):
        return 0
    return near


def _encode_words(samples: Pixels, near: int) -> bytes:
    """Encode by what is faster, and has room for tiny frames, but knows whole words only."""
    stream = bytes(imagecodecs.jpegls_encode(samples, level=near))
    # It begins with a SPIFF header, which says nothing that the attributes do not.
    return stream[:2] + stream[read_jpeg(stream).sof :]
