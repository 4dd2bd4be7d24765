"""YBR to RGB (PS3.3, Section C.7.6.3.1.2)."""

import numpy as np

from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.image_pixel import ImagePixel
from dicomferry.pixels.samples import Pixels

_RGB_OF_YBR = np.array(
    [[1.0, 1.0, 1.0], [0.0, -0.114 * 1.772 / 0.587, 1.772], [1.402, -0.299 * 1.402 / 0.587, 0.0]]
)


def to_rgb(pixels: Pixels, image: ImagePixel, photometric: str) -> Pixels:
    """Return color samples as RGB of the same depth, rounded to the nearest.

    Raises:
        InstanceError: COLOUR_SPACE_UNKNOWN.
    """
    if photometric == "RGB":
        return pixels
    if photometric not in ("YBR_FULL", "YBR_FULL_422"):
        raise InstanceError(Reason.COLOUR_SPACE_UNKNOWN)
    highest = (1 << image.bits_stored) - 1
    # Above 24 bits the largest number is none of 32-bit floating point, and the one above it wraps.
    exact = np.float32 if image.bits_stored <= 16 else np.float64
    centred: Pixels = pixels.astype(exact)
    centred[..., 1:] -= (highest + 1) // 2
    rgb: Pixels = centred @ _RGB_OF_YBR.astype(exact)
    rgb += 0.5
    np.clip(rgb, 0, highest, out=rgb)
    return rgb.astype(pixels.dtype)


def to_8_bits(samples: Pixels, bits: int) -> Pixels:
    """Return samples of `bits` bits as bytes: the upper 8, or fewer spread over 0 to 255."""
    if bits < 8:
        highest = (1 << bits) - 1
        return ((samples.astype(np.uint16) * 255 + highest // 2) // highest).astype(np.uint8)
    return (samples >> (bits - 8) if bits > 8 else samples).astype(np.uint8, copy=False)
