"""What turns stored values into pictures: attributes, and pictures by the Standard's formulas.

Modality and VOI LUT: PS3.3 C.11.1, C.11.2. Palettes: C.7.6.3.1.5, C.7.6.3.1.6, C.7.9.2.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.generated.elements import Element, sequence, text, us
from tests.generated.image import Image

Array = npt.NDArray[Any]
RGB_OF_YBR = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]])


@dataclass(frozen=True)
class Lut:
    """A table of Modality or VOI LUT Sequence.

    Attributes:
        entries: their number; 65536 is written as 0.
        first: the input of the first entry.
        bits: of an entry.
        packed: entries of 8 bits, two in a word.
        vr: of LUT Data.
    """

    entries: int = 4
    first: int = 0
    bits: int = 8
    packed: bool = False
    vr: str = "OW"
    seed: int = 0

    @cached_property
    def table(self) -> Array:
        """The entries."""
        dice = np.random.default_rng(self.seed)
        return dice.integers(0, 1 << self.bits, self.entries, np.int64)

    def apply(self, values: Array) -> Array:
        """Return the entries of values."""
        places = np.nan_to_num(np.clip(values - self.first, 0, self.entries - 1))
        return self.table[places.astype(np.int64)]

    def element(self, tag: int) -> Element:
        """The sequence of this one table."""
        raw = self.table.astype("u1" if self.packed else "<u2").tobytes()
        raw += bytes(len(raw) % 2)
        vr = self.vr if len(raw) < 1 << 16 else "OW"  # the length of US has 16 bits
        first_vr = "SS" if self.first < 0 else "US"
        descriptor = us(0x00283002, self.entries & 0xFFFF, self.first, self.bits, vr=first_vr)
        return sequence(tag, [descriptor, Element(0x00283006, vr, raw)])


@dataclass(frozen=True)
class Gray:
    """From stored values to displayed ones, of one frame or of all.

    Attributes:
        slope, intercept: as they are written; None leaves them out.
        windows: centers and widths as they are written.
        function: VOI LUT Function, '' for none.
    """

    slope: str | None = None
    intercept: str | None = None
    modality_lut: Lut | None = None
    windows: tuple[tuple[str, str], ...] = ()
    function: str = ""
    voi_lut: Lut | None = None

    def modality(self, values: Array) -> Array:
        """Return stored values after the Modality LUT."""
        if self.modality_lut is not None:
            return self.modality_lut.apply(values)
        if self.slope is None:
            return values.astype(float)
        return values * float(self.slope) + float(self.intercept or 0)

    def rescale_elements(self) -> list[Element]:
        """Rescale Slope and Intercept."""
        found = []
        if self.slope is not None:
            found.append(text(0x00281053, "DS", self.slope))
        if self.intercept is not None:
            found.append(text(0x00281052, "DS", self.intercept))
        return found

    def window_elements(self) -> list[Element]:
        """Windows and their function."""
        if not self.windows:
            return []
        found = [
            text(0x00281050, "DS", "\\".join(center for center, _ in self.windows)),
            text(0x00281051, "DS", "\\".join(width for _, width in self.windows)),
        ]
        return found + ([text(0x00281056, "CS", self.function)] if self.function else [])

    def windowed(self, values: Array) -> Array:
        """Return values under the first window, 0 to 255 (C.11.2.1.2, C.11.2.1.3)."""
        center, width = map(float, self.windows[0])
        if self.function == "SIGMOID":
            return 255 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
        if self.function == "LINEAR_EXACT":
            return np.clip((values - center) / width + 0.5, 0, 1) * 255
        low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
        inside = ((values - (center - 0.5)) / max(width - 1, 1e-9) + 0.5) * 255
        return np.where(values <= low, 0, np.where(values > high, 255, inside))


@dataclass(frozen=True)
class Palette:
    """The three tables of PALETTE COLOR.

    Attributes:
        entries, first, bits: of the descriptor.
        packed: entries of 8 bits, two in a word.
        segmented: the tables are written as segments.
        signed_first: the descriptor is written as SS.
    """

    entries: int = 4
    first: int = 0
    bits: int = 16
    packed: bool = False
    segmented: bool = False
    seed: int = 0

    @cached_property
    def _segments(self) -> list[list[tuple[bool, Array]]]:
        """Of each color: (is linear, values); linear ones hold all that they stand for."""
        dice = np.random.default_rng(self.seed)
        colors = []
        for _ in range(3):
            segments: list[tuple[bool, Array]] = []
            left = self.entries
            while left:
                longest = 250 if self.packed else self.entries // 4 + 2
                count = min(left, int(dice.integers(1, longest, endpoint=True)))
                drawn = dice.integers(0, 1 << self.bits, count)
                if self.segmented and segments and dice.random() < 0.5:
                    start = segments[-1][1][-1]
                    steps = np.arange(1, count + 1) * (int(drawn[-1]) - int(start)) / count
                    segments.append((True, np.round(start + steps).astype(np.int64)))
                else:
                    segments.append((False, drawn))
                left -= count
            colors.append(segments)
        return colors

    @cached_property
    def tables(self) -> Array:
        """The entries, (entries, 3), 8 bits."""
        whole = [np.concatenate([part for _, part in color]) for color in self._segments]
        return np.stack(whole, -1) >> (self.bits - 8)

    def apply(self, values: Array) -> Array:
        """Return the colors of values."""
        return self.tables[np.clip(values - self.first, 0, self.entries - 1)]

    def elements(self) -> list[Element]:
        """Descriptors and tables."""
        vr = "SS" if self.first < 0 else "US"
        found = []
        for color, segments in enumerate(self._segments):
            found.append(
                us(0x00281101 + color, self.entries & 0xFFFF, self.first, self.bits, vr=vr)
            )
            parts: list[Array] = []
            for linear, values in segments:
                if self.segmented:
                    parts.append(np.array([int(linear), len(values)]))
                parts.append(values[-1:] if linear else values)
            raw = np.concatenate(parts).astype("u1" if self.packed else "<u2").tobytes()
            tag = 0x00281221 if self.segmented else 0x00281201
            found.append(Element(tag + color, "OW", raw + bytes(len(raw) % 2)))
        return found


@dataclass(frozen=True)
class Display:
    """Everything that turns stored values into pictures.

    Attributes:
        grays: one for all frames, or one a frame in functional groups.
        place: of `grays`: 'top', 'shared' or 'frames'.
        padding: Pixel Padding Value and, if it has two, Range Limit.
        supplemental: a palette beside gray values (C.8.16.2.1.1.1), which are shown as gray.
    """

    grays: tuple[Gray, ...] = (Gray(),)
    place: str = "top"
    palette: Palette | None = None
    padding: tuple[int, ...] = ()
    supplemental: Palette | None = None

    def elements(self, image: Image) -> list[Element]:
        """The attributes."""
        palette = self.palette or self.supplemental
        found = palette.elements() if palette else []
        vr = "SS" if image.signed else "US"
        found += [us(0x00280120 + at, each, vr=vr) for at, each in enumerate(self.padding)]
        if self.place == "top":
            (gray,) = self.grays
            found += gray.rescale_elements() + gray.window_elements()
        else:
            groups = [_group(gray) for gray in self.grays]
            tag = 0x52009229 if self.place == "shared" else 0x52009230
            found.append(sequence(tag, *groups))
            gray = self.grays[0]
        if gray.modality_lut:
            found.append(gray.modality_lut.element(0x00283000))
        if gray.voi_lut:
            found.append(gray.voi_lut.element(0x00283010))
        return found

    def picture(self, image: Image, values: Array, color: str, index: int) -> Array:
        """Return frame `index` of (rows, columns, samples) as gray or RGB, 0 to 255.

        Args:
            image: its attributes.
            values: of the frame.
            color: their color space, which a code stream may have changed.
            index: from 0.
        """
        highest = (1 << image.stored) - 1
        if self.palette is not None:
            return self.palette.apply(values[..., 0])
        if not image.is_gray:
            colors = values.astype(float)
            if color.startswith("YBR_FULL"):
                colors = ybr_to_rgb(colors, image.stored)
            return np.clip(colors, 0, highest) * 255 / highest
        gray = self.grays[index if self.place == "frames" else 0]
        stored = values[..., 0]
        shown = gray.modality(stored)
        if gray.voi_lut is not None:
            result = gray.voi_lut.apply(shown) * 255 / ((1 << gray.voi_lut.bits) - 1)
        elif gray.windows:
            result = gray.windowed(shown)
        else:
            result = self._stretched(image, stored, shown)
        return 255 - result if image.photometric == "MONOCHROME1" else result

    def _stretched(self, image: Image, stored: Array, shown: Array) -> Array:
        low, high = 0.0, 1.0
        if image.stored > 1:
            # A sample that is no number does not say how far the others reach, whatever entry of
            # a table it has.
            counted = np.isfinite(stored) & np.isfinite(shown)
            if self.padding:
                outside = (stored < min(self.padding)) | (stored > max(self.padding))
                counted = counted & outside if (counted & outside).any() else counted
            if counted.any():
                low, high = shown[counted].min(), shown[counted].max()
        spread = shown - low
        return np.clip(spread * (255 / (high - low) if high > low else 0), 0, 255)


def ybr_to_rgb(colors: Array, stored: int) -> Array:
    """Return YBR_FULL as RGB, unrounded (C.7.6.3.1.2)."""
    return (colors - [0, 1 << (stored - 1), 1 << (stored - 1)]) @ RGB_OF_YBR.T


def _group(gray: Gray) -> list[Element]:
    found = []
    if rescale := gray.rescale_elements():
        found.append(sequence(0x00289145, rescale))
    if windows := gray.window_elements():
        found.append(sequence(0x00289132, windows))
    return found
