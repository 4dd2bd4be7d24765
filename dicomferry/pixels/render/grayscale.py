"""Stored gray values to displayed ones: Modality and VOI LUTs, windows (PS3.3 C.11.1, C.11.2)."""

import numpy as np

from dicomferry.pixels.render.gray_attributes import Attributes
from dicomferry.pixels.samples import Pixels


def gray_values(
    stored: Pixels, attributes: Attributes, bounds: tuple[float, float] | None
) -> Pixels:
    """Return stored values as 8-bit gray.

    What is no number counts as the smallest.

    Args:
        stored: values of any shape.
        attributes: of the frame.
        bounds: the values for black and for white, where no window gives them.
    """
    values = attributes.modality.apply(stored)
    if values.dtype.kind == "f" and stored.dtype.kind == "f":
        values = np.where(np.isnan(values), -np.inf, values)
    voi = attributes.voi
    # Numbers near the end of their range may leave it, and end as black or white.
    with np.errstate(over="ignore", invalid="ignore"):
        if voi is None:
            assert bounds is not None
            low, high = bounds
            span = high / 2 - low / 2  # halves: the whole may be more than the largest number
            scale = 127.5 / span if span > 0 else 0.0
            gray = (np.clip(values, low, high) / 2 - low / 2) * (2 * scale)
        elif voi.table is not None:
            gray = voi.table.apply(values) * (255 / voi.table.highest)
        else:
            assert voi.window is not None
            gray = window(values, *voi.window, voi.function)
    if attributes.inverted:
        gray = 255 - gray
    gray = np.nan_to_num(np.clip(gray, 0, 255), nan=0)
    result: Pixels = np.floor(gray + 0.5).astype(np.uint8)
    return result


def window(values: Pixels, center: float, width: float, function: str) -> Pixels:
    """Return `values` in 0 to 255 under a VOI LUT function (PS3.3, Section C.11.2.1.2 and .3).

    LINEAR is not defined for a width below 1, which floating-point pixels have all the same: then
    it is LINEAR_EXACT.
    """
    if function == "SIGMOID":
        exponent = np.clip(-4 * (values - center) / width, -700, 700)
        result: Pixels = 255 / (1 + np.exp(exponent))
        return result
    if function == "LINEAR_EXACT" or width < 1:
        return np.clip((values - center) / width + 0.5, 0, 1) * 255
    if width == 1:
        return np.where(values <= center - 0.5, 0.0, 255.0)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 255
