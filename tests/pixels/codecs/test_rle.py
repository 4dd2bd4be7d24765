"""RLE frames (PS3.5, Annex G): whatever a segment holds, a frame decodes or is refused."""

import random
import struct

import numpy as np
import pytest

from dicomferry.dicom.dicom_file import open_file
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.errors import InstanceError
from dicomferry.pixels.codecs import rle
from dicomferry.pixels.image_pixel import read_image
from tests.pixels.instances import data_set, gray, part10

IMAGE = read_image(open_file(BytesReader(part10(data_set(gray((4, 4), 16), 16)))))
HIGH, LOW = bytes([15]) + b"a" * 16, bytes([15]) + bytes(range(16))
RIGHT = np.arange(16).reshape(4, 4) + (ord("a") << 8)


def frame(*segments):
    offsets = [64 + sum(map(len, segments[:n])) for n in range(len(segments))]
    return struct.pack("<16L", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(
        segments
    )


PADDING = {"none": b"", "a byte": b"\0", "bytes": b"\0" * 6, "no operation": b"\x80"}


@pytest.mark.parametrize("high", PADDING)
@pytest.mark.parametrize("low", PADDING)
def test_padding_after_a_segment_is_none_of_its_pixels(high, low):
    decoded = rle.decode(frame(HIGH + PADDING[high], LOW + PADDING[low]), IMAGE, "")
    assert np.array_equal(decoded.pixels.reshape(4, 4), RIGHT)


# The first ended in a panic of pylibjpeg-rle, with a line on standard error.
REFUSED = {
    "too long": frame(bytes([20]) + b"a" * 21 + bytes([130, 0]), LOW),
    "runs without end": frame(HIGH, LOW + b"\x81\0" * 50),
    "cut in a literal": frame(HIGH, LOW[:-1]),
    "cut in a run": frame(HIGH, LOW[:9] + b"\xf1"),
    "too short": frame(bytes([14]) + b"a" * 15, LOW),
    "empty": frame(HIGH, b""),
    "no place": struct.pack("<16L", 2, 64, 5000, *[0] * 13) + HIGH,
    "in the header": struct.pack("<16L", 2, 8, 64, *[0] * 13) + HIGH,
    "backwards": struct.pack("<16L", 2, 81, 64, *[0] * 13) + HIGH + LOW,
    "cut header": frame(HIGH, LOW)[:63],
}


@pytest.mark.parametrize("stream", REFUSED.values(), ids=REFUSED)
def test_a_broken_segment_is_refused(stream, capfd):
    with pytest.raises(InstanceError, match="CODE_STREAM_INVALID"):
        rle.decode(stream, IMAGE, "")
    assert capfd.readouterr() == ("", "")


def test_nothing_is_ever_printed(capfd):
    dice, kinds = random.Random(3), set()
    for _ in range(5000):
        stream = bytearray(frame(HIGH + b"\0", LOW + b"\0"))
        for _ in range(dice.randrange(1, 4)):
            stream[dice.randrange(4, len(stream))] = dice.randrange(256)
        try:
            rle.decode(bytes(stream), IMAGE, "")
            kinds.add("decoded")
        except InstanceError as error:
            kinds.add(error.code)
    assert kinds == {"decoded", "CODE_STREAM_INVALID"}
    assert capfd.readouterr() == ("", "")
