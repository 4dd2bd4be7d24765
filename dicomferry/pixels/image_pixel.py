"""What the Image Pixel Module says about the pixels (PS3.3, Section C.7.6.3)."""

import struct
from typing import NamedTuple

import numpy as np

from dicomferry.dicom.dicom_file import DicomFile
from dicomferry.dicom.tags import DOUBLE_FLOAT_PIXEL_DATA, FLOAT_PIXEL_DATA
from dicomferry.errors import InstanceError, Reason

# A frame is decoded in memory, and codecs need up to five times its size beside it (OpenJPEG
# keeps 32 bits a sample). Real single frames end near 200 MiB; at 512 MiB one worker stays below
# 3 GiB with the worst codec, and a forged header can't ask for more.
MAX_FRAME_BYTES = 512 << 20

_OVERLAYS = range(0x6000, 0x6020, 2)


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
    def frame_bits(self) -> int:
        """The bits of one native frame: odd frames of single bits are not padded."""
        pixels = self.rows * self.columns
        if self.photometric == "YBR_FULL_422":
            return pixels * 2 * self.bits_allocated
        return pixels * self.samples * self.bits_allocated

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
        result = _number(value, file.encoding.order, is_text=tag == 0x00280008)
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
        frames=max(1, number(0x00280008, 1)),
        is_float=is_float,
        whole_words=high_bit != stored - 1 or _has_embedded_overlay(file),
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
    return image


def check_frame_size(image: ImagePixel) -> None:
    """Refuse a frame that would not fit in memory, before any is read.

    Raises:
        InstanceError: FRAME_TOO_LARGE.
    """
    if image.decoded_size > MAX_FRAME_BYTES:
        raise InstanceError(Reason.FRAME_TOO_LARGE)


def _number(value: bytes, order: str, is_text: bool) -> int | None:
    """Read a US, or an IS; some writers confuse the two."""
    text = value.strip(b"\0 ")
    if len(value) in (2, 4) and not (is_text and text.isdigit()):
        return int(struct.unpack(order + ("H" if len(value) == 2 else "L"), value)[0])
    return int(text) if text.isdigit() and len(text) < 12 else None


def _has_embedded_overlay(file: DicomFile) -> bool:
    """Whether an overlay lies in unused bits of the pixels, as before 2004 (PS3.5 8.1.2)."""
    groups = {each.tag >> 16 for each in file.elements if 0x6000 <= each.tag >> 16 < 0x6020}
    return any(
        file.value(group << 16 | 0x0100) not in (None, b"", b"\1\0", b"\0\1")
        and file.value(group << 16 | 0x3000) is None
        for group in groups
        if group in _OVERLAYS
    )
