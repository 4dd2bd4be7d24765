"""What the attributes say about the pixels, also where they are written oddly."""

import numpy as np
import pytest

from dicomferry.dicom.dicom_file import open_file
from dicomferry.dicom.header import read_header
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.errors import InstanceError
from dicomferry.pixels.image_pixel import read_image
from tests.pixels.instances import PREFIX, data_set, outputs, part10

_ELEMENT = b"\x28\x00\x08\x00IS"


def frames_said(value: bytes) -> int:
    """Number of Frames of a file whose element has this value."""
    data = part10(data_set(np.zeros((4, 2, 2), np.uint8), frames=4))
    at = data.index(_ELEMENT) + len(_ELEMENT)
    length = len(value).to_bytes(2, "little")
    file = BytesReader(data[:at] + length + value + data[at + 4 :])
    frames = read_image(open_file(file)).frames
    assert read_header(file).number_of_frames == frames  # the index says what exports do
    return frames


@pytest.mark.parametrize(
    ("value", "frames"),
    [
        *((b"4 ", 4), (b"+4", 4), (b" +4 ", 4), (b"  4 ", 4), (b"4\0", 4), (b"0012", 12)),
        *((b"4.0 ", 4), (b"4.", 4)),  # as pydicom and dcmtk read it
        *((b"", 1), (b"  ", 1), (b"\0\0", 1), (b"0 ", 1)),  # none said: one frame
        *((b"\4\0", 4), (b"\x2c\1", 300), (b"\4\0\0\0", 4)),  # US and UL, which some writers use
        *((b"16", 16), (b"1234", 1234)),  # both text and such a number: it is text
    ],
)
def test_the_number_of_frames_is_read_as_text_in_all_its_spellings(
    value: bytes, frames: int
) -> None:
    assert frames_said(value) == frames


@pytest.mark.parametrize("value", [b"-4", b"4.5 ", b"4\\4 ", b"four", b"++4 ", b"4 4 ", b"4e0 "])
def test_no_frame_is_lost_to_a_number_that_is_none(value: bytes) -> None:
    with pytest.raises(InstanceError, match="PIXEL_ATTRIBUTES_INVALID"):
        frames_said(value)


def test_subsampled_color_of_single_bits_is_refused() -> None:
    ds = data_set(np.zeros((8, 32), np.uint8), PhotometricInterpretation="YBR_FULL_422")
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PlanarConfiguration = 7, 7, 3, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 0
    for mime_type in ("image/png", f"application/dicom; transfer-syntax={PREFIX}.4.80"):
        with pytest.raises(InstanceError, match="PIXEL_ATTRIBUTES_INVALID"):
            outputs(part10(ds), mime_type)
