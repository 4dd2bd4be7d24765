"""Stored gray values to displayed ones: Modality and VOI LUTs, windows (PS3.3 C.11.1, C.11.2)."""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dicomferry.dicom.dicom_file import DicomFile
from dicomferry.dicom.encoding import DataSetEncoding
from dicomferry.dicom.raw_elements import RawElement, read_items
from dicomferry.dicom.reencode import swap
from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.image_pixel import ImagePixel
from dicomferry.pixels.samples import Pixels

_SHARED_GROUPS = 0x52009229
_PER_FRAME_GROUPS = 0x52009230
_PIXEL_VALUE_TRANSFORMATION = 0x00289145
_FRAME_VOI_LUT = 0x00289132
_WINDOW_CENTER, _WINDOW_WIDTH, _VOI_LUT_FUNCTION = 0x00281050, 0x00281051, 0x00281056
_INTERCEPT, _SLOPE = 0x00281052, 0x00281053
_MODALITY_LUT, _VOI_LUT = 0x00283000, 0x00283010
_LUT_DESCRIPTOR, _LUT_DATA = 0x00283002, 0x00283006
_PADDING, _PADDING_LIMIT = 0x00280120, 0x00280121
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


class Lut(NamedTuple):
    """A table of (0028,3000) or (0028,3010).

    Attributes:
        first: the input that its first entry is for; smaller ones have the same output.
        bits: of an entry.
        data: its entries.
    """

    first: int
    bits: int
    data: tuple[int, ...]

    def apply(self, values: Pixels) -> Pixels:
        """Return the entries of `values`."""
        places = np.clip(np.asarray(values, np.float64) - self.first, 0, len(self.data) - 1)
        return np.asarray(self.data, np.float64)[places.astype(np.int64)]


class Attributes(NamedTuple):
    """The attributes that map stored values of a frame to displayed ones.

    Attributes:
        slope, intercept: Rescale Slope and Intercept.
        modality_lut: goes before them.
        window: Center and Width of the first window.
        function: VOI LUT Function.
        voi_lut: goes before the window.
        inverted: MONOCHROME1.
        padding: range of stored values that are no part of the image.
    """

    slope: float
    intercept: float
    modality_lut: Lut | None
    window: tuple[float, float] | None
    function: str
    voi_lut: Lut | None
    inverted: bool
    padding: tuple[int, int] | None

    @property
    def has_window(self) -> bool:
        """The values of a frame do not depend on its extremes."""
        return self.window is not None or self.voi_lut is not None

    def modality(self, stored: Pixels) -> Pixels:
        """Return stored values after the Modality LUT."""
        if self.modality_lut is not None:
            return self.modality_lut.apply(stored)
        return stored.astype(np.float64) * self.slope + self.intercept


def gray_values(
    stored: Pixels, attributes: Attributes, bounds: tuple[float, float] | None
) -> Pixels:
    """Return stored values as 8-bit gray.

    Args:
        stored: values of any shape.
        attributes: of the frame.
        bounds: the values for black and for white, where no window gives them.
    """
    values = attributes.modality(stored)
    if attributes.voi_lut is not None:
        gray = attributes.voi_lut.apply(values) * (255 / ((1 << attributes.voi_lut.bits) - 1))
    elif attributes.window is not None:
        gray = window(values, *attributes.window, attributes.function)
    else:
        assert bounds is not None
        low, high = bounds
        scale = 255 / (high - low) if high > low else 0.0
        if stored.dtype.kind == "f":
            values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
        gray = (values - low) * scale
    if attributes.inverted:
        gray = 255 - gray
    result: Pixels = np.floor(np.clip(gray, 0, 255) + 0.5).astype(np.uint8)
    return result


def window(values: Pixels, center: float, width: float, function: str) -> Pixels:
    """Return `values` in 0 to 255 under a VOI LUT function (PS3.3, Section C.11.2.1.2 and .3)."""
    if function == "SIGMOID":
        exponent = np.clip(-4 * (values - center) / width, -700, 700)
        result: Pixels = 255 / (1 + np.exp(exponent))
        return result
    if function == "LINEAR_EXACT" or width < 1:
        return np.clip((values - center) / width + 0.5, 0, 1) * 255
    if width == 1:
        return np.where(values <= center - 0.5, 0.0, 255.0)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 255


def frame_attributes(file: DicomFile, image: ImagePixel) -> Callable[[int], Attributes]:
    """Return a function that gives the attributes of a frame, counted from 0.

    An enhanced multi-frame has them in its functional groups (PS3.3, Section C.7.6.16).

    Raises:
        InstanceError: DATA_SET_INVALID.
    """
    top = _Reader(file.buffer, file.elements, file.encoding)
    shared = next(iter(top.items(_SHARED_GROUPS)), None)
    groups = [shared] if shared else []
    per_frame = top.items(_PER_FRAME_GROUPS)
    if not groups and not per_frame:
        attributes = _read([top], image)
        return lambda _: attributes
    common = [each for group in groups for each in _inner(group)]

    def of_frame(index: int) -> Attributes:
        own = _inner(per_frame[index]) if index < len(per_frame) else []
        return _read([*own, *common, top], image)

    return of_frame


def palette(file: DicomFile, image: ImagePixel) -> Pixels:
    """Return the RGB of every word that a sample may be (PS3.3, Section C.7.6.3.1.5 and .6).

    Raises:
        InstanceError: NOT_RENDERABLE.
    """
    from pydicom.dataset import Dataset
    from pydicom.pixels.processing import apply_color_lut

    if image.bits_allocated not in (8, 16):
        raise InstanceError(Reason.NOT_RENDERABLE)
    tables = Dataset()
    tables.set_original_encoding(is_implicit_vr=False, is_little_endian=True)
    for tag in (0x00281101, 0x00281102, 0x00281103):
        value = _words(file.value(tag) or b"", file.encoding)
        if len(value) != 3:
            raise InstanceError(Reason.NOT_RENDERABLE)
        tables.add_new(tag, "US", list(value))
    for tag in (0x00281201, 0x00281202, 0x00281203, 0x00281221, 0x00281222, 0x00281223):
        data = file.value(tag)
        if data:
            in_order = data if file.encoding.little_endian else swap(data, b"OW")
            tables.add_new(tag, "OW", in_order)
    words = np.arange(1 << image.bits_allocated, dtype=f"u{image.dtype.itemsize}")
    try:
        colors = apply_color_lut(words.view(image.dtype), tables)
    except (ValueError, AttributeError, KeyError, IndexError, NotImplementedError, struct.error):
        raise InstanceError(Reason.NOT_RENDERABLE) from None
    if colors.dtype.itemsize == 2:
        colors = colors >> 8
    return colors.astype(np.uint8)


class _Reader:
    """The attributes of one data set, main or nested."""

    def __init__(
        self, buffer: bytes, elements: list[RawElement], encoding: DataSetEncoding
    ) -> None:
        self._buffer = buffer
        self._found = {each.tag: each for each in elements}
        self._encoding = encoding

    def items(self, tag: int) -> list["_Reader"]:
        element = self._found.get(tag)
        if element is None or element.vr(self._buffer, self._encoding) not in (b"", b"SQ"):
            return []
        return [
            _Reader(self._buffer, item.elements, item.encoding)
            for item in read_items(self._buffer, element, self._encoding)
        ]

    def text(self, tag: int) -> str:
        return self.raw(tag).split(b"\\")[0].strip(b" \0").decode("ascii", "replace")

    def number(self, tag: int) -> float | None:
        try:
            value = float(self.text(tag))
        except ValueError:
            return None
        return value if np.isfinite(value) else None

    def words(self, tag: int) -> tuple[int, ...]:
        return _words(self.raw(tag), self._encoding)

    def raw(self, tag: int) -> bytes:
        element = self._found.get(tag)
        return self._buffer[element.value : element.end] if element else b""


def _words(value: bytes, encoding: DataSetEncoding) -> tuple[int, ...]:
    return struct.unpack(f"{encoding.order}{len(value) // 2}H", value[: len(value) // 2 * 2])


def _inner(group: _Reader) -> list[_Reader]:
    return [*group.items(_PIXEL_VALUE_TRANSFORMATION), *group.items(_FRAME_VOI_LUT)]


def _read(levels: list[_Reader], image: ImagePixel) -> Attributes:
    """Read the attributes from the innermost of `levels` that has them."""

    def first(get: Callable[[_Reader], Any]) -> Any:
        return next((found for each in levels if (found := get(each)) is not None), None)

    def find_window(each: _Reader) -> tuple[float, float] | None:
        center, width = each.number(_WINDOW_CENTER), each.number(_WINDOW_WIDTH)
        return (center, width) if center is not None and width is not None and width > 0 else None

    slope = first(lambda each: each.number(_SLOPE))
    intercept = first(lambda each: each.number(_INTERCEPT))
    function = first(lambda each: each.text(_VOI_LUT_FUNCTION).upper() or None)
    return Attributes(
        slope=slope if slope else 1.0,
        intercept=intercept or 0.0,
        modality_lut=first(lambda each: _lut(each, _MODALITY_LUT, image.signed)),
        window=first(find_window),
        function=function if function in _FUNCTIONS else "LINEAR",
        voi_lut=first(
            lambda each: _lut(each, _VOI_LUT, image.signed or bool(intercept and intercept < 0))
        ),
        inverted=image.photometric == "MONOCHROME1",
        padding=_padding(levels[-1], image),
    )


def _lut(reader: _Reader, tag: int, signed: bool) -> Lut | None:
    for item in reader.items(tag):
        descriptor, data = item.words(_LUT_DESCRIPTOR), item.words(_LUT_DATA)
        if len(descriptor) != 3 or not data:
            continue
        entries, first, bits = descriptor
        entries = entries or 0x10000
        if len(data) * 2 <= entries + 1:  # entries of 8 bits in words
            raw = item.raw(_LUT_DATA)
            data = tuple(raw[:entries])
        if 8 <= bits <= 16 and data:
            return Lut(
                first - 0x10000 if signed and first >= 0x8000 else first, bits, data[:entries]
            )
    return None


def _padding(top: _Reader, image: ImagePixel) -> tuple[int, int] | None:
    ends = [top.words(tag)[:1] for tag in (_PADDING, _PADDING_LIMIT)]
    values = [each[0] for each in ends if each]
    if not values or not ends[0] or image.is_float:
        return None
    if image.signed:
        values = [each - 0x10000 if each >= 0x8000 else each for each in values]
    return min(values), max(values)
