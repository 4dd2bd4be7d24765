"""UIDs of their own for images that became lossy (PS3.3 C.7.6.1.1.2, C.12.4.1.2)."""

import re

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from dicomferry.dicom.range_reader import BytesReader
from dicomferry.pixels.convert import transcode
from dicomferry.pixels.formats import FORMATS, parse_format
from dicomferry.pixels.quality import DEFAULT_QUALITY, Quality
from tests.pixels.instances import PREFIX, SOP_INSTANCE_UID, data_set, gray, part10, read, to_dicom

SETTINGS = {
    ".4.50": {"jpeg_quality": 60},
    ".4.51": {"jpeg_quality": 60},
    ".4.81": {"jpegls_near": 3},
    ".4.91": {"j2k_ratio": 20.0},
    ".4.203": {"j2k_ratio": 20.0},
    ".4.112": {"jxl_distance": 2.0},
}
SOURCE = part10(data_set(gray(bits=8)))


def derived(data: bytes, mime_type: str, quality: Quality = DEFAULT_QUALITY) -> tuple[str, bytes]:
    """The new UID and the file."""
    ((_, chunks, uid),) = transcode(
        BytesReader(data), parse_format(mime_type), quality, derive_uids=True
    )
    return uid, b"".join(chunks)


def lossy(end: str) -> str:
    return f"application/dicom; transfer-syntax={PREFIX}{end}"


@pytest.mark.parametrize("end", SETTINGS)
def test_a_lossy_image_has_a_uid_of_its_own_and_refers_to_its_source(end: str) -> None:
    uid, data = derived(SOURCE, lossy(end))
    result = read(data)
    assert UID(uid).is_valid and re.fullmatch(r"2\.25\.\d+", uid)
    assert result.SOPInstanceUID == result.file_meta.MediaStorageSOPInstanceUID == uid
    (source,) = result.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == SOP_INSTANCE_UID
    assert source.ReferencedSOPClassUID == result.SOPClassUID
    (purpose,) = source.PurposeOfReferenceCodeSequence
    assert (purpose.CodeValue, purpose.CodeMeaning) == ("121320", "Uncompressed predecessor")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        assert result[keyword].value == read(SOURCE)[keyword].value


@pytest.mark.parametrize("end", SETTINGS)
def test_the_uid_follows_from_the_instance_the_syntax_and_its_setting_alone(end: str) -> None:
    uid, data = derived(SOURCE, lossy(end))
    assert derived(SOURCE, lossy(end)) == (uid, data)
    others = {key: value for each in SETTINGS.values() for key, value in each.items()}
    for key in SETTINGS[end]:
        del others[key]
    assert derived(SOURCE, lossy(end), Quality(**others)) == (uid, data)
    own = derived(SOURCE, lossy(end), Quality(**SETTINGS[end]))[0]
    another = part10(data_set(gray(bits=8), SOPInstanceUID="1.2.3"))
    elsewhere = ".4.81" if end != ".4.81" else ".4.50"
    assert (
        len({uid, own, derived(another, lossy(end))[0], derived(SOURCE, lossy(elsewhere))[0]}) == 4
    )


def test_an_integer_setting_is_the_number_that_it_is() -> None:
    two, same = (Quality(j2k_ratio=each) for each in (20, 20.0))
    assert derived(SOURCE, lossy(".4.91"), two)[0] == derived(SOURCE, lossy(".4.91"), same)[0]


LOSSLESS = [
    each.mime_type
    for each in FORMATS
    if each.transfer_syntax.removeprefix(PREFIX) not in SETTINGS and each.extension == ".dcm"
]


@pytest.mark.parametrize("mime_type", LOSSLESS)
def test_what_loses_nothing_keeps_its_uid(mime_type: str) -> None:
    source = to_dicom(SOURCE, ".4.50") if mime_type.endswith(".4.111") else SOURCE
    uid, data = derived(source, mime_type)
    assert uid == "" and read(data).SOPInstanceUID == SOP_INSTANCE_UID
    assert "SourceImageSequence" not in read(data)


def test_what_becomes_no_lossier_keeps_its_uid() -> None:
    jpeg = to_dicom(SOURCE, ".4.50")
    assert derived(jpeg, lossy(".4.50")) == ("", jpeg)  # a copy
    assert derived(to_dicom(jpeg, ".4.111"), lossy(".4.50")) == ("", jpeg)  # the JPEG that it was
    report = data_set(np.zeros((2, 2), np.uint8))
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated"):
        delattr(report, keyword)
    uid, data = derived(part10(report), lossy(".4.50"))
    assert uid == "" and read(data).SOPInstanceUID == SOP_INSTANCE_UID


@pytest.mark.parametrize("told", [True, False])
def test_a_source_that_was_lossy_is_no_uncompressed_predecessor(told: bool) -> None:
    source = read(to_dicom(SOURCE, ".4.81"))
    if not told:
        for keyword in ("", "Ratio", "Method"):
            delattr(source, f"LossyImageCompression{keyword}")
    _, data = derived(part10(source, f"{PREFIX}.4.81"), lossy(".4.50"))
    (purpose,) = read(data).SourceImageSequence[0].PurposeOfReferenceCodeSequence
    assert purpose.CodeValue == "121322"


@pytest.mark.parametrize("source", [PREFIX, f"{PREFIX}.1", f"{PREFIX}.2"])
def test_earlier_sources_stay_listed(source: str) -> None:
    earlier = Dataset()
    earlier.ReferencedSOPClassUID, earlier.ReferencedSOPInstanceUID = "1.2.3", "1.2.3.4"
    ds = data_set(gray(bits=8), SourceImageSequence=Sequence([earlier]))
    result = read(derived(part10(ds, source), lossy(".4.50"))[1])
    uids = [item.ReferencedSOPInstanceUID for item in result.SourceImageSequence]
    assert uids == ["1.2.3.4", SOP_INSTANCE_UID]
