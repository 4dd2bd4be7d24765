"""How much of a file is read, and that no file takes more memory than it may."""

import tracemalloc
import zlib

import pytest

from dicomferry.dicom import byte_window, json_model
from dicomferry.dicom.byte_window import FIRST_CHUNK, MAX_CHUNK_BYTES, open_window
from dicomferry.dicom.encoding import UNDEFINED_LENGTH
from dicomferry.dicom.header import read_header
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.errors import InstanceError
from tests.dicom.factories import (
    DEFLATED,
    JPEG_BASELINE,
    SOP,
    Ranges,
    delimiter,
    element,
    file_meta,
    identity,
    item,
    part10,
    sequence,
)


def code_of(readable: BytesReader | Ranges) -> str:
    with pytest.raises(InstanceError) as caught:
        read_header(readable)
    return caught.value.code


def test_bytes_in_memory_are_not_copied() -> None:
    data = bytes(10 * MAX_CHUNK_BYTES)
    assert open_window(BytesReader(data)).data is data


def test_native_pixel_data_costs_one_read() -> None:
    head = part10(identity() + element(0x7FE00010, "OW", b"", length=1 << 31))
    file = Ranges(head + bytes(FIRST_CHUNK), size=len(head) + (1 << 31))
    assert read_header(file).sop_instance_uid == SOP
    assert file.reads == [(0, FIRST_CHUNK)]


def test_encapsulated_pixel_data_costs_one_more_read_at_the_end() -> None:
    fragments = item(bytes(500_000)) + delimiter(0xFFFEE0DD)
    pixels = element(0x7FE00010, "OB", fragments, length=UNDEFINED_LENGTH)
    file = Ranges(part10(identity() + pixels, JPEG_BASELINE))
    assert read_header(file).sop_instance_uid == SOP
    assert len(file.reads) == 2
    assert file.bytes_read <= 2 * FIRST_CHUNK


def test_binary_values_are_passed_over_without_being_read() -> None:
    document = element(0x00020102, "OB", bytes(3 << 20)), element(0x00420011, "OB", bytes(5 << 20))
    meta = file_meta("1.2.840.10008.1.2.1", document[0])
    file = Ranges(part10(document[1] + identity(), meta=meta))
    assert read_header(file).sop_instance_uid == SOP
    assert file.bytes_read <= 3 * FIRST_CHUNK


def test_a_long_header_is_read_in_growing_chunks_and_once() -> None:
    comments = b"".join(element(0x00091000 + n, "UT", b"x" * 50_000) for n in range(100))
    data = part10(element(0x00090010, "LO", "SOMEBODY") + comments + identity())
    file = Ranges(data)
    assert read_header(file) == read_header(BytesReader(data))
    assert file.bytes_read == len(data)
    assert len(file.reads) < 15


def test_a_long_value_of_a_vr_that_nobody_knows_is_passed_over() -> None:
    unknown = b"\x09\0\x01\x10ZZ\0\0" + (500_000).to_bytes(4, "little") + bytes(500_000)
    data = part10(element(0x00090010, "LO", "SOMEBODY") + unknown + identity())
    file = Ranges(data)
    assert read_header(file) == read_header(BytesReader(data))
    # Odd: a look ahead at what follows.
    assert file.bytes_read <= 2 * FIRST_CHUNK + 1024


@pytest.mark.parametrize("shift", range(40))
def test_elements_across_the_borders_of_chunks(shift: int) -> None:
    filler = element(0x00081195, "UR", b"u" * (FIRST_CHUNK - 400 + shift * 8))
    names = b"".join(element(0x00100010, "PN", "A^B ") for _ in range(10))
    deep = sequence(0x0040A730, item(names + sequence(0x0040A730, item(names)), undefined=True))
    data = part10(filler + deep + identity())
    assert read_header(Ranges(data)) == read_header(BytesReader(data))


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a test can reach."""
    monkeypatch.setattr(byte_window, "MAX_HEADER_BYTES", 1 << 20)
    monkeypatch.setattr(byte_window, "MAX_INFLATED_BYTES", 3 << 20)
    monkeypatch.setattr(json_model, "MAX_ELEMENTS", 1000)
    monkeypatch.setattr(json_model, "MAX_ITEM_CHARACTERS", 100_000)


@pytest.mark.usefixtures("small_bounds")
def test_a_header_beyond_the_bound_fails_alone_from_memory_and_by_ranges() -> None:
    one_value = part10(element(0x00081195, "UT", bytes(2 << 20)) + identity())
    many_values = part10(
        b"".join(element(0x00091000 + n, "LT", bytes(60_000)) for n in range(40)) + identity()
    )
    for data in (one_value, many_values):
        assert code_of(BytesReader(data)) == code_of(Ranges(data)) == "HEADER_TOO_LARGE"


@pytest.mark.usefixtures("small_bounds")
def test_a_header_of_too_many_elements_fails_alone() -> None:
    few = sequence(0x0040A730, *[item(b"")] * 400)
    many = sequence(0x0040A730, *[item(b"")] * 500)
    assert read_header(BytesReader(part10(identity() + few))).sop_instance_uid == SOP
    assert code_of(BytesReader(part10(identity() + many))) == "HEADER_TOO_LARGE"


@pytest.mark.usefixtures("small_bounds")
def test_much_text_in_deep_nesting_fails_alone() -> None:
    data_set = element(0x00081195, "UT", "x" * 5000)
    for _ in range(10):
        data_set = sequence(0x0040A730, item(data_set))
    assert read_header(BytesReader(part10(identity() + data_set))).sop_instance_uid == SOP
    for _ in range(20):
        data_set = sequence(0x0040A730, item(data_set))
    assert code_of(BytesReader(part10(identity() + data_set))) == "HEADER_TOO_LARGE"


@pytest.mark.usefixtures("small_bounds")
def test_a_deflated_data_set_beyond_the_bound_fails_alone() -> None:
    data_set = identity() + element(0x7FE00010, "OW", bytes(4 << 20))
    assert code_of(BytesReader(part10(data_set, DEFLATED))) == "INFLATED_TOO_LARGE"


def test_a_bomb_of_deflate_takes_little_memory() -> None:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    stream = deflater.compress(identity() + element(0x7FE00010, "OW", b"", length=200 << 20))
    zeros = bytes(1 << 20)
    stream += b"".join(deflater.compress(zeros) for _ in range(200)) + deflater.flush()
    file = bytes(128) + b"DICM" + file_meta(DEFLATED) + stream
    tracemalloc.start()
    header = read_header(BytesReader(file))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert header.transfer_syntax_uid == DEFLATED
    assert peak < 8 << 20


def test_memory_does_not_follow_the_size_of_the_file() -> None:
    head = part10(identity() + element(0x7FE00010, "OW", b"", length=1 << 31))
    file = Ranges(head + bytes(FIRST_CHUNK), size=len(head) + (1 << 31))
    tracemalloc.start()
    read_header(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_file_that_shrinks_while_it_is_read_is_truncated() -> None:
    whole = part10(identity() + element(0x00081195, "UR", "u" * 100_000))
    data = whole + element(0x00081195, "UR", "u" * 100_000)
    assert code_of(Ranges(whole, size=len(data))) == "TRUNCATED"
    assert code_of(Ranges(data[:100_000], size=len(data))) == "TRUNCATED"
    assert code_of(Ranges(data[:150], size=len(data))) == "TRUNCATED"


def test_errors_of_reading_are_left_to_the_caller() -> None:
    class Broken(Ranges):
        def read(self, offset: int, length: int) -> bytes:
            raise OSError("the network is down")

    with pytest.raises(OSError, match="network"):
        read_header(Broken(b"x" * 100))
