"""Pictures are those of dcmtk and dicom3tools within one level, but for known differences.

Of the corpus, every sixth small file and all differences of small files are compared, by their
first and last frames; DICOMFERRY_WHOLE_CORPUS=1 takes all files, and their middle frames too.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from imagecodecs import png_decode
from pydicom.dataset import Dataset

from dicomferry.dicom.range_reader import BytesReader
from dicomferry.errors import InstanceError
from dicomferry.pixels.convert import transcode
from dicomferry.pixels.formats import parse_format
from tests.corpus import CORPUS, corpus_files
from tests.pixels.instances import PREFIX, data_set, gray, part10, picture, to_dicom
from tests.pixels.render.test_lookup_tables import table
from tests.pixels.render.tools import (
    HAS_DCMTK,
    HAS_DCTOPGM8,
    dcmtk_picture,
    dctopgm8_picture,
    read_header,
)

WHOLE = os.environ.get("DICOMFERRY_WHOLE_CORPUS") == "1"
SMALL = 300_000
PNG = parse_format("image/png")

needs_dcmtk = pytest.mark.skipif(not HAS_DCMTK, reason="dcmtk is not installed")
needs_dctopgm8 = pytest.mark.skipif(not HAS_DCTOPGM8, reason="dicom3tools is not installed")
needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real files is missing")

# Why a tool shows another picture, or none. The Standard's section says which one is right.
JFIF = "a stream with a JFIF header is YCbCr whatever the attributes say (ISO/IEC 10918-5)"
PADDING = "Pixel Padding Value is no value of the image (PS3.3 C.7.5.1.1.2), so none of its range"
WORDS = "32 bits in OW of big endian: the tool swaps words of 16 bits, every other reader of 32"
DEEP = "the tool takes no more than 16 bits a sample; PS3.3 C.7.6.3.1 has no such limit"
YBR = "the tool rounds twice, and is 2 levels from the formula of PS3.3 C.7.6.3.1.2"
SEGMENTED = "the tool knows no segmented palettes (PS3.3 C.7.9.2)"
FLOATS = "the tool knows no Float Pixel Data (PS3.3 C.7.6.24)"
UNREADABLE = "the tool cannot read the data set or the code streams"
ABORTS = "the tool aborts: no single bits, 32 bits, Modality LUT, or bytes after the pixels"
CUT = "the tool cuts a window to what Bits Stored hold and spreads the rest; C.11.2.1.2.1 does not"
CELLS = "the tool makes 256 cells of width + 1 values, C.11.2.1.2.1 255 steps of width - 1"
BLACK = (
    "the tool takes a center below 0 for stored values; it is of those after Rescale (C.11.2.1.2)"
)

DCMTK = {
    "example.dcm": JFIF,
    "example-mg.dcm": JFIF,
    "example2.dcm": JFIF,
    "seg_image_sm_control_labelmap.dcm": PADDING,
    "CT1_J2KR": PADDING,
    "rtdose_expb.dcm": WORDS,
    "rtdose_expb_1frame.dcm": WORDS,
    "SC_rgb_32bit.dcm": DEEP,
    "SC_rgb_32bit_2frame.dcm": DEEP,
    "SC_rgb_expb_32bit.dcm": DEEP,
    "SC_rgb_expb_32bit_2frame.dcm": DEEP,
    "SC_ybr_full_uncompressed.dcm": YBR,
    "gdcm-US-ALOKA-16.dcm": SEGMENTED,
    "gdcm-US-ALOKA-16_big.dcm": SEGMENTED,
    "parametric_map_double_float.dcm": FLOATS,
    "parametric_map_float.dcm": FLOATS,
    "SC_rgb_jpeg.dcm": UNREADABLE,
    "JLSL_08_07_0_1F.dcm": UNREADABLE,
    "CT0012.fragmented_no_bot_jpeg_baseline.51.dcm": UNREADABLE,
    "liver_rle.dcm": UNREADABLE,
    "liver_nonbyte_aligned_rle.dcm": UNREADABLE,
}
DCTOPGM8 = {
    "0001.dcm": CUT,
    "01+AA+00001.dcm": CUT,
    "axasc35.dcm": CUT,
    "b0dwi_for_fmap+00001.dcm": CUT,
    "b0dwi_for_fmap+00002.dcm": CUT,
    "phantom.dcm": CUT,
    "0.dcm": CUT,
    "1.dcm": CUT,
    "slicethickness_empty_string.dcm": CUT,
    "IM-0001-0001.dcm": CUT,
    "RG3_J2KI.dcm": CUT,
    "RG3_J2KR.dcm": CUT,
    "1.3.12.2.1107.5.2.43.66112.2016101409263663466202201.dcm": BLACK,
    "CT1_J2KR": PADDING,
    "ct_brain_single.dcm": CELLS,
    "CT2_J2KR": CELLS,
    "CTImage.dcm_JPEGProcess10_12TransferSyntax_1.2.840.10008.1.2.4.55.dcm": CELLS,
    "CTImage.dcm_JPEGProcess1TransferSyntax_1.2.840.10008.1.2.4.50.dcm": CELLS,
    "CTImage.dcm_JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm": CELLS,
    "CTImage.dcm_JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53.dcm": CELLS,
    "693_J2KI.dcm": CELLS,
    "693_J2KR.dcm": CELLS,
    "693_UNCI.dcm": CELLS,
    "693_UNCR.dcm": CELLS,
    "J2K_pixelrep_mismatch.dcm": CELLS,
    "17106": CELLS,
    "17136": CELLS,
    "JPGLosslessP14SV1_1s_1f_8b.dcm": CELLS,
    "dx_image.dcm": UNREADABLE,
    "MR_small_padded.dcm": ABORTS,
    "JLSL_16_15_1_1F.dcm": ABORTS,
    "mlut_18.dcm": ABORTS,
    "seg_image_cr_binary.dcm": ABORTS,
    "seg_image_ct_binary_single_frame.dcm": ABORTS,
    "liver_1frame.dcm": ABORTS,
    "liver_expb_1frame.dcm": ABORTS,
    "rtdose_1frame.dcm": ABORTS,
    "rtdose_expb_1frame.dcm": ABORTS,
    "rtdose_rle_1frame.dcm": ABORTS,
    "parametric_map_double_float.dcm": FLOATS,
    "parametric_map_float.dcm": FLOATS,
}


def pictures(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Our pictures of a file by their index, of those frames that are compared."""
    shown = [b"".join(each.chunks) for each in transcode(BytesReader(path.read_bytes()), PNG)]
    for index in sorted({0, len(shown) - 1} | ({len(shown) // 2} if WHOLE else set())):
        yield index, png_decode(shown[index])


def is_same(ours: np.ndarray, judged: np.ndarray | None) -> bool:
    if judged is None or judged.shape[:2] != ours.shape[:2]:
        return False
    if judged.ndim != ours.ndim:  # gray as RGB
        ours, judged = np.atleast_3d(ours), np.atleast_3d(judged)
    return bool(np.abs(ours.astype(int) - judged).max() <= 1)


def compare(
    explained: dict[str, str],
    judge: Callable[[bytes, int], np.ndarray | None],
    is_meant: Callable[[Dataset], bool] = lambda _: True,
) -> int:
    """Assert that pictures differ where that is explained, and nowhere else.

    Returns:
        the number of files whose pictures are the same.
    """
    same, different = set(), set()
    for number, path in enumerate(corpus_files()):
        is_chosen = path.stat().st_size <= SMALL and (number % 6 == 0 or path.name in explained)
        if not (is_chosen or WHOLE):
            continue
        data = path.read_bytes()
        try:
            shown = dict(pictures(path))
        except InstanceError:
            continue  # a file without pictures
        if not shown or not is_meant(read_header(data)):
            continue
        is_equal = all(is_same(ours, judge(data, index)) for index, ours in shown.items())
        (same if is_equal else different).add(path.name)
    assert different - set(explained) == set(), "differences without an explanation"
    assert same & set(explained) == set(), "explanations of what no longer differs"
    assert not WHOLE or set(explained) == different
    return len(same)


GRAY, SIGNED = gray((40, 48), 12), gray((40, 48), 12, signed=True)
WINDOW = {"WindowCenter": 1700, "WindowWidth": 2300}
INVERSE = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}
BUILT: dict[str, Dataset] = {
    "range of the frame": data_set(GRAY, 12),
    "window": data_set(GRAY, 12, **WINDOW),
    "sigmoid": data_set(GRAY, 12, **WINDOW, VOILUTFunction="SIGMOID"),
    "rescaled": data_set(SIGNED, 12, **WINDOW, RescaleSlope=2.5, RescaleIntercept=1000),
    "slope below 0": data_set(SIGNED, 12, **WINDOW, RescaleSlope=-1, RescaleIntercept=900),
    "inverted": data_set(GRAY, 12, **WINDOW, PhotometricInterpretation="MONOCHROME1"),
    "inverted by both": data_set(GRAY, 12, **WINDOW, **INVERSE),
    "inverted by shape": data_set(GRAY, 12, **WINDOW, PresentationLUTShape="INVERSE"),
    "high bit 15": data_set(GRAY << 4 | 9, 12, **WINDOW, HighBit=15),
    "voi lut": data_set(GRAY, 12, VOILUTSequence=table(500, 12, np.arange(3000) + 900)),
    "voi lut of 16 bits": data_set(GRAY, 12, VOILUTSequence=table(0, 16, np.arange(4096) * 15)),
    "modality lut": data_set(SIGNED, 12, ModalityLUTSequence=table(-2048, 16, np.arange(4096) * 9)),
}


@needs_dcmtk
@pytest.mark.parametrize("name", BUILT)
def test_pictures_of_gray_are_those_of_dcmtk(name: str, tmp_path: Path) -> None:
    ds = BUILT[name]
    assert is_same(picture(ds), dcmtk_picture(part10(ds), tmp_path))


def palette_image(pixels: np.ndarray, first: int, bits: int, vr: str = "US") -> Dataset:
    ds = data_set(pixels, PhotometricInterpretation="PALETTE COLOR")
    for color in range(3):
        ds.add_new(0x00281101 + color, vr, [200, first, bits])
        entries = (np.arange(200) * (color + 3)) % (1 << bits)
        data = entries.astype(np.uint8 if bits == 8 else "<u2").tobytes()
        ds.add_new(0x00281201 + color, "OW", data)
    return ds


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
PALETTES = {
    "8 bits": palette_image(RAMP, 0, 8),
    "16 bits": palette_image(RAMP, 20, 16),
    "signed": palette_image(RAMP.view(np.int8), -100, 8, "SS"),
    "in words": palette_image(RAMP.astype(np.uint16) * 9, 300, 16),
}


@needs_dcmtk
@pytest.mark.parametrize("name", PALETTES)
def test_pictures_of_palettes_are_those_of_dcmtk(name: str, tmp_path: Path) -> None:
    ds = PALETTES[name]
    assert is_same(picture(ds), dcmtk_picture(part10(ds), tmp_path))


@needs_dcmtk
def test_an_overlay_in_unused_bits_is_not_shown(tmp_path: Path) -> None:
    drawn = (np.indices(GRAY.shape).sum(0) % 2 << 13).astype(np.uint16)
    ds = data_set(GRAY | drawn, 12, **WINDOW)
    for element, vr, value in (
        *((0x10, "US", GRAY.shape[0]), (0x11, "US", GRAY.shape[1]), (0x40, "CS", "G")),
        *((0x50, "SS", [1, 1]), (0x100, "US", 16), (0x102, "US", 13)),
    ):
        ds.add_new(0x60000000 | element, vr, value)
    assert np.array_equal(picture(ds), picture(data_set(GRAY, 12, **WINDOW)))
    assert is_same(picture(ds), dcmtk_picture(part10(ds), tmp_path))


@needs_dcmtk
@needs_corpus
def test_pictures_of_real_files_are_those_of_dcmtk(tmp_path: Path) -> None:
    same = compare(DCMTK, lambda data, index: dcmtk_picture(data, tmp_path, index))
    assert same > (200 if WHOLE else 30)


def is_gray_and_native(header: Dataset) -> bool:
    """What dctopgm8 shows; files of many frames it shows as one tall picture."""
    return (
        str(header.get("PhotometricInterpretation")).startswith("MONOCHROME")
        and int(header.get("NumberOfFrames") or 1) == 1
    )


def native(data: bytes) -> bytes:
    syntax = read_header(data).get("file_meta", {}).get("TransferSyntaxUID", PREFIX)
    return data if syntax in (PREFIX, f"{PREFIX}.1", f"{PREFIX}.2") else to_dicom(data, ".1")


@needs_dctopgm8
@needs_corpus
def test_pictures_of_real_files_are_those_of_dctopgm8(tmp_path: Path) -> None:
    same = compare(
        DCTOPGM8, lambda data, _: dctopgm8_picture(native(data), tmp_path), is_gray_and_native
    )
    assert same > (80 if WHOLE else 8)
