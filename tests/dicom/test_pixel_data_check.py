"""Pixel data that is cut off, told from pixel data that is merely odd."""

import pytest

from dicomferry.dicom.encoding import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    UNDEFINED_LENGTH,
    DataSetEncoding,
)
from dicomferry.dicom.header import read_header
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.errors import InstanceError
from tests.dicom.factories import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    Ranges,
    delimiter,
    element,
    identity,
    item,
    part10,
    sequence,
)

PIXEL_DATA = 0x7FE00010
END = delimiter(0xFFFEE0DD)
FRAGMENTS = item(b"") + item(b"\xff\xd8" + bytes(200_000) + b"\xff\xd9") + END


def is_truncated(file: bytes) -> bool:
    """Tell whether a file is refused as truncated, the same from memory and by ranges."""
    found = []
    for readable in (BytesReader(file), Ranges(file)):
        try:
            read_header(readable)
        except InstanceError as error:
            assert error.code == "TRUNCATED"
            found.append(True)
        else:
            found.append(False)
    assert found[0] == found[1]
    return found[0]


def encapsulated(fragments: bytes, after: bytes = b"") -> bytes:
    pixel_data = element(PIXEL_DATA, "OB", fragments, length=UNDEFINED_LENGTH)
    return part10(identity() + pixel_data + after, JPEG_BASELINE)


@pytest.mark.parametrize(
    ("syntax", "encoding"), [(IMPLICIT, IMPLICIT_LITTLE), (BIG_ENDIAN, EXPLICIT_BIG)]
)
@pytest.mark.parametrize("size", [10, 300_000])
def test_native_pixel_data_must_fit_its_declared_length(
    syntax: str, encoding: DataSetEncoding, size: int
) -> None:
    data_set = identity(encoding=encoding) + element(PIXEL_DATA, "OW", bytes(size), encoding)
    file = part10(data_set, syntax)
    assert not is_truncated(file)
    assert is_truncated(file[:-1])
    assert is_truncated(file[: -size + 1])


@pytest.mark.parametrize("cut", [1, 4, 8, 9, 1000, 150_000])
def test_encapsulated_pixel_data_must_be_delimited(cut: int) -> None:
    file = encapsulated(FRAGMENTS)
    assert not is_truncated(file)
    assert is_truncated(file[:-cut])


@pytest.mark.parametrize(
    "after",
    [
        b"\0",
        bytes(100_000),
        element(0xFFFCFFFC, "OB", bytes(2000)),
        element(0xFFFCFFFC, "OB", bytes(100_000)),
        sequence(0xFFFAFFFA, item(element(0x04000010, "US", b"\1\0")), undefined=True),
    ],
)
def test_more_may_follow_the_delimiter(after: bytes) -> None:
    assert not is_truncated(encapsulated(FRAGMENTS, after))


def test_an_element_after_the_delimiter_that_is_cut_off_counts() -> None:
    file = encapsulated(FRAGMENTS, element(0xFFFCFFFC, "OB", bytes(2000)))
    assert is_truncated(file[:-1])


@pytest.mark.parametrize("garbage", [b"\n", b"\r\n" * 20, b"--boundary--\r\n", b"\xff" * 50])
def test_bytes_that_are_no_element_after_pixel_data_do_no_harm(garbage: bytes) -> None:
    native = element(PIXEL_DATA, "OW", bytes(64))
    assert not is_truncated(encapsulated(FRAGMENTS, garbage))
    assert not is_truncated(part10(identity() + native + garbage))


@pytest.mark.parametrize(
    ("syntax", "encoding"), [(IMPLICIT, IMPLICIT_LITTLE), (EXPLICIT, EXPLICIT_LITTLE)]
)
def test_an_element_after_native_pixel_data_counts(syntax: str, encoding: DataSetEncoding) -> None:
    data_set = identity(encoding=encoding) + element(PIXEL_DATA, "OW", bytes(64), encoding)
    file = part10(data_set + element(0xFFFCFFFC, "OB", bytes(2000), encoding), syntax)
    assert not is_truncated(file)
    assert is_truncated(file[:-1])


def test_a_delimiter_within_a_fragment_does_not_end_pixel_data() -> None:
    assert is_truncated(encapsulated(item(b"") + item(END + b"\xff\xd9" * 4)))


def test_deflated_pixel_data() -> None:
    data_set = identity() + element(PIXEL_DATA, "OW", bytes(3_000_000))
    assert not is_truncated(part10(data_set, DEFLATED))
    assert is_truncated(part10(data_set[:-1], DEFLATED))
    assert is_truncated(part10(data_set, DEFLATED)[:-20])


def test_pixel_data_shorter_than_the_image_is_no_matter_of_the_header() -> None:
    data_set = identity() + element(0x00280010, "US", b"\0\2") + element(0x00280011, "US", b"\0\2")
    assert not is_truncated(part10(data_set + element(PIXEL_DATA, "OW", bytes(10)), EXPLICIT))
