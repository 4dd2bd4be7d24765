"""Frames by range: offset tables, fragments, odd lengths, and objects larger than memory."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from dicomferry.dicom.dicom_file import open_file
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.errors import InstanceError
from dicomferry.pixels.attributes import extended_offset_table
from dicomferry.pixels.convert import transcode
from dicomferry.pixels.formats import parse_format
from dicomferry.pixels.frames import EncapsulatedFrames
from dicomferry.pixels.image_pixel import read_image
from tests.pixels.instances import PREFIX, data_set, gray, outputs, part10, read, to_dicom

FRAMES = np.stack([gray((20, 30), 12) + index for index in range(5)]).astype(np.uint16) & 0xFFF
OCTETS = "application/octet-stream; transfer-syntax="


def item(data: bytes) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(data)) + data


def streams() -> list[bytes]:
    data = to_dicom(part10(data_set(FRAMES, 12, frames=5)), ".4.80")
    return list(generate_frames(read(data).PixelData, number_of_frames=5))


def encapsulated(
    fragments: list[list[bytes]], table: bytes = b"", frames: int = 5, syntax: str = ".4.80"
) -> bytes:
    """A multi-frame, of JPEG-LS, whose frames have these fragments."""
    ds = data_set(FRAMES, 12, frames=frames)
    value = item(table) + b"".join(item(part) for frame in fragments for part in frame)
    del ds.PixelData
    head = part10(ds, PREFIX + syntax)
    element = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    return head + element + value + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def halves(stream: bytes) -> list[bytes]:
    middle = len(stream) // 4 * 2
    return [stream[:middle], stream[middle:]]


def basic_offset_table(fragments: list[list[bytes]]) -> bytes:
    offsets, position = [], 0
    for frame in fragments:
        offsets.append(position)
        position += sum(8 + len(part) for part in frame)
    return struct.pack(f"<{len(offsets)}L", *offsets)


@pytest.mark.parametrize("with_table", [False, True])
@pytest.mark.parametrize("split", [False, True])
def test_frames_of_many_fragments_are_told_apart_with_a_table_and_without(
    split: bool, with_table: bool
) -> None:
    fragments = [halves(each) if split else [each] for each in streams()]
    data = encapsulated(fragments, basic_offset_table(fragments) if with_table else b"")
    found = outputs(data, f"{OCTETS}{PREFIX}.1")
    assert [frame for frame, _ in found] == [1, 2, 3, 4, 5]
    assert b"".join(content for _, content in found) == FRAMES.tobytes()
    as_stored = [content for _, content in outputs(data, f"{OCTETS}*")]
    assert as_stored == streams()


def test_an_extended_offset_table_is_used_and_replaced() -> None:
    fragments = [halves(each) for each in streams()]
    offsets = struct.unpack("<5L", basic_offset_table(fragments))
    ds = read(encapsulated(fragments))
    ds.ExtendedOffsetTable = struct.pack("<5Q", *offsets)
    ds.ExtendedOffsetTableLengths = struct.pack("<5Q", *[len(b"".join(each)) for each in fragments])
    ds["PixelData"].is_undefined_length = True
    data = part10(ds, f"{PREFIX}.4.80")
    result = read(to_dicom(data, ".4.90"))
    assert "ExtendedOffsetTable" not in result and "ExtendedOffsetTableLengths" not in result
    assert np.array_equal(result.pixel_array, FRAMES)


def test_a_table_that_points_nowhere_is_not_trusted() -> None:
    fragments = [[each] for each in streams()]
    data = encapsulated(fragments, struct.pack("<5L", 0, 9, 11, 13, 17))
    assert np.array_equal(read(to_dicom(data, ".1")).pixel_array, FRAMES)


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("wrong", [1, 2, 3, 4])
@pytest.mark.parametrize("by", [-2, 2, 8, 100, "fragment", "far"])
def test_a_table_that_is_wrong_in_its_midst_is_not_trusted(
    extended: bool, split: bool, wrong: int, by: int | str
) -> None:
    fragments = [halves(each) if split else [each] for each in streams()]
    offsets = list(struct.unpack("<5L", basic_offset_table(fragments)))
    if by == "fragment":
        offsets[wrong] += 8 + len(fragments[wrong][0])
    elif by == "far":
        offsets[wrong:] = [each + (1 << 20) for each in offsets[wrong:]]
    else:
        offsets[wrong] += int(by)
    if not extended:
        data = encapsulated(fragments, struct.pack("<5L", *offsets))
        assert np.array_equal(read(to_dicom(data, ".1")).pixel_array, FRAMES)
        return
    table = struct.pack("<5Q", *offsets)
    for basic in (b"", basic_offset_table(fragments)):
        data = with_extended_table(encapsulated(fragments, basic), table)
        assert np.array_equal(read(to_dicom(data, ".1")).pixel_array, FRAMES)


def with_extended_table(data: bytes, table: bytes) -> bytes:
    element = struct.pack("<HH2sHL", 0x7FE0, 0x0001, b"OV", 0, len(table)) + table
    element += struct.pack("<HH2sHL", 0x7FE0, 0x0002, b"OV", 0, len(table)) + table
    at = data.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OB"))
    return data[:at] + element + data[at:]


@pytest.mark.parametrize("frames", [1, 3, 4, 6])
@pytest.mark.parametrize("with_table", [False, True])
def test_no_frame_is_lost_or_made_up_where_the_attributes_say_another_number(
    frames: int, with_table: bool
) -> None:
    fragments = [[each] for each in streams()]
    table = basic_offset_table(fragments) if with_table else b""
    with pytest.raises(InstanceError, match="FRAMES_NOT_FOUND"):
        to_dicom(encapsulated(fragments, table, frames=frames), ".1")


def test_one_frame_may_have_any_number_of_fragments() -> None:
    stream = streams()[0]
    parts = [stream[at : at + 2] for at in range(0, len(stream), 2)]
    ((frame, content),) = outputs(encapsulated([parts], frames=1), f"{OCTETS}{PREFIX}.1")
    assert (frame, content) == (None, FRAMES[0].tobytes())


@pytest.mark.parametrize("frames", [1, 2])
def test_a_fragment_may_begin_with_the_signature_of_jpeg_xl_by_chance(frames: int) -> None:
    stream = b"\xff\x0a\x06" + bytes(5) + b"\xff\x0a\x07" + bytes(5)
    fragments = [[stream[:8], stream[8:]]] * frames
    file = open_file(BytesReader(encapsulated(fragments, frames=frames, syntax=".4.110")))
    found = list(EncapsulatedFrames(file, read_image(file)))
    assert found == [stream] * frames


JP2 = (b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51\x00\x29")
JXL = (b"\x00\x00\x00\x0cJXL \r\n\x87\n", b"\xff\x0a\x18\x00")


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize(("boxes", "bare", "syntax"), [(*JP2, ".4.90"), (*JXL, ".4.110")])
def test_a_fragment_may_begin_with_the_code_stream_within_a_container(
    boxes: bytes, bare: bytes, syntax: str, frames: int
) -> None:
    file = open_file(
        BytesReader(encapsulated([[boxes, bare]] * frames, frames=frames, syntax=syntax))
    )
    assert list(EncapsulatedFrames(file, read_image(file))) == [boxes + bare] * frames


def test_fewer_frames_than_the_attributes_say_are_a_failure() -> None:
    with pytest.raises(InstanceError, match="FRAMES_NOT_FOUND"):
        to_dicom(encapsulated([[each] for each in streams()[:3]]), ".1")


def test_encoded_frames_are_even_and_the_basic_offset_table_finds_them() -> None:
    data = to_dicom(part10(data_set(FRAMES, 12, frames=5)), ".4.90")
    value = read(data).PixelData
    (length,) = struct.unpack_from("<L", value, 4)
    offsets = struct.unpack_from("<5L", value, 8)
    assert length == 20
    for offset in offsets:
        group, element, size = struct.unpack_from("<HHL", value, 8 + length + offset)
        assert (group, element, size % 2) == (0xFFFE, 0xE000, 0)
        assert value[16 + length + offset :].startswith(b"\xff\x4f\xff\x51")


def test_beyond_4_gib_there_is_an_extended_offset_table() -> None:
    changes = extended_offset_table([0, 1 << 33], [10, 12])
    assert changes[0x7FE00001] == (b"OV", struct.pack("<2Q", 0, 1 << 33))
    assert changes[0x7FE00002] == (b"OV", struct.pack("<2Q", 10, 12))


def single_bits(frames: int = 3) -> tuple[Dataset, np.ndarray]:
    bits = np.random.default_rng(3).integers(0, 2, (frames, 5, 7), dtype=np.uint8)
    ds = data_set(bits, frames=frames)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 0
    packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    ds.PixelData = packed + bytes(len(packed) % 2)
    return ds, bits


def test_frames_of_single_bits_begin_in_the_midst_of_a_byte() -> None:
    """PS3.5, Section 8.1.1: 35 bits a frame, no padding between them."""
    ds, bits = single_bits()
    found = outputs(part10(ds), f"{OCTETS}{PREFIX}.1")
    for index, (frame, content) in enumerate(found):
        assert frame == index + 1
        unpacked = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")[:35]
        assert np.array_equal(unpacked.reshape(5, 7), bits[index])
    back = to_dicom(to_dicom(part10(ds), ".8.1"), ".1")
    assert read(back).PixelData == ds.PixelData


def test_odd_frames_follow_each_other_without_padding() -> None:
    pixels = np.arange(3 * 15, dtype=np.uint8).reshape(3, 3, 5)
    data = part10(data_set(pixels, frames=3))
    assert [content for _, content in outputs(data, f"{OCTETS}{PREFIX}.1")] == [
        frame.tobytes() for frame in pixels
    ]
    assert np.array_equal(read(to_dicom(data, ".5")).pixel_array, pixels)
    assert np.array_equal(read(to_dicom(to_dicom(data, ".4.80"), ".1")).pixel_array, pixels)


def test_what_follows_the_pixels_stays() -> None:
    ds = data_set(gray(bits=12), 12)
    ds.add_new(0xFFFCFFFC, "OB", b"trailing")
    for end in ("", ".4.90", ".1.99", ".5"):
        assert read(to_dicom(part10(ds), end))[0xFFFCFFFC].value == b"trailing"
    jpeg = to_dicom(part10(ds), ".4.90")
    assert read(to_dicom(jpeg, ".1"))[0xFFFCFFFC].value == b"trailing"


def test_a_file_is_read_by_ranges_only() -> None:
    """A large object is never read in one piece."""

    class Counting(BytesReader):
        longest = 0

        def read(self, offset: int, length: int) -> bytes:
            self.longest = max(self.longest, min(length, self.size - offset))
            return super().read(offset, length)

    pixels = np.zeros((40, 512, 512), np.uint16)
    file = Counting(part10(data_set(pixels, frames=40)))
    assert sum(1 for each in transcode(file, parse_format("image/png")) for _ in each.chunks) == 40
    assert file.longest <= 1 << 20
    assert len(open_file(BytesReader(file.data)).buffer) == 1 << 20


SPARSE = """
import sys
from tests.pixels.fuzz import peak_mib
from tests.pixels.test_frames import sparse_file
from dicomferry.pixels.formats import parse_format
from dicomferry.pixels.convert import transcode
file = sparse_file(sys.argv[1])
total = 0
for mime_type in sys.argv[2:]:
    for output in transcode(file, parse_format(mime_type)):
        total += sum(len(chunk) for chunk in output.chunks)
print(total, peak_mib())
"""


class sparse_file:  # noqa: N801 (a function that happens to hold a file)
    """A 2 GiB multi-frame that takes no room on the disk."""

    def __init__(self, path: str) -> None:
        ds = data_set(np.zeros((1, 4096, 4096), np.uint16), frames=1)
        ds.NumberOfFrames = 64
        del ds.PixelData
        head = part10(ds) + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 2 << 30)
        self.size = len(head) + (2 << 30)
        with open(path, "wb") as file:
            file.write(head)
            file.truncate(self.size)
        self._file = open(path, "rb")  # noqa: SIM115

    def read(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(length)


@pytest.mark.slow
@pytest.mark.parametrize("mime_type", [f"application/dicom; transfer-syntax={PREFIX}", "image/png"])
def test_two_gib_go_through_in_less_than_1_gib_of_memory(tmp_path: Path, mime_type: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPARSE, str(tmp_path / "large.dcm"), mime_type],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    total, peak_mib = map(int, done.stdout.split())
    assert total > (2 << 30 if mime_type != "image/png" else 64 * 1000)
    assert peak_mib < 1024
