"""What the Image Pixel Module says about the pixels (PS3.3, Section C.7.6.3)."""

from typing import NamedTuple

import numpy as np

from dicomferry.dicom.dicom_file import DicomFile
from dicomferry.dicom.frame_count import parse_frame_count, parse_number
from dicomferry.dicom.tags import DOUBLE_FLOAT_PIXEL_DATA, FLOAT_PIXEL_DATA, NUMBER_OF_FRAMES
from dicomferry.errors import InstanceError, Reason

# A frame is decoded in memory, and codecs need up to five times its size beside it (OpenJPEG
# keeps 32 bits a sample). Real single frames end near 200 MiB; at 512 MiB one worker stays below
# 3 GiB with the worst codec, and a forged header can't ask for more.
MAX_FRAME_BYTES = 512 << 20

_BIT_POSITION, _OVERLAY_DATA = 0x0102, 0x3000


class ImagePixel(NamedTuple):
    """The attributes that the pixels and their readers depend on.

    Attributes:
        rows, columns, samples: the shape of a frame.
        photometric: Photometric Interpretation.
        planar: Planar Configuration; 0 where there is one sample.
        bits_allocated, bits_stored: a sample.
        signed: Pixel Representation is 1.
        frames: Number of Frames.
        is_float: Float or Double Float Pixel Data.
        whole_words: bits beyond Bits Stored mean something (overlays in them, or a High Bit that
            is not Bits Stored - 1), so a lossless encoder has to keep all of them.
        high_bit: High Bit.
        overlays: group and bit position of each overlay in those bits.
        pairs_by_row: of native YBR_FULL_422: a last, odd pixel of a row has a pair of its own.
    """

    rows: int
    columns: int
    samples: int
    photometric: str
    planar: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    frames: int
    is_float: bool
    whole_words: bool
    high_bit: int
    overlays: tuple[tuple[int, int], ...] = ()
    pairs_by_row: bool = True

    @property
    def of_values(self) -> "ImagePixel":
        """The attributes of the values alone, which `samples.stored_values` makes of words."""
        return self._replace(high_bit=self.bits_stored - 1, whole_words=False, overlays=())

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, columns) or (rows, columns, samples)."""
        if self.samples == 1:
            return self.rows, self.columns
        return self.rows, self.columns, self.samples

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of a decoded sample, little endian; uint8 for single bits."""
        if self.is_float:
            return np.dtype(f"<f{self.bits_allocated // 8}")
        return np.dtype(f"<{'i' if self.signed else 'u'}{max(1, self.bits_allocated // 8)}")

    @property
    def is_subsampled(self) -> bool:
        """Native frames hold one Cb and one Cr for two pixels."""
        return self.photometric == "YBR_FULL_422" and self.samples == 3

    @property
    def frame_bits(self) -> int:
        """The bits of one native frame: odd frames of single bits are not padded."""
        pixels = self.rows * self.columns
        if self.is_subsampled:
            pairs = self.rows * -(-self.columns // 2) if self.pairs_by_row else -(-pixels // 2)
            return pairs * 4 * self.bits_allocated
        return pixels * self.samples * self.bits_allocated

    @property
    def stored_bytes(self) -> float:
        """The bytes that the stored bits of one frame fill."""
        return self.rows * self.columns * self.samples * self.bits_stored / 8

    @property
    def decoded_size(self) -> int:
        """The bytes of one decoded frame."""
        return self.rows * self.columns * self.samples * self.dtype.itemsize


def read_image(file: DicomFile) -> ImagePixel:
    """Read the attributes of the pixels.

    Raises:
        InstanceError: PIXEL_ATTRIBUTES_INVALID.
    """
    found = {each.tag: each for each in file.elements if each.tag >> 16 == 0x0028}

    def number(tag: int, default: int | None = None) -> int:
        element = found.get(tag)
        value = file.buffer[element.value : element.end] if element else b""
        result = parse_number(value, file.encoding.order)
        if result is None:
            if default is None:
                raise InstanceError(Reason.PIXEL_ATTRIBUTES_INVALID)
            return default
        return result

    assert file.pixels is not None
    is_float = file.pixels.tag in (FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA)
    allocated = number(
        0x00280100, (64 if file.pixels.tag == DOUBLE_FLOAT_PIXEL_DATA else 32) if is_float else None
    )
    stored = allocated if is_float else number(0x00280101, allocated)
    samples = number(0x00280002, 1)
    high_bit = stored - 1 if is_float else number(0x00280102, stored - 1)
    element = found.get(0x00280004)
    photometric = file.buffer[element.value : element.end] if element else b""
    image = ImagePixel(
        rows=number(0x00280010),
        columns=number(0x00280011),
        samples=samples,
        photometric=photometric.strip(b"\0 ").decode("ascii", "replace"),
        planar=number(0x00280006, 0) if samples > 1 else 0,
        bits_allocated=allocated,
        bits_stored=stored,
        signed=not is_float and number(0x00280103, 0) == 1,
        frames=_number_of_frames(file.value(NUMBER_OF_FRAMES) or b"", file.encoding.order),
        is_float=is_float,
        whole_words=False,
        high_bit=high_bit,
    )
    if (
        not (image.rows and image.columns and 1 <= image.samples <= 4)
        or allocated not in ((32, 64) if is_float else (1, 8, 16, 32, 64))
        or not 1 <= stored <= allocated
        or not stored - 1 <= high_bit < allocated
        or image.planar not in (0, 1)
    ):
        raise InstanceError(Reason.PIXEL_ATTRIBUTES_INVALID)
    if image.is_subsampled and not file.syntax.encapsulated:
        image = _as_held(image, 8 * (file.pixels.end - file.pixels.value))
    overlays = _embedded_overlays(file, image)
    if overlays or high_bit != stored - 1:
        return image._replace(whole_words=True, overlays=overlays)
    return image


def _as_held(image: ImagePixel, bits: int) -> ImagePixel:
    """Return the attributes of native YBR_FULL_422 as the pixel data of so many bits holds it.

    Some writers give every pixel its own Cb and Cr, as in YBR_FULL. Pairs are of one row (PS3.3
    C.7.6.3.1.2); where the data is too short for that, they go on in the next row.
    """
    full = image._replace(photometric="YBR_FULL")
    by_row = image.frame_bits * image.frames
    if 0 <= bits - full.frame_bits * image.frames <= 8 and bits != by_row:
        return full
    return image._replace(pairs_by_row=by_row <= bits)


def check_frame_size(image: ImagePixel) -> None:
    """Refuse a frame that would not fit in memory, before any is read.

    Raises:
        InstanceError: FRAME_TOO_LARGE.
    """
    if image.decoded_size > MAX_FRAME_BYTES:
        raise InstanceError(Reason.FRAME_TOO_LARGE)


def _number_of_frames(value: bytes, order: str) -> int:
    """Read Number of Frames.

    Raises:
        InstanceError: PIXEL_ATTRIBUTES_INVALID: it is no number of frames; frames would be lost.
    """
    frames = parse_frame_count(value, order)
    if frames is None:
        raise InstanceError(Reason.PIXEL_ATTRIBUTES_INVALID)
    return frames


def _embedded_overlays(file: DicomFile, image: ImagePixel) -> tuple[tuple[int, int], ...]:
    """Return group and bit of each overlay in unused bits, as before 2004 (PS3.5-2004 8.1.2)."""
    found = {}
    for each in file.elements:
        if 0x60000000 <= each.tag < 0x60200000 and not each.tag & 0x10000:
            found[each.tag >> 16, each.tag & 0xFFFF] = file.buffer[each.value : each.end]
    lowest = image.high_bit + 1 - image.bits_stored
    overlays = []
    for (group, element), value in found.items():
        if element == _BIT_POSITION and (group, _OVERLAY_DATA) not in found:
            bit = parse_number(value, file.encoding.order)
            is_unused = bit is not None and not lowest <= bit <= image.high_bit
            if bit is not None and is_unused and bit < image.bits_allocated:
                overlays.append((group, bit))
    return tuple(overlays) if image.samples == 1 else ()
