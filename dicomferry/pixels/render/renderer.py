"""Pixels for display: 8-bit gray or RGB pictures (PS3.3, Sections C.11.1, C.11.2, C.7.6.3).

Gray, in this order:
1. stored values, of which the Bits Stored bits at High Bit count: no overlay is shown;
2. Modality LUT, else Rescale Slope and Intercept; of an enhanced multi-frame those of the frame;
3. VOI LUT, else the first Window Center and Width under VOI LUT Function LINEAR, LINEAR_EXACT or
   SIGMOID; without either, the smallest and the largest value of the frame itself, Pixel Padding
   Value left out, become black and white (single bits: 0 and 1);
4. inverted if Presentation LUT Shape is INVERSE or, without one, the image is MONOCHROME1;
5. 0 to 255, rounded to the nearest.

Color: the palette is applied, YBR becomes RGB, and the upper 8 of Bits Stored bits are kept; fewer
than 8 are spread over 0 to 255.
Neither windows nor rescaling apply to it. A JPEG Baseline stream of YBR color already is the
picture that image/jpeg asks for, and is handed on as it is.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dicomferry.dicom.dicom_file import DicomFile
from dicomferry.dicom.transfer_syntaxes import JPEG_BASELINE
from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels import formats
from dicomferry.pixels.codecs.codestream import check_jpeg, read_jpeg
from dicomferry.pixels.image_pixel import ImagePixel
from dicomferry.pixels.quality import Quality
from dicomferry.pixels.render.color import to_8_bits
from dicomferry.pixels.render.gray_attributes import Attributes, frame_attributes
from dicomferry.pixels.render.grayscale import gray_values
from dicomferry.pixels.render.palette import palette
from dicomferry.pixels.samples import Decoded, Pixels, stored_values, unsigned

_MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
# Samples that are looked up at a time, so that they stay in the cache.
_PIECE = 1 << 15
_PHOTOMETRICS = (
    *_MONOCHROME,
    "PALETTE COLOR",
    "RGB",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_RCT",
    "YBR_ICT",
)


class _Table(NamedTuple):
    """The picture value of each stored value, for the attributes that it was made of."""

    attributes: Attributes
    values: Pixels


class Renderer:
    """Makes the pictures of one instance.

    Attributes:
        takes_streams: the stored streams may already be the pictures; use `from_stream`.
    """

    def __init__(
        self, file: DicomFile, image: ImagePixel, media_type: str, quality: Quality
    ) -> None:
        """Check that there is something to show.

        Raises:
            InstanceError: NOT_RENDERABLE.
        """
        gray = image.photometric in (*_MONOCHROME, "PALETTE COLOR")
        if image.photometric not in _PHOTOMETRICS or image.samples != (1 if gray else 3):
            raise InstanceError(Reason.NOT_RENDERABLE)
        if not gray and image.is_float:
            raise InstanceError(Reason.NOT_RENDERABLE)
        self._image = image
        self._encode = _encoder(media_type, quality)
        self._attributes = frame_attributes(file, image)
        self._palette = palette(file, image) if image.photometric == "PALETTE COLOR" else None
        self._table: _Table | None = None
        self.takes_streams = (
            media_type == formats.JPEG
            and file.syntax.uid == JPEG_BASELINE
            and image.photometric in ("YBR_FULL", "YBR_FULL_422")
        )

    def from_stream(self, stream: bytes, index: int) -> bytes:
        """Return the picture of a frame from its JPEG Baseline stream.

        Raises:
            InstanceError: CODE_STREAM_INVALID, CODE_STREAM_MISMATCH.
        """
        from dicomferry.pixels.codecs import jpeg

        # Decoded all the same: a damaged stream is a failure, not a picture.
        frame = jpeg.decode(stream, self._image, JPEG_BASELINE)
        header = read_jpeg(stream)
        check_jpeg(header, self._image)
        if frame.photometric == "RGB" or header.adobe_transform == 0:
            return self.picture(frame, index)  # a viewer would take it for YBR, or the reverse
        return stream

    def picture(self, frame: Decoded, index: int) -> bytes:
        """Return the file of one frame; `index` counts from 0."""
        return self._encode(self.render(frame, index))

    def render(self, frame: Decoded, index: int) -> Pixels:
        """Return 8-bit gray (rows, columns) or RGB (rows, columns, 3)."""
        image = self._image
        if self._palette is not None:
            return self._palette[_index(frame.pixels, image)]
        pixels = stored_values(frame.pixels, image)
        if image.samples == 3:  # color has no sign; where Pixel Representation says so, bits count
            values = image.of_values
            return to_8_bits(unsigned(pixels, values), values, frame.photometric)
        attributes = self._attributes(index)
        bounds = _bounds(pixels, attributes, image) if attributes.voi is None else None
        if image.is_float or image.bits_allocated > 16:
            return gray_values(pixels, attributes, bounds)
        if bounds is not None:
            return _lookup(pixels, image, attributes, bounds)
        if self._table is None or self._table.attributes != attributes:
            self._table = _Table(attributes, _table(image.dtype, attributes))
        return _look_up(self._table.values, _index(pixels, image))


def _encoder(media_type: str, quality: Quality) -> Callable[[Pixels], bytes]:
    if media_type == formats.PNG:
        from dicomferry.pixels.render import png

        return png.encode_picture
    from dicomferry.pixels.codecs import jpeg

    return lambda pixels: jpeg.encode_picture(pixels, quality)


def _index(pixels: Pixels, image: ImagePixel) -> Pixels:
    """Return the samples' words as indices of a table with all words."""
    return pixels.view(f"u{pixels.dtype.itemsize}") if image.signed else pixels


def _look_up(table: Pixels, words: Pixels) -> Pixels:
    """Return the entries of words, piece by piece: numpy makes a word eight bytes on the way."""
    found = np.empty(words.size, table.dtype)
    flat = words.reshape(-1)
    for at in range(0, words.size, _PIECE):
        piece = slice(at, at + _PIECE)
        table.take(flat[piece], out=found[piece], mode="clip")
    return found.reshape(words.shape)


@lru_cache(maxsize=4)  # the images of a series have the same one
def _table(dtype: np.dtype[np.generic], attributes: Attributes) -> Pixels:
    """Return the picture value of every word that a sample may be."""
    words = np.arange(1 << (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}")
    table = gray_values(words.view(dtype), attributes, None)
    table.flags.writeable = False
    return table


def _lookup(
    pixels: Pixels, image: ImagePixel, attributes: Attributes, bounds: tuple[float, float]
) -> Pixels:
    """Render by a table of the words that occur between the frame's smallest and largest."""
    low, high = int(pixels.min()), int(pixels.max())
    if pixels.size < high - low:
        return gray_values(pixels, attributes, bounds)
    size = 1 << (8 * image.dtype.itemsize)
    table = np.empty(size, np.uint8)
    stored = np.arange(low, high + 1)
    table[stored & (size - 1)] = gray_values(stored, attributes, bounds)
    return _look_up(table, _index(pixels, image))


def _bounds(pixels: Pixels, attributes: Attributes, image: ImagePixel) -> tuple[float, float]:
    """Return the smallest and largest value of a frame after the Modality LUT."""
    if image.bits_stored == 1:
        return 0.0, 1.0
    shown = pixels
    if attributes.padding is not None:
        low, high = attributes.padding
        kept = pixels[(pixels < low) | (pixels > high)]
        shown = kept if kept.size else pixels
    if image.is_float:
        finite = shown[np.isfinite(shown)]
        if not finite.size:
            return 0.0, 1.0
        shown = finite
    ends = np.array([shown.min(), shown.max()])
    # A table need not be monotonic.
    values = attributes.modality.apply(ends if attributes.modality.table is None else shown)
    return float(values.min()), float(values.max())
