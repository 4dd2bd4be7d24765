"""Every file of the corpus that pydicom decodes, through every lossless target.

Each file meets 2 targets, chosen by its place, so that the suite stays quick and all targets meet
all kinds of files over it; DICOMFERRY_WHOLE_CORPUS=1 tries all.
"""

import io
import os
import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.encaps import generate_frames
from pydicom.errors import InvalidDicomError

from dicomferry.errors import InstanceError
from tests.corpus import CORPUS, corpus_files
from tests.pixels.instances import PREFIX, read, to_dicom

LOSSLESS = ["", ".1", ".1.99", ".4.57", ".4.70", ".4.80", ".4.90", ".4.110", ".4.201"]
LOSSLESS += [".4.202", ".5", ".8.1"]
WHOLE = os.environ.get("DICOMFERRY_WHOLE_CORPUS") == "1"
# What pydicom has no decoder for is read back by another library, or by ours alone.
UNKNOWN_TO_PYDICOM = (".4.110", ".8.1")
# gdcm, the judge of lossless JPEG, aborts its process on 7 bits stored of 8.
ABORTS_GDCM = "JLSL_08_07_0_1F.dcm"
# Failures that the pixels themselves cause; none may occur for an uncompressed target.
UNFIT = {"UNFIT_FOR_COMPRESSION", "UNFIT_FOR_RLE", "COLOUR_UNFIT_FOR_JPEG_XL"}

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real files is missing")


def decodable() -> list[Path]:
    return corpus_files() if CORPUS.is_dir() else []


def pixels_of(data: bytes) -> np.ndarray | None:
    """What pydicom makes of the pixels; None where it cannot, or there are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            array = dcmread(io.BytesIO(data)).pixel_array
        except (AttributeError, ValueError, RuntimeError, NotImplementedError, InvalidDicomError):
            return None
        except (KeyError, TypeError, EOFError, OSError):
            return None
    return array


def second_opinion(data: bytes, end: str) -> bytes:
    """A file that pydicom can read, of one that it can't."""
    if end != ".4.110":
        return to_dicom(data, ".1")
    ds = read(data)
    frames = generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames", 1)))
    ds.PixelData = b"".join(imagecodecs.jpegxl_decode(each).tobytes() for each in frames)
    ds["PixelData"].is_undefined_length = False
    ds["PixelData"].VR = "OW"
    ds.file_meta.TransferSyntaxUID = f"{PREFIX}.1"
    buffer = io.BytesIO()
    ds.save_as(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("part", range(8))
def test_lossless_targets_are_pixel_identical(part: int) -> None:
    """PS3.5: nothing is lost, whichever lossless way the pixels take."""
    compared = 0
    for index, path in enumerate(decodable()[part::8]):
        data = path.read_bytes()
        if len(data) > 3_000_000 and not WHOLE:
            continue
        expected = pixels_of(data)
        if expected is None:
            continue
        own = [LOSSLESS[(index + part) % len(LOSSLESS)], LOSSLESS[(index * 5 + 3) % len(LOSSLESS)]]
        for end in LOSSLESS if WHOLE else own:
            if path.name == ABORTS_GDCM and end in (".4.57", ".4.70"):
                continue
            try:
                result = to_dicom(data, end)
            except InstanceError as failure:
                assert failure.code in UNFIT, (path, end)
                assert end not in ("", ".1", ".1.99"), (path, end)
                continue
            assert to_dicom(data, end) == result, (path, end, "not deterministic")
            if (
                end in UNKNOWN_TO_PYDICOM
                and read(result).file_meta.TransferSyntaxUID != f"{PREFIX}.1"
            ):
                result = second_opinion(result, end)
            actual = pixels_of(result)
            assert actual is not None, (path, end)
            assert actual.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
            assert np.array_equal(actual, expected), (path, end)
            compared += 1
    assert compared > 20


@pytest.mark.parametrize("part", range(4))
def test_all_that_the_pixels_do_not_dictate_keeps_its_bytes(part: int) -> None:
    dictated = {"PhotometricInterpretation", "PlanarConfiguration", "PixelData"}
    dictated |= {"ExtendedOffsetTable", "ExtendedOffsetTableLengths"}
    # Of streams that are lossy without saying so.
    dictated |= {f"LossyImageCompression{part}" for part in ("", "Ratio", "Method")}
    compared = 0
    for path in decodable()[part::4]:
        data = path.read_bytes()
        try:
            before = dcmread(io.BytesIO(data))
            result = to_dicom(data, ".4.90")
        except (InvalidDicomError, InstanceError):
            continue
        if result == data or not before.original_encoding[1] or before.original_encoding[0]:
            continue  # other encodings are compared by value, below
        after = read(result)
        for tag in before.keys():  # noqa: SIM118 (iterating the data set itself decodes it)
            if keyword_for_tag(tag) in dictated or tag in (0x00280000, 0x7FE00000):
                continue
            old, new = before.get_item(tag), after.get_item(tag)
            assert new is not None, (path, tag)
            assert old.VR in (None, new.VR), (path, tag)  # None: Implicit VR, whatever the UID says
            assert (old.value or b"") == (new.value or b""), (path, tag)
        for element in before.file_meta:
            if element.keyword not in ("TransferSyntaxUID", "FileMetaInformationGroupLength"):
                assert after.file_meta[element.tag] == element, (path, element.tag)
        compared += 1
    assert compared > 10


@pytest.mark.parametrize("end", ["", ".1", ".1.99"])
def test_values_survive_a_change_of_encoding(end: str) -> None:
    """Implicit, explicit, big endian and deflated data sets say the same."""
    compared = 0
    for path in decodable()[:: 1 if WHOLE else 3]:
        data = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                before = dcmread(io.BytesIO(data))
                if before.file_meta.TransferSyntaxUID.is_compressed:
                    continue
                after = read(to_dicom(data, end))
            except (InvalidDicomError, InstanceError, AttributeError, ValueError):
                continue
            for element in before:
                if (
                    element.tag.element == 0
                    or element.tag.is_private
                    or element.VR in ("OB", "OW", "UN")
                ):
                    continue
                if end == "" and element.keyword in ("ModalityLUTSequence", "VOILUTSequence"):
                    continue  # without its VR pydicom reads LUT Data as bytes, the same ones
                try:
                    expected = element.value
                except (ValueError, TypeError):
                    continue
                assert after[element.tag].value == expected, (path, element.tag)
        compared += 1
    assert compared > 30
