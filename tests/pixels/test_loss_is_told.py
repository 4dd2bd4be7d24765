"""What a file says once its pixels have lost information (PS3.3 C.7.6.1.1.5, C.12.4.1)."""

import struct

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from dicomferry.dicom.transfer_syntaxes import SYNTAXES
from dicomferry.pixels.codecs.registry import codec
from dicomferry.pixels.quality import Quality
from tests.pixels.instances import PREFIX, color, data_set, gray, part10, read, to_dicom
from tests.pixels.test_pitfalls import first_stream

METHODS = {
    ".4.50": "ISO_10918_1",
    ".4.51": "ISO_10918_1",
    ".4.81": "ISO_14495_1",
    ".4.91": "ISO_15444_1",
    ".4.203": "ISO_15444_15",
    ".4.112": "ISO_18181_1",
}
LOSSLESS = [".4.57", ".4.70", ".4.80", ".4.90", ".4.110", ".4.201", ".4.202", ".5", ".8.1"]
TARGETS = ["", ".1", ".1.99", ".5", ".8.1", ".4.70", ".4.90"]
SMOOTH = gray((64, 64), 8)


def without_word(data: bytes, end: str) -> bytes:
    """The file with the attributes of a loss removed."""
    ds = read(data)
    for keyword in ("", "Ratio", "Method"):
        ds.pop(f"LossyImageCompression{keyword}", None)
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    return part10(ds, f"{PREFIX}{end}")


@pytest.mark.parametrize("end", METHODS)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "PRIMARY", "AXIAL"]),
        (["DERIVED", "SECONDARY"], ["DERIVED", "SECONDARY"]),
        (["ORIGINAL"], ["DERIVED", "SECONDARY"]),
        (None, ["DERIVED", "SECONDARY"]),
    ],
)
def test_an_image_made_lossy_is_a_derived_one(
    end: str, before: list[str] | None, after: list[str]
) -> None:
    ds = data_set(SMOOTH)
    if before:
        ds.ImageType = before
    result = read(to_dicom(part10(ds), end))
    assert list(result.ImageType) == after
    assert result.LossyImageCompressionMethod == METHODS[end]
    ratio = SMOOTH.nbytes / len(first_stream(to_dicom(part10(ds), end)))
    assert float(result.LossyImageCompressionRatio) == pytest.approx(ratio, rel=0.02)
    assert result.DerivationDescription.startswith(f"Lossy compression {METHODS[end]}, ratio ")
    (code,) = result.DerivationCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("113040", "DCM")
    assert code.CodeMeaning == "Lossy Compression"


@pytest.mark.parametrize("end", [*LOSSLESS, "", ".1.99"])
def test_an_image_that_lost_nothing_says_what_it_said(end: str) -> None:
    ds = data_set(SMOOTH, ImageType=["ORIGINAL", "PRIMARY"])
    result = read(to_dicom(part10(ds), end))
    assert list(result.ImageType) == ["ORIGINAL", "PRIMARY"]
    for keyword in ("LossyImageCompression", "DerivationDescription", "DerivationCodeSequence"):
        assert keyword not in result


@pytest.mark.parametrize("source", [PREFIX, f"{PREFIX}.1", f"{PREFIX}.2"])
@pytest.mark.parametrize("undefined", [False, True])
def test_earlier_derivations_stay_listed(source: str, undefined: bool) -> None:
    earlier = Dataset()
    earlier.CodeValue, earlier.CodingSchemeDesignator = "113072", "DCM"
    earlier.CodeMeaning = "Multiplanar reformatting"
    earlier.is_undefined_length_sequence_item = undefined
    ds = data_set(SMOOTH, DerivationDescription="by hand")
    ds.DerivationCodeSequence = Sequence([earlier])
    ds["DerivationCodeSequence"].is_undefined_length = undefined
    result = read(to_dicom(to_dicom(part10(ds, source), ".4.50"), ".4.81"))
    assert [item.CodeValue for item in result.DerivationCodeSequence] == ["113072", "113040"]
    assert result.DerivationCodeSequence[0].CodeMeaning == "Multiplanar reformatting"
    newest, older = result.DerivationDescription.split(" [", 1)
    assert newest.startswith("Lossy compression ISO_14495_1, ratio ")
    assert older.startswith("Lossy compression ISO_10918_1, ratio ")
    assert older.endswith("[by hand]]")
    assert list(result.LossyImageCompressionMethod) == ["ISO_10918_1", "ISO_14495_1"]


def functional_groups(frame_type: list[str], undefined: bool) -> Dataset:
    """A functional group with Frame Type, and one with something else."""
    kind, content, group = Dataset(), Dataset(), Dataset()
    kind.FrameType = frame_type
    content.FrameAcquisitionNumber = 7
    group.MRImageFrameTypeSequence = Sequence([kind])
    group.FrameContentSequence = Sequence([content])
    for each in ("MRImageFrameTypeSequence", "FrameContentSequence"):
        group[each].is_undefined_length = undefined
    return group


@pytest.mark.parametrize("source", [PREFIX, f"{PREFIX}.1", f"{PREFIX}.2"])
@pytest.mark.parametrize("undefined", [False, True])
def test_the_frames_of_a_derived_image_are_derived_too(source: str, undefined: bool) -> None:
    ds = data_set(np.stack([SMOOTH] * 2), frames=2, ImageType=["MIXED", "PRIMARY", "M", "NONE"])
    types = [["ORIGINAL", "PRIMARY", "M", "NONE"], ["DERIVED", "SECONDARY", "M", "NONE"]]
    groups = [functional_groups(each, undefined) for each in types]
    ds.SharedFunctionalGroupsSequence = Sequence([functional_groups(types[0], undefined)])
    ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    ds["PerFrameFunctionalGroupsSequence"].is_undefined_length = undefined
    result = read(to_dicom(part10(ds, source), ".4.81"))
    shared = result.SharedFunctionalGroupsSequence
    found = [*result.PerFrameFunctionalGroupsSequence, *shared]
    assert [list(each.MRImageFrameTypeSequence[0].FrameType) for each in found] == [
        ["DERIVED", "PRIMARY", "M", "NONE"],
        ["DERIVED", "SECONDARY", "M", "NONE"],
        ["DERIVED", "PRIMARY", "M", "NONE"],
    ]
    assert all(each.FrameContentSequence[0].FrameAcquisitionNumber == 7 for each in found)
    assert list(result.ImageType) == ["DERIVED", "PRIMARY", "M", "NONE"]
    kept = read(to_dicom(part10(ds, source), ".4.80")).PerFrameFunctionalGroupsSequence
    assert [list(each.MRImageFrameTypeSequence[0].FrameType) for each in kept] == types


def test_words_of_a_person_are_never_cut() -> None:
    ds = data_set(SMOOTH, DerivationDescription="x" * 1000)
    assert read(to_dicom(part10(ds), ".4.50")).DerivationDescription == "x" * 1000


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("end", METHODS)
def test_a_stream_that_lost_is_marked_even_where_nobody_said_so(end: str, target: str) -> None:
    data = without_word(to_dicom(part10(data_set(SMOOTH)), end), end)
    result = read(to_dicom(data, target))
    assert result.LossyImageCompression == "01"
    assert result.LossyImageCompressionMethod == METHODS[end]
    ratio = SMOOTH.nbytes / len(first_stream(data))
    assert float(result.LossyImageCompressionRatio) == pytest.approx(ratio, rel=0.02)
    assert list(result.ImageType) == ["ORIGINAL", "PRIMARY"]  # a sensor's own may be lossy


def test_both_losses_are_told_where_nobody_told_the_first() -> None:
    data = without_word(to_dicom(part10(data_set(SMOOTH)), ".4.81"), ".4.81")
    result = read(to_dicom(data, ".4.50"))
    assert list(result.LossyImageCompressionMethod) == ["ISO_14495_1", "ISO_10918_1"]
    assert len(result.LossyImageCompressionRatio) == 2


def test_a_recompressed_jpeg_is_marked_too() -> None:
    jpeg = without_word(to_dicom(part10(data_set(color(), samples=3)), ".4.50"), ".4.50")
    smaller = to_dicom(jpeg, ".4.111")
    assert read(smaller).LossyImageCompressionMethod == "ISO_10918_1"
    native = read(to_dicom(without_word(smaller, ".4.111"), ".1"))
    assert native.LossyImageCompressionMethod == "ISO_10918_1"


def test_what_was_told_already_is_not_told_twice() -> None:
    data = to_dicom(part10(data_set(SMOOTH)), ".4.91")
    before, after = read(data), read(to_dicom(data, ".1"))
    assert after.LossyImageCompressionRatio == before.LossyImageCompressionRatio
    assert after.LossyImageCompressionMethod == before.LossyImageCompressionMethod


def loss_of(end: str, stream: bytes) -> str:
    return codec(f"{PREFIX}{end}").loss(stream, f"{PREFIX}{end}")


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("end", LOSSLESS)
def test_a_lossless_stream_shows_no_loss(end: str, bits: int) -> None:
    assert loss_of(end, first_stream(to_dicom(part10(data_set(gray(bits=bits), bits)), end))) == ""
    if bits == 8:
        stream = first_stream(to_dicom(part10(data_set(color(), samples=3)), end))
        assert loss_of(end, stream) == ""


@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("shape", [(64, 64), (40, 1030), (8, 8)])
def test_jpeg_xl_shows_loss_by_its_color_space(
    shape: tuple[int, int], samples: int, bits: int, lossless: bool, container: bool
) -> None:
    plane = gray(shape, bits)
    pixels = plane if samples == 1 else np.stack([plane, plane[::-1], plane], -1)
    stream = imagecodecs.jpegxl_encode(
        pixels,
        lossless=lossless,
        distance=None if lossless else 1.0,
        bitspersample=bits,
        usecontainer=container,
    )
    assert loss_of(".4.112", stream) == ("" if lossless else "ISO_18181_1")


@pytest.mark.parametrize("end", [".4.110", ".4.112"])
def test_a_jpeg_within_jpeg_xl_is_loss_in_every_syntax(end: str) -> None:
    jpeg = first_stream(to_dicom(part10(data_set(SMOOTH)), ".4.50"))
    assert loss_of(end, imagecodecs.jpegxl_encode_jpeg(jpeg, usecontainer=True)) == "ISO_10918_1"


def test_a_lossless_jpeg_2000_in_the_syntax_that_allows_loss_shows_none() -> None:
    stream = first_stream(to_dicom(part10(data_set(SMOOTH)), ".4.90"))
    assert loss_of(".4.91", stream) == ""
    ds = data_set(SMOOTH)
    ds.PixelData = encapsulate([stream])
    ds["PixelData"].is_undefined_length = True
    native = read(to_dicom(part10(ds, f"{PREFIX}.4.91"), ".1"))
    assert "LossyImageCompression" not in native


def test_one_component_that_is_irreversible_is_loss() -> None:
    """COC says for a component what COD says for all (ISO/IEC 15444-1 A.6.2)."""
    stream = first_stream(to_dicom(part10(data_set(SMOOTH)), ".4.90"))
    style = stream.index(b"\xff\x52")
    segment = stream[style + 4 : style + 2 + stream[style + 3]]
    for transformation, lost in ((1, ""), (0, "ISO_15444_1")):
        component = bytes([0, 0, *segment[5:9], transformation])
        own = b"\xff\x53" + struct.pack(">H", 2 + len(component)) + component
        at = style + 4 + len(segment)
        assert loss_of(".4.91", stream[:at] + own + stream[at:]) == lost


def test_a_point_transform_is_loss() -> None:
    """A lossless process that leaves the lowest bits out (ISO/IEC 10918-1 H.1.1)."""
    for end in (".4.70", ".4.80"):
        stream = bytearray(first_stream(to_dicom(part10(data_set(SMOOTH)), end)))
        scan = stream.index(b"\xff\xda")
        last = scan + 1 + int.from_bytes(stream[scan + 2 : scan + 4], "big")
        assert loss_of(end, bytes(stream)) == ""
        stream[last] |= 2
        assert loss_of(end, bytes(stream)) != ""


def test_near_lossless_in_the_lossless_syntax_is_loss() -> None:
    stream = first_stream(to_dicom(part10(data_set(SMOOTH)), ".4.81", Quality(jpegls_near=1)))
    assert loss_of(".4.80", stream) == "ISO_14495_1"


@pytest.mark.parametrize("uid", [each.uid for each in SYNTAXES.values() if each.written])
def test_streams_begin_as_their_codec_says(uid: str) -> None:
    """So frames are told apart in a file without an offset table."""
    if not SYNTAXES[uid].encapsulated:
        return
    end = uid.removeprefix(PREFIX)
    source = part10(data_set(SMOOTH))
    if end == ".4.111":
        source = to_dicom(source, ".4.50")
    starts = codec(uid).starts
    assert not starts or first_stream(to_dicom(source, end)).startswith(starts)
