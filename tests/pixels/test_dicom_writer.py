"""What surrounds the pixels: encodings, sequences, lengths, File Meta Information."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicomferry.dicom.dicom_file import open_file
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.dicom.reencode import encode_element
from tests.pixels.instances import PREFIX, data_set, gray, part10, read, to_dicom

BIG_ENDIAN = "1.2.840.10008.1.2.2"


def rich() -> Dataset:
    """A data set with the elements that rewriting is most likely to spoil."""
    ds = data_set(gray(bits=12), 12)
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.add_new(0x00090010, "LO", "SOMEBODY")
    ds.add_new(0x00091001, "UN", b"\x01\x02\x03\x04")
    ds.add_new(0x00091002, "OB", b"\x05\x06")
    inner = Dataset()
    inner.CodeValue = "T-1"
    inner.add_new(0x00090010, "LO", "SOMEBODY")
    inner.add_new(0x00091003, "FD", [1.5, -2.5])
    inner.ReferencedFrameNumber = [1, 2]
    inner.SimpleFrameList = [70000, 80000]
    outer = Dataset()
    outer.ConceptNameCodeSequence = Sequence([inner, inner])
    ds.ContentSequence = Sequence([outer])
    ds.FrameIncrementPointer = [0x00181063, 0x00181065]
    ds.PixelPaddingValue = 5
    ds.RealWorldValueMappingSequence = Sequence([])
    ds.TimeRange = [0.25, 1e9]
    return ds


@pytest.mark.parametrize("source", [PREFIX, f"{PREFIX}.1", f"{PREFIX}.1.99", BIG_ENDIAN])
@pytest.mark.parametrize("end", ["", ".1", ".1.99", ".4.90"])
def test_every_value_survives_every_pair_of_encodings(source: str, end: str) -> None:
    expected, written = rich(), rich()
    if source == BIG_ENDIAN:
        written.PixelData = gray(bits=12).astype(">u2").tobytes()
    result = read(to_dicom(part10(written, source), end))
    for element in expected:
        if element.VR not in ("OW", "OB", "SQ"):
            assert result[element.tag].value == element.value, element.tag
    assert result[0x00091002].value == b"\x05\x06"
    assert len(result.RealWorldValueMappingSequence) == 0
    items = result.ContentSequence[0].ConceptNameCodeSequence
    assert len(items) == 2
    for item in items:
        assert (item.CodeValue, item.ReferencedFrameNumber) == ("T-1", [1, 2])
        assert item.SimpleFrameList == [70000, 80000]
        private = item[0x00091003].value  # UN once it has been through Implicit VR
        assert private in ([1.5, -2.5], struct.pack("<2d", 1.5, -2.5))
    assert np.array_equal(result.pixel_array, gray(bits=12))


@given(
    st.lists(
        st.tuples(
            st.integers(0x1001, 0x10FE),
            st.binary(max_size=40).map(lambda b: b + b"x" * (len(b) % 2)),
        ),
        max_size=8,
        unique_by=lambda each: each[0],
    )
)
@settings(max_examples=60, deadline=None)
def test_private_bytes_are_repeated_whatever_they_are(private: list[tuple[int, bytes]]) -> None:
    ds = data_set(gray((4, 4), 8))
    ds.add_new(0x00090010, "LO", "NOBODY")
    for number, value in private:
        ds.add_new(0x00090000 | number, "UN", value)
    for end in ("", ".1.99", ".5"):
        result = read(to_dicom(part10(ds), end))
        for number, value in private:
            raw = result.get_item(0x00090000 | number)
            assert raw is not None and (raw.value or b"") == value


def test_a_text_that_its_character_set_does_not_allow_keeps_its_bytes() -> None:
    raw = b"M\xfcller^\x81\x82"
    data = part10(rich())
    wrong = data.replace(
        encode_element(0x00100010, b"PN", b"Nobody", True),
        encode_element(0x00100010, b"PN", raw + b" ", True),
    )
    assert wrong != data
    for end in ("", ".4.90", ".5"):
        assert raw in to_dicom(wrong, end)


def test_group_lengths_count_what_is_there() -> None:
    ds = rich()
    body = part10(ds)
    opened = open_file(BytesReader(body))
    start = next(each.start for each in opened.elements if each.tag >> 16 == 0x0028)
    wrong_value = encode_element(0x00280000, b"UL", struct.pack("<L", 1), True)
    data = body[:start] + wrong_value + body[start:]
    result = open_file(BytesReader(to_dicom(data, ".4.91")))
    group = [each for each in result.elements if each.tag >> 16 == 0x0028]
    (length,) = struct.unpack("<L", result.buffer[group[0].value : group[0].end])
    assert length == group[-1].end - group[0].end


def test_a_value_too_long_for_its_explicit_vr_becomes_un() -> None:
    """PS3.5, Section 6.2.2: 16 bits of length do not hold what Implicit VR could."""
    ds = data_set(gray((4, 4), 8))
    ds.add_new(0x00204000, "LT", "x" * 70000)
    result = read(to_dicom(part10(ds, PREFIX), ".1"))
    raw = result.get_item(0x00204000)
    assert raw is not None and raw.VR == "UN" and len(raw.value) == 70000


def test_the_meta_information_keeps_all_but_the_transfer_syntax() -> None:
    data = part10(rich())
    before, after = read(data).file_meta, read(to_dicom(data, ".4.90")).file_meta
    assert after.TransferSyntaxUID == f"{PREFIX}.4.90"
    assert after.ImplementationClassUID == before.ImplementationClassUID
    raw = to_dicom(data, ".4.90")
    (length,) = struct.unpack_from("<L", raw, 140)
    assert raw[144 + length : 144 + length + 2] == b"\x08\x00"


def test_a_file_without_meta_information_gets_one() -> None:
    data = part10(data_set(gray(bits=12), 12), PREFIX)
    bare = data[data.index(b"\x08\x00\x16\x00") :]
    result = read(to_dicom(bare, ".4.90"))
    assert result.file_meta.MediaStorageSOPInstanceUID == result.SOPInstanceUID
    assert result.file_meta.MediaStorageSOPClassUID == result.SOPClassUID
    assert np.array_equal(result.pixel_array, gray(bits=12))


def test_a_preamble_is_kept_unless_it_points_at_the_old_pixels() -> None:
    data = bytearray(part10(rich()))
    data[:8] = b"\x01\x02HELLO\x00"
    assert to_dicom(bytes(data), ".5")[:128] == bytes(data[:128])
    data[:8] = b"II*\0\x10\0\0\0"  # a TIFF header: its offsets are of this file
    assert to_dicom(bytes(data), ".5")[:128] == bytes(128)


def test_a_deflated_data_set_has_an_even_length_and_no_trailer() -> None:
    for size in range(5):
        ds = data_set(gray((4, 4), 8), ImageComments="x" * size)
        data = to_dicom(part10(ds), ".1.99")
        start = len(data) - (len(data) - data.index(b"1.2.840.10008.1.2.1.99")) + 22
        assert len(data) % 2 == 0 and start < len(data)
        assert read(data).ImageComments == "x" * size
