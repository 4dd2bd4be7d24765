"""Where the data set starts and how it is encoded, in files that say so badly or not at all."""

import gzip
import zipfile
from io import BytesIO

import pytest

from dicomferry.dicom.encoding import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
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
    SECONDARY_CAPTURE,
    SOP,
    deflate,
    element,
    file_meta,
    identity,
    part10,
)

NATIVE = {IMPLICIT: IMPLICIT_LITTLE, EXPLICIT: EXPLICIT_LITTLE, BIG_ENDIAN: EXPLICIT_BIG}


def syntax_of(file: bytes) -> str:
    header = read_header(BytesReader(file))
    assert header.sop_instance_uid == SOP
    return header.transfer_syntax_uid


def code_of(file: bytes) -> str:
    with pytest.raises(InstanceError) as caught:
        read_header(BytesReader(file))
    return caught.value.code


def data_set(encoding: DataSetEncoding) -> bytes:
    return element(0x00080005, "CS", "ISO_IR 100", encoding) + identity(encoding=encoding)


@pytest.mark.parametrize("syntax", NATIVE)
def test_a_file_by_the_book(syntax: str) -> None:
    assert syntax_of(part10(data_set(NATIVE[syntax]), syntax)) == syntax


def test_a_deflated_data_set() -> None:
    assert syntax_of(part10(identity(), DEFLATED)) == DEFLATED


def test_a_deflated_data_set_padded_to_even_length() -> None:
    assert syntax_of(part10(identity(), DEFLATED) + b"\0") == DEFLATED


@pytest.mark.parametrize("syntax", NATIVE)
def test_file_meta_without_a_preamble(syntax: str) -> None:
    assert syntax_of(file_meta(syntax) + data_set(NATIVE[syntax])) == syntax


@pytest.mark.parametrize("syntax", NATIVE)
def test_a_data_set_and_nothing_else(syntax: str) -> None:
    assert syntax_of(data_set(NATIVE[syntax])) == syntax


@pytest.mark.parametrize("syntax", NATIVE)
def test_a_preamble_without_file_meta(syntax: str) -> None:
    assert syntax_of(part10(data_set(NATIVE[syntax]), meta=b"")) == syntax


@pytest.mark.parametrize("syntax", NATIVE)
def test_file_meta_without_a_transfer_syntax(syntax: str) -> None:
    assert syntax_of(part10(data_set(NATIVE[syntax]), syntax=None)) == syntax


@pytest.mark.parametrize("odd", ["", "Explicit", "1.2.840.10008.1.1", SECONDARY_CAPTURE])
@pytest.mark.parametrize("syntax", NATIVE)
def test_a_transfer_syntax_that_is_none_is_guessed(syntax: str, odd: str) -> None:
    assert syntax_of(part10(data_set(NATIVE[syntax]), odd)) == syntax


@pytest.mark.parametrize("unknown", ["1.2.840.10008.1.2.4.112", "1.3.46.670589.33.1.4.1", "2.25.7"])
def test_a_transfer_syntax_that_is_new_or_private_is_kept(unknown: str) -> None:
    assert syntax_of(part10(data_set(EXPLICIT_LITTLE), unknown)) == unknown


@pytest.mark.parametrize("length", [0, 7, 100_000, 0xFFFFFFFF])
def test_a_wrong_group_length_does_no_harm(length: int) -> None:
    meta = file_meta(EXPLICIT, group_length=length)
    assert syntax_of(part10(data_set(EXPLICIT_LITTLE), meta=meta)) == EXPLICIT


def test_a_missing_group_length_does_no_harm() -> None:
    meta = element(0x00020010, "UI", JPEG_BASELINE)
    assert syntax_of(part10(data_set(EXPLICIT_LITTLE), meta=meta)) == JPEG_BASELINE


def test_file_meta_in_implicit_vr() -> None:
    meta = element(0x00020010, "UI", IMPLICIT + "\0", IMPLICIT_LITTLE)
    assert syntax_of(part10(data_set(IMPLICIT_LITTLE), meta=meta)) == IMPLICIT


def test_vrs_that_the_transfer_syntax_denies_are_read_as_they_are() -> None:
    assert syntax_of(part10(data_set(EXPLICIT_LITTLE), IMPLICIT)) == IMPLICIT
    assert syntax_of(part10(data_set(IMPLICIT_LITTLE), EXPLICIT)) == EXPLICIT


def test_an_empty_file() -> None:
    assert code_of(b"") == "EMPTY_FILE"


def test_compressed_files_are_named_for_what_they_are() -> None:
    dicom = part10(identity())
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as into:
        into.writestr("1.dcm", dicom)
    assert code_of(gzip.compress(dicom)) == "GZIPPED"
    assert code_of(archive.getvalue()) == "ZIPPED"


def test_a_preamble_may_look_like_another_format() -> None:
    for magic in (b"\x1f\x8b", b"PK\x03\x04", b"II*\0"):
        file = part10(identity())
        assert syntax_of(magic + file[len(magic) :]) == EXPLICIT


@pytest.mark.parametrize(
    "file",
    [
        b"Hello",
        b"Some notes on the patient\n" * 20,
        b'{"00080018": {"vr": "UI"}}',
        b"PATIENT,STUDY\r\n" * 50,
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        b"\xff\xd8\xff\xe0" + bytes(200),
        b"%PDF-1.7\n" + bytes(200),
        b"\x02\0\0\0\x40\0\0\0" + bytes(200),
        bytes(4096),
        b"\xff" * 500,
        b"\x08\0\x18\0",
        b"\x08\0\x18\0UI\xff\xff"[:6] + b"\0",
    ],
)
def test_other_files_are_not_dicom(file: bytes) -> None:
    assert code_of(file) == "NOT_DICOM"


def test_a_file_that_ends_with_its_file_meta_is_truncated() -> None:
    for syntax in (EXPLICIT, DEFLATED):
        assert code_of(part10(b"", meta=file_meta(syntax))) == "TRUNCATED"
    assert code_of(bytes(128) + b"DICM") == "TRUNCATED"
    assert code_of(part10(b"", meta=file_meta(EXPLICIT)[:-4])) == "TRUNCATED"


def test_a_damaged_deflated_stream() -> None:
    stream = bytearray(deflate(identity() + element(0x00104000, "LT", "x" * 999)))
    stream[2:10] = b"\xff" * 8
    assert code_of(bytes(128) + b"DICM" + file_meta(DEFLATED) + bytes(stream)) == "BROKEN_DEFLATE"


def test_a_deflated_stream_that_is_cut_off_is_truncated() -> None:
    stream = deflate(identity() + element(0x00104000, "LT", bytes(range(256)) * 100))
    file = bytes(128) + b"DICM" + file_meta(DEFLATED) + stream[: len(stream) // 2]
    assert code_of(file) == "TRUNCATED"
