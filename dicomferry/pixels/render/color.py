"""Color samples to RGB, also of 8 bits (PS3.3, Section C.7.6.3.1.2)."""

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
    rgb = _unrounded_rgb(pixels, image, photometric)
    rgb += 0.5
    return rgb.clip(0, (1 << image.bits_stored) - 1).astype(pixels.dtype)


def to_8_bits(pixels: Pixels, image: ImagePixel, photometric: str) -> Pixels:
    """Return unsigned color samples as RGB bytes: the upper 8 bits, or fewer spread over 0 to 255.

    Raises:
        InstanceError: COLOUR_SPACE_UNKNOWN.
    """
    if image.bits_stored > 16:  # more than floating point of 64 bits may hold
        pixels = pixels >> (image.bits_stored - 16)
        image = image._replace(bits_stored=16)
    bits = image.bits_stored
    if bits >= 8:
        rgb = to_rgb(pixels, image, photometric)
        return (rgb >> (bits - 8) if bits > 8 else rgb).astype(np.uint8, copy=False)
    highest = (1 << bits) - 1
    unrounded: Pixels = (
        pixels if photometric == "RGB" else _unrounded_rgb(pixels, image, photometric)
    )
    return np.floor(unrounded.clip(0, highest) * (255 / highest) + 0.5).astype(np.uint8)


def _unrounded_rgb(pixels: Pixels, image: ImagePixel, photometric: str) -> Pixels:
    if photometric not in ("YBR_FULL", "YBR_FULL_422"):
        raise InstanceError(Reason.COLOUR_SPACE_UNKNOWN)
    # The largest number of more than 24 bits is none of 32-bit floating point; the next one wraps.
    exact = np.float32 if image.bits_stored <= 16 else np.float64
    centered: Pixels = pixels.astype(exact)
    centered[..., 1:] -= (1 << image.bits_stored) // 2
    rgb: Pixels = centered @ _RGB_OF_YBR.astype(exact)
    return rgb
