"""The attributes that say how a gray frame is shown (PS3.3 C.11.1, C.11.2, C.7.6.16.2)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dicomferry.dicom.dicom_file import DicomFile
from dicomferry.pixels.image_pixel import ImagePixel
from dicomferry.pixels.render.attribute_reader import AttributeReader
from dicomferry.pixels.render.lookup_table import LookupTable, read_descriptor, read_table
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
_PRESENTATION_LUT_SHAPE = 0x20500020
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


class Modality(NamedTuple):
    """Stored values to those of the modality.

    Attributes:
        slope, intercept: Rescale Slope and Intercept.
        table: the Modality LUT, which goes before them.
    """

    slope: float = 1.0
    intercept: float = 0.0
    table: LookupTable | None = None

    def apply(self, stored: Pixels) -> Pixels:
        """Return stored values after the Modality LUT."""
        if self.table is not None:
            return self.table.apply(stored).astype(np.float64)
        # NaN and infinity are values like others, whichever operation meets or makes them.
        with np.errstate(over="ignore", invalid="ignore"):
            return stored.astype(np.float64) * self.slope + self.intercept


class Voi(NamedTuple):
    """Values of the modality to those of interest.

    Attributes:
        table: the VOI LUT.
        window: Center and Width of the first window, which the VOI LUT goes before.
        function: VOI LUT Function of the window.
    """

    table: LookupTable | None = None
    window: tuple[float, float] | None = None
    function: str = "LINEAR"


class Attributes(NamedTuple):
    """The attributes that map stored values of a frame to displayed ones.

    Attributes:
        modality: Modality LUT, or Rescale Slope and Intercept.
        voi: VOI LUT or window; None if the extremes of the frame take its place.
        inverted: the smallest value is white.
        padding: range of stored values that are no part of the image.
    """

    modality: Modality
    voi: Voi | None
    inverted: bool
    padding: tuple[int, int] | None


def frame_attributes(file: DicomFile, image: ImagePixel) -> Callable[[int], Attributes]:
    """Return a function that gives the attributes of a frame, counted from 0.

    An enhanced multi-frame has them in its functional groups (PS3.3, Section C.7.6.16).

    Raises:
        InstanceError: DATA_SET_INVALID, LOOKUP_TABLE_INVALID.
    """
    top = AttributeReader.of_file(file)
    shared = next(iter(top.items(_SHARED_GROUPS)), None)
    common = _inner(shared) if shared else []
    per_frame = top.items(_PER_FRAME_GROUPS)
    if not common and not per_frame:
        attributes = _read([top], image)
        return lambda _: attributes

    def of_frame(index: int) -> Attributes:
        own = _inner(per_frame[index]) if index < len(per_frame) else []
        return _read([*own, *common, top], image)

    return of_frame


def _inner(group: AttributeReader) -> list[AttributeReader]:
    return [*group.items(_PIXEL_VALUE_TRANSFORMATION), *group.items(_FRAME_VOI_LUT)]


def _read(levels: list[AttributeReader], image: ImagePixel) -> Attributes:
    """Read the attributes from the innermost of `levels` that has them."""
    top = levels[-1]
    found = (_modality(each, image) for each in levels)
    modality = next((each for each in found if each is not None), Modality())
    signed = _may_be_negative(modality, image)
    voi = (_voi(each, signed) for each in levels)
    shape = top.text(_PRESENTATION_LUT_SHAPE)
    is_shape = shape in ("IDENTITY", "INVERSE")
    return Attributes(
        modality=modality,
        voi=next((each for each in voi if each is not None), None),
        inverted=shape == "INVERSE" if is_shape else image.photometric == "MONOCHROME1",
        padding=_padding(top, image),
    )


def _modality(reader: AttributeReader, image: ImagePixel) -> Modality | None:
    """Read the Modality LUT of one data set; a slope of 0 would leave nothing to see."""
    table = _table(reader, _MODALITY_LUT, image.signed)
    if table is not None:
        return Modality(table=table)
    slope, intercept = reader.number(_SLOPE), reader.number(_INTERCEPT)
    if slope is None and intercept is None:
        return None
    return Modality(slope or 1.0, intercept or 0.0)


def _voi(reader: AttributeReader, signed: bool) -> Voi | None:
    """Read the VOI LUT or window of one data set; a width that is not positive is none."""
    table = _table(reader, _VOI_LUT, signed)
    if table is not None:
        return Voi(table=table)
    center, width = reader.number(_WINDOW_CENTER), reader.number(_WINDOW_WIDTH)
    if center is None or width is None or width <= 0:
        return None
    function = reader.text(_VOI_LUT_FUNCTION).upper()
    known = function in _FUNCTIONS
    return Voi(window=(center, width), function=function if known else "LINEAR")


def _may_be_negative(modality: Modality, image: ImagePixel) -> bool:
    """Whether inputs of the VOI LUT are signed; a Modality LUT gives unsigned values (C.11.1.1)."""
    if modality.table is not None:
        return False
    if image.is_float:
        return True
    lowest = -(1 << (image.bits_stored - 1)) if image.signed else 0
    ends = (lowest, lowest + (1 << image.bits_stored) - 1)
    return any(each * modality.slope + modality.intercept < 0 for each in ends)


def _table(reader: AttributeReader, tag: int, signed: bool) -> LookupTable | None:
    """Return the first table of a sequence; an item without any is passed over."""
    for item in reader.items(tag):
        words = item.word_bytes(_LUT_DATA)
        if words or item.words(_LUT_DESCRIPTOR):
            return read_table(read_descriptor(item, _LUT_DESCRIPTOR, signed), words)
    return None


def _padding(top: AttributeReader, image: ImagePixel) -> tuple[int, int] | None:
    """Return the range of Pixel Padding Value and its limit, as stored values are read."""
    if image.is_float or image.bits_allocated > 16 or not top.words(_PADDING):
        return None
    found = [top.words(tag)[:1] for tag in (_PADDING, _PADDING_LIMIT)]
    words = np.array([each[0] for each in found if each], np.uint16)
    unused = 16 - image.bits_stored
    values = words.view(np.int16) if image.signed else words
    own = (values << unused) >> unused
    return int(own.min()), int(own.max())
