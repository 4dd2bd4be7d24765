"""JPEG 2000 (PS3.5, Section 8.2.4; ISO/IEC 15444-1)."""

import struct
import threading

import imagecodecs
from openjpeg import utils as openjpeg_utils

from dicomferry.dicom.transfer_syntaxes import JPEG_2000, JPEG_2000_LOSSLESS
from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.codecs.codestream import read_jpeg2000
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

METHOD = "ISO_15444_1"
SETTING = "j2k_ratio"
DECODER = "imagecodecs (OpenJPEG)"
# SOC and SIZ; the signature of a JP2 file
STARTS = (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")
_SIZ, _COD, _COC, _SOD = 0xFF51, 0xFF52, 0xFF53, 0xFF93
# pylibjpeg-openjpeg crashed when two threads encoded at once.
_RATE_CONTROL = threading.Lock()
_SRGB = 1
SMALLEST_FOR_RATE_CONTROL = 64


def decode(stream: bytes, image: ImagePixel, _syntax: str) -> Decoded:
    """Decode a frame; a color transform of the stream is undone.

    Raises:
        InstanceError: CODE_STREAM_INVALID, CODE_STREAM_MISMATCH.
    """
    header = read_jpeg2000(stream, image)
    try:
        decoded = imagecodecs.jpeg2k_decode(stream, numthreads=1)
    except DECODE_ERRORS:
        raise InstanceError(Reason.CODE_STREAM_INVALID) from None
    pixels = from_decoder(decoded, image, header.precision, header.signed)
    return Decoded(pixels, decoded_photometric(image))


def loss(stream: bytes, _syntax: str) -> str:
    """Return the method if the stream has lost information: by the irreversible transformation."""
    return METHOD if is_irreversible(stream) else ""


def is_irreversible(stream: bytes) -> bool:
    """Whether the wavelet transformation of a code stream is the irreversible one.

    A reversible one whose last bits were left out looks like one that is whole. Read are the main
    header and that of the first tile-part (ISO/IEC 15444-1 A.6.1, A.6.2).
    """
    position = stream.find(STARTS[0]) + 2
    transformation = {_COD: 9}  # its offset in the segment
    try:
        while True:
            marker, length = struct.unpack_from(">HH", stream, position)
            if marker == _SOD:
                return False
            at = position + 4
            if marker == _SIZ:
                components = int.from_bytes(stream[at + 34 : at + 36], "big")
                transformation[_COC] = 6 if components < 257 else 7
            elif marker in transformation and not stream[at + transformation[marker]]:
                return True
            position += 2 + length
    except (struct.error, IndexError):
        return False


def decoded_photometric(image: ImagePixel) -> str:
    """Return the color space of decoded samples: the transform is undone by every decoder."""
    if image.photometric in ("YBR_RCT", "YBR_ICT"):
        return "RGB"
    return "YBR_FULL" if image.photometric == "YBR_FULL_422" else image.photometric


def plan(image: ImagePixel, syntax: str) -> ImagePixel:
    """Return the attributes of the image as `encode` leaves it.

    RGB is encoded with the color transform, which the Standard wants to be told as YBR_RCT or
    YBR_ICT and which makes the stream about half as long.

    Raises:
        InstanceError: the pixels do not fit; the code says why.
    """
    require_integers_to_16_bits(image)
    lossless = syntax == JPEG_2000_LOSSLESS
    if not lossless and image.photometric == "PALETTE COLOR":
        raise InstanceError(Reason.PALETTE_NOT_LOSSY)
    if image.photometric == "RGB":
        return image._replace(photometric="YBR_RCT" if lossless else "YBR_ICT")
    return image


def encode(
    pixels: Pixels, source: ImagePixel, _planned: ImagePixel, syntax: str, quality: Quality
) -> bytes:
    """Encode a frame, reversibly or to `quality.j2k_ratio`.

    Lossy frames below 64 rows or columns are encoded at best quality instead."""
    transform = source.photometric == "RGB"
    depth = precision(source)
    # imagecodecs gives a stream the depth of the word where up to 8 bits are in 16. Then loss
    # pushes values beyond Bits Stored.
    narrow = pixels.astype(f"{pixels.dtype.kind}1", copy=False) if depth <= 8 else pixels
    # A small frame is left at the best quality: its headers alone would exceed what the ratio
    # allows, and rate control has 6 resolutions, for which it has too few lines.
    small = min(source.rows, source.columns) < SMALLEST_FOR_RATE_CONTROL
    if syntax != JPEG_2000 or small:
        return bytes(
            imagecodecs.jpeg2k_encode(
                narrow,
                level=0,
                codecformat="j2k",
                bitspersample=depth,
                reversible=syntax != JPEG_2000,
                mct=transform,
                numthreads=1,
            )
        )
    with _RATE_CONTROL:
        return bytes(
            openjpeg_utils.encode_buffer(
                narrow.tobytes(),
                source.columns,
                source.rows,
                source.samples,
                depth,
                source.signed,
                photometric_interpretation=_SRGB if transform else 0,
                use_mct=transform,
                compression_ratios=[quality.j2k_ratio],
            )
        )
