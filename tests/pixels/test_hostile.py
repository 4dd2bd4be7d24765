"""Files that lie: each ends as a failure of its own, within bounds, never as a wrong picture."""

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest

from dicomferry.dicom.dicom_file import open_file
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.errors import InstanceError
from dicomferry.pixels.image_pixel import MAX_FRAME_BYTES
from tests.pixels.fuzz import main as fuzz
from tests.pixels.instances import PREFIX, data_set, gray, outputs, part10, read, to_dicom
from tests.pixels.test_frames import item
from tests.pixels.test_pitfalls import first_stream

DECODED = (
    ".4.50 .4.51 .4.57 .4.70 .4.80 .4.81 .4.90 .4.91 .4.110 .4.112 .4.201 .4.202 .4.203 .5 .8.1"
)


def with_stream(end: str, stream: bytes, **attributes: int) -> bytes:
    """A single frame stored as `stream`, whatever it is."""
    ds = data_set(gray((200, 200), 8))
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    del ds.PixelData
    element = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + item(b"")
    end_of_sequence = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    padded = stream + bytes(len(stream) % 2)
    return part10(ds, f"{PREFIX}{end}") + element + item(padded) + end_of_sequence


def stream_of(end: str) -> bytes:
    return first_stream(to_dicom(part10(data_set(gray((200, 200), 8))), end))


@pytest.mark.parametrize("end", DECODED.split())
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_a_truncated_code_stream_is_a_failure(end: str, share: float) -> None:
    stream = stream_of(end)
    assert outputs(with_stream(end, stream), "image/png")
    with pytest.raises(InstanceError, match=r"CODE_STREAM_INVALID|CODE_STREAM_MISMATCH"):
        outputs(with_stream(end, stream[: int(len(stream) * share)]), "image/png")


@pytest.mark.parametrize("end", DECODED.split())
def test_a_code_stream_of_another_size_never_reaches_the_decoder(end: str) -> None:
    data = with_stream(end, stream_of(end), Rows=210)
    with pytest.raises(InstanceError, match=r"CODE_STREAM_MISMATCH|CODE_STREAM_INVALID"):
        outputs(data, "image/png")


@pytest.mark.parametrize("end", [".4.50", ".4.80", ".4.90", ".4.201", ".4.110", ".5", ".8.1"])
def test_a_code_stream_of_another_codec_is_a_failure(end: str) -> None:
    for other in (".4.50", ".4.80", ".4.90", ".4.110", ".5", ".8.1"):
        if other == end or (end, other) == (".4.201", ".4.90"):
            continue  # OpenJPH tells the two parts of JPEG 2000 apart by itself
        with pytest.raises(InstanceError):
            outputs(with_stream(end, stream_of(other)), "image/png")


@pytest.mark.parametrize("end", [".1", ".4.50", ".4.90", ".4.80", ".5", ".8.1", ".4.110"])
def test_an_absurd_frame_is_refused_before_anything_is_allocated(end: str) -> None:
    if end == ".1":
        ds = data_set(gray((4, 4), 8), Rows=65535, Columns=65535)
        data = part10(ds)
        with pytest.raises(InstanceError, match=r"FRAME_TOO_LARGE|PIXEL_DATA_TRUNCATED"):
            to_dicom(data, ".4.90")
    else:
        data = with_stream(end, b"\xff\xd8\xff", Rows=65535, Columns=65535)
        with pytest.raises(InstanceError, match="FRAME_TOO_LARGE"):
            to_dicom(data, ".1")
    assert MAX_FRAME_BYTES < 65535 * 65535


def test_more_frames_than_there_are_bytes_for_are_refused() -> None:
    native = part10(data_set(gray((4, 4), 8), NumberOfFrames=2**31 - 1))
    for mime_type in ("image/png", "application/octet-stream; transfer-syntax=*"):
        with pytest.raises(InstanceError, match="PIXEL_DATA_TRUNCATED"):
            outputs(native, mime_type)
    encapsulated = with_stream(".4.80", stream_of(".4.80"), NumberOfFrames=2**31 - 1)
    with pytest.raises(InstanceError, match="FRAMES_NOT_FOUND"):
        outputs(encapsulated, "image/png")


def test_a_deflated_frame_inflates_no_further_than_its_attributes() -> None:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflater.compress(bytes(300 << 20)) + deflater.flush()
    ((_, raw),) = outputs(
        with_stream(".8.1", bomb), f"application/octet-stream; transfer-syntax={PREFIX}.1"
    )
    assert raw == bytes(200 * 200)


def test_a_data_set_that_ends_early_is_a_failure() -> None:
    data = part10(data_set(gray(bits=12), 12))
    pixels = data.rindex(b"\xe0\x7f\x10\x00")
    boundaries = {each.start for each in open_file(BytesReader(data)).elements} | {pixels}
    for length in range(300, len(data) - 1, 37):
        if length in boundaries:
            continue  # between two elements it is a smaller data set, and a sound one
        with pytest.raises(InstanceError):
            to_dicom(data[:length], ".4.90")


@pytest.mark.parametrize(
    "attributes",
    [
        {"Rows": 0},
        {"Columns": 0},
        {"SamplesPerPixel": 0},
        {"SamplesPerPixel": 9},
        {"BitsAllocated": 7},
        {"BitsAllocated": 0},
        {"BitsStored": 17},
        {"BitsStored": 0},
        {"HighBit": 63},
    ],
)
def test_attributes_that_make_no_sense_are_a_failure(attributes: dict[str, int]) -> None:
    data = part10(data_set(gray((8, 8), 8), **attributes))
    with pytest.raises(InstanceError, match="PIXEL_ATTRIBUTES_INVALID"):
        to_dicom(data, ".4.90")


def test_deep_nesting_ends_in_a_failure_not_in_a_recursion() -> None:
    open_item = struct.pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    open_item += struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    data = part10(data_set(gray((8, 8), 8)))
    at = data.index(b"\x28\x00\x02\x00")
    with pytest.raises(InstanceError, match="NESTED_TOO_DEEP"):
        to_dicom(data[:at] + open_item * 5000, ".4.90")


def test_unknown_transfer_syntaxes_are_copied_or_refused() -> None:
    data = part10(data_set(gray((8, 8), 8))).replace(
        b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.77"
    )
    assert outputs(data, "application/dicom; transfer-syntax=*") == [(None, data)]
    with pytest.raises(InstanceError, match="SYNTAX_UNKNOWN"):
        to_dicom(data, ".4.90")


def test_what_is_no_dicom_says_so() -> None:
    for data in (b"", b"GIF89a" + bytes(200), bytes(500), b"\x89PNG\r\n\x1a\n" * 40):
        with pytest.raises(InstanceError, match="NOT_DICOM"):
            outputs(data, "image/png")


@pytest.mark.parametrize("end", ["", ".1.99", *DECODED.split()])
def test_damaged_files_end_as_failures_and_take_little_memory(end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"from {fuzz.__module__} import main; main({end!r}, 150)"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    peak_mib = int(done.stdout.split()[0])
    assert peak_mib < 512


def test_what_was_damaged_was_fine_before() -> None:
    assert np.array_equal(
        read(with_stream(".4.90", stream_of(".4.90"))).pixel_array, gray((200, 200), 8)
    )
