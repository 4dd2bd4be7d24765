"""Each mistake that another tool was seen to make."""

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import get_j2k_parameters

from dicomferry.errors import InstanceError, Reason
from dicomferry.pixels.codecs.codestream import read_jpeg
from dicomferry.pixels.quality import Quality
from tests.corpus import corpus_files
from tests.pixels.instances import (
    SOP_INSTANCE_UID,
    color,
    data_set,
    gray,
    outputs,
    part10,
    read,
    to_dicom,
)

LOSSLESS = [".4.57", ".4.70", ".4.80", ".4.90", ".4.201", ".4.202", ".5"]
LOSSY = [".4.50", ".4.81", ".4.91", ".4.203", ".4.112"]
METHODS = {
    ".4.50": "ISO_10918_1",
    ".4.51": "ISO_10918_1",
    ".4.81": "ISO_14495_1",
    ".4.91": "ISO_15444_1",
    ".4.203": "ISO_15444_15",
    ".4.112": "ISO_18181_1",
}


def corpus_file(name: str) -> bytes:
    return next(path for path in corpus_files() if path.name == name).read_bytes()


def first_stream(data: bytes) -> bytes:
    return next(generate_frames(read(data).PixelData, number_of_frames=1))


def psnr(actual: np.ndarray, expected: np.ndarray, bits: int) -> float:
    error = np.mean((actual.astype(float) - expected.astype(float)) ** 2)
    return float(20 * np.log10((1 << bits) - 1) - 10 * np.log10(max(error, 1e-9)))


@pytest.mark.parametrize("end", ["", ".1.99", ".8.1", *LOSSLESS, *LOSSY])
def test_the_instance_keeps_its_uid(end: str) -> None:
    result = read(to_dicom(part10(data_set(gray(bits=8))), end))
    assert result.SOPInstanceUID == SOP_INSTANCE_UID
    assert result.file_meta.MediaStorageSOPInstanceUID == SOP_INSTANCE_UID
    assert result.file_meta.TransferSyntaxUID == f"1.2.840.10008.1.2{end}"


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("end", LOSSLESS)
def test_gray_of_any_depth_and_sign_is_lossless(end: str, bits: int, signed: bool) -> None:
    pixels = gray((33, 47), bits, signed)
    result = read(to_dicom(part10(data_set(pixels, bits)), end))
    assert np.array_equal(result.pixel_array, pixels)
    assert result.pixel_array.dtype == pixels.dtype
    assert "LossyImageCompression" not in result


@pytest.mark.parametrize("end", LOSSLESS)
def test_color_is_lossless_and_planes_are_interleaved_first(end: str) -> None:
    pixels = color((20, 30))
    by_plane = data_set(pixels, samples=3, PlanarConfiguration=1)
    by_plane.PixelData = np.ascontiguousarray(pixels.transpose(2, 0, 1)).tobytes()
    for ds in (data_set(pixels, samples=3), by_plane):
        assert np.array_equal(read(to_dicom(part10(ds), end)).pixel_array, pixels)


@pytest.mark.parametrize("end", LOSSLESS)
def test_color_without_a_color_transform_stays_color_by_pixel(end: str) -> None:
    """OpenJPH gives the components of such a stream one after the other."""
    pixels = color((20, 30))
    stored = to_dicom(
        part10(data_set(pixels, samples=3, PhotometricInterpretation="YBR_FULL")), end
    )
    raw = read(to_dicom(stored, ".1"))
    assert raw.PhotometricInterpretation == "YBR_FULL"
    assert raw.PixelData == pixels.tobytes()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
@pytest.mark.parametrize("end", LOSSLESS)
def test_planes_of_one_row_or_column_become_color_by_pixel(
    end: str, shape: tuple[int, int]
) -> None:
    pixels = color((9, 9))[: shape[0], : shape[1]]
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)).tobytes()
    ds = data_set(pixels, samples=3, PlanarConfiguration=1)
    ds.PixelData = planes + bytes(len(planes) % 2)
    assert np.array_equal(read(to_dicom(part10(ds), end)).pixel_array, pixels)


@pytest.mark.parametrize("end", [".4.90", ".4.91", ".4.201", ".4.203"])
def test_rgb_goes_through_the_color_transform_and_says_so(end: str) -> None:
    data = to_dicom(part10(data_set(color(), samples=3)), end)
    lossless = end in (".4.90", ".4.201")
    assert read(data).PhotometricInterpretation == ("YBR_RCT" if lossless else "YBR_ICT")
    stream = first_stream(data)
    style = stream.index(b"\xff\x52")
    assert stream[style + 8] == 1  # COD: multiple component transformation
    assert psnr(read(data).pixel_array, color(), 8) > 30


@pytest.mark.parametrize(("bits", "signed"), [(10, False), (12, True), (12, False), (16, True)])
@pytest.mark.parametrize("end", [".4.90", ".4.201", ".4.202", ".4.203", ".4.91"])
def test_jpeg_2000_streams_have_the_depth_and_sign_of_the_attributes(
    end: str, bits: int, signed: bool
) -> None:
    pixels = gray((80, 90), bits, signed)
    data = to_dicom(part10(data_set(pixels, bits)), end)
    found = get_j2k_parameters(first_stream(data))
    assert (found["precision"], found["is_signed"]) == (bits, signed)
    assert psnr(read(data).pixel_array, pixels, bits) > 40


def test_jpeg_ls_and_lossless_jpeg_streams_have_the_depth_of_bits_stored() -> None:
    data = part10(data_set(gray(bits=12), 12))
    assert read_jpeg(first_stream(to_dicom(data, ".4.80"))).precision == 12
    assert read_jpeg(first_stream(to_dicom(data, ".4.70"))).precision == 12


def test_jpeg_ls_streams_begin_with_their_frame_header() -> None:
    """A SPIFF header before it is no part of what DICOM has."""
    for bits in (8, 12, 16):
        file = to_dicom(part10(data_set(gray(bits=bits), bits)), ".4.80")
        assert first_stream(file)[:4] == b"\xff\xd8\xff\xf7"


def test_lossless_jpeg_names_the_components_of_rgb() -> None:
    """Readers that know the stream alone would else take three components for YCbCr."""
    file = to_dicom(part10(data_set(color(), samples=3)), ".4.70")
    assert read_jpeg(first_stream(file)).has_rgb_ids


def test_the_rpcl_syntax_has_that_progression_and_a_tile_length_index() -> None:
    stream = first_stream(to_dicom(part10(data_set(gray(bits=12), 12)), ".4.202"))
    assert stream[stream.index(b"\xff\x52") + 5] == 2
    assert b"\xff\x55" in stream[: stream.index(b"\xff\x90")]


@pytest.mark.parametrize("end", [".4.201", ".4.202", ".4.203"])
@pytest.mark.parametrize("shape", [(8, 2048), (8, 2049), (4097, 8), (9, 60000), (1, 1), (64, 64)])
def test_the_lowest_resolution_of_htj2k_is_a_thumbnail(shape: tuple[int, int], end: str) -> None:
    """PS3.5 10.18 wants the RPCL syntax to have a base resolution of 64 rows or columns at most."""
    pixels = gray(shape, 8)
    data = to_dicom(part10(data_set(pixels)), end)
    stream = first_stream(data)
    levels = stream[stream.index(b"\xff\x52") + 9]
    assert max(-(-side // (1 << levels)) for side in shape) <= 64
    if end != ".4.203":
        assert np.array_equal(read(data).pixel_array, pixels)
        assert np.array_equal(read(to_dicom(data, ".1")).pixel_array, pixels)


def test_first_order_prediction_is_what_4_70_holds() -> None:
    stream = first_stream(to_dicom(part10(data_set(gray(bits=12), 12)), ".4.70"))
    scan = stream.index(b"\xff\xda")
    assert stream[scan + 7] == 1  # selection value
    assert read_jpeg(stream).marker == 0xC3


def test_subsampled_ybr_is_full_once_decoded() -> None:
    jpeg = to_dicom(part10(data_set(color(), samples=3)), ".4.50")
    assert read(jpeg).PhotometricInterpretation == "YBR_FULL_422"
    raw = read(to_dicom(jpeg, ".1"))
    assert raw.PhotometricInterpretation == "YBR_FULL"
    assert len(raw.PixelData) == 64 * 64 * 3
    assert np.array_equal(raw.pixel_array, read(jpeg).pixel_array)


@pytest.mark.parametrize(
    "name",
    [
        "SC_jpeg_no_color_transform.dcm",
        "SC_jpeg_no_color_transform_2.dcm",
        "J2K_pixelrep_mismatch.dcm",
        "SC_rgb_dcmtk_+eb+cy+np.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "SC_rgb_small_odd_big_endian.dcm",
    ],
)
def test_known_stumbling_blocks_decode_as_in_pydicom(name: str) -> None:
    data = corpus_file(name)
    expected = read(data).pixel_array
    for end in ("", ".5", ".4.80"):
        assert np.array_equal(read(to_dicom(data, end)).pixel_array, expected), end


@pytest.mark.parametrize("end", ["", ".1.99", ".4.90", ".4.80", ".5", ".8.1"])
def test_big_endian_pixels_are_swapped(end: str) -> None:
    pixels = gray((17, 19), 12)
    ds = data_set(pixels, 12)
    ds.PixelData = pixels.astype(">u2").tobytes()
    ds.RedPaletteColorLookupTableDescriptor = [256, 0, 16]
    data = to_dicom(part10(ds, "1.2.840.10008.1.2.2"), end)
    result = read(to_dicom(data, ".1") if end == ".8.1" else data)
    assert np.array_equal(result.pixel_array, pixels)
    assert result.RedPaletteColorLookupTableDescriptor == [256, 0, 16]


def test_depths_that_codecs_corrupt_are_refused() -> None:
    words = np.arange(64, dtype=np.uint32).reshape(8, 8)
    wide = data_set(words)
    for end in (".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91"):
        with pytest.raises(InstanceError, match="UNFIT_FOR_COMPRESSION"):
            to_dicom(part10(wide), end)
    for end in ("", ".1.99", ".5"):
        assert np.array_equal(read(to_dicom(part10(wide), end)).pixel_array, words)
    single = data_set(np.zeros((8, 8), np.uint8), BitsAllocated=1, BitsStored=1, HighBit=0)
    single.PixelData = bytes(range(8))
    for end in (".4.80", ".4.90", ".4.201", ".4.110"):
        with pytest.raises(InstanceError, match="UNFIT_FOR_COMPRESSION"):
            to_dicom(part10(single), end)
    assert "1.2.840.10008.1.2.1" in Reason("UNFIT_FOR_COMPRESSION").sentence


def test_floating_point_pixels_stay_uncompressed() -> None:
    ds = data_set(np.zeros((4, 4), np.uint8))
    values = np.linspace(0, 1, 16, dtype="<f4")
    del ds.PixelData, ds.PixelRepresentation, ds.BitsStored, ds.HighBit
    ds.BitsAllocated = 32
    ds.FloatPixelData = values.tobytes()
    for end in ("", ".1.99"):
        assert read(to_dicom(part10(ds), end)).FloatPixelData == values.tobytes()
    with pytest.raises(InstanceError, match="UNFIT_FOR_COMPRESSION"):
        to_dicom(part10(ds), ".4.90")
    with pytest.raises(InstanceError, match="UNFIT_FOR_RLE"):
        to_dicom(part10(ds), ".5")


def report() -> Dataset:
    ds = data_set(np.zeros((2, 2), np.uint8))
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated"):
        delattr(ds, keyword)
    return ds


@pytest.mark.parametrize(
    ("asked", "written"), [("", ""), (".1.99", ".1.99"), (".4.90", ".1"), (".5", ".1")]
)
def test_without_pixels_a_data_set_is_written_all_the_same(asked: str, written: str) -> None:
    """Explicit VR Little Endian stands for a compressed syntax: nothing in it is compressed."""
    data = part10(report(), "1.2.840.10008.1.2" if asked != "" else "1.2.840.10008.1.2.1")
    result = read(to_dicom(data, asked))
    assert result.file_meta.TransferSyntaxUID == f"1.2.840.10008.1.2{written}"
    assert result.PatientName == "Nobody"


@pytest.mark.parametrize(
    "mime_type", ["image/png", "image/jpeg", "application/octet-stream; transfer-syntax=*"]
)
def test_without_pixels_there_are_no_pictures(mime_type: str) -> None:
    with pytest.raises(InstanceError) as failure:
        outputs(part10(report()), mime_type)
    assert "has no pixel data" in failure.value.reason


def test_more_than_8_bits_do_not_fit_baseline_and_the_failure_names_what_does() -> None:
    with pytest.raises(InstanceError) as failure:
        to_dicom(part10(data_set(gray(bits=12), 12)), ".4.50")
    assert failure.value.code == "TOO_DEEP_FOR_BASELINE"
    for remedy in (".4.51", ".4.70", ".4.90", "image/jpeg"):
        assert remedy in failure.value.reason
    with pytest.raises(InstanceError, match="TOO_DEEP_FOR_EXTENDED"):
        to_dicom(part10(data_set(gray(bits=16))), ".4.51")


def test_12_bits_fit_jpeg_extended() -> None:
    pixels = gray(bits=12)
    data = to_dicom(part10(data_set(pixels, 12)), ".4.51")
    stream = first_stream(data)
    assert (read_jpeg(stream).marker, read_jpeg(stream).precision) == (0xC1, 12)
    assert psnr(imagecodecs.jpeg8_decode(stream), pixels, 12) > 38
    assert psnr(read(to_dicom(data, ".1")).pixel_array, pixels, 12) > 38


def test_8_bits_in_words_become_bytes_for_baseline() -> None:
    pixels = gray(bits=8).astype(np.uint16)
    result = read(to_dicom(part10(data_set(pixels, 8)), ".4.50"))
    assert (result.BitsAllocated, result.BitsStored, result.HighBit) == (8, 8, 7)
    assert psnr(result.pixel_array, pixels, 8) > 35


@pytest.mark.parametrize("end", [".4.81", ".4.91", ".4.203", ".4.112", ".4.50"])
def test_loss_is_within_bounds_and_is_told(end: str) -> None:
    pixels = gray((96, 96), 8)
    ds = data_set(pixels, SmallestImagePixelValue=0, LargestImagePixelValue=255)
    data = to_dicom(part10(ds), end)
    result = read(data)
    back = read(to_dicom(data, ".1")).pixel_array
    assert psnr(back, pixels, 8) > 35
    assert result.LossyImageCompression == "01"
    assert result.LossyImageCompressionMethod == METHODS[end]
    ratio = pixels.nbytes / len(first_stream(data))
    assert float(result.LossyImageCompressionRatio) == pytest.approx(ratio, rel=0.02)
    assert "SmallestImagePixelValue" not in result


@pytest.mark.parametrize("near", [1, 2, 5])
@pytest.mark.parametrize("signed", [False, True])
def test_near_lossless_keeps_every_sample_within_near(near: int, signed: bool) -> None:
    for pixels in (gray(bits=12, signed=signed), gray(bits=16, signed=signed)):
        bits = 12 if abs(int(pixels.max())) < 4096 else 16
        ds = data_set(pixels, bits)
        result = read(to_dicom(part10(ds), ".4.81", Quality(jpegls_near=near)))
        assert np.abs(result.pixel_array.astype(int) - pixels).max() <= near


@pytest.mark.parametrize("end", [".4.91", ".4.203"])
@pytest.mark.parametrize("ratio", [5, 10, 30])
def test_the_ratio_is_met(end: str, ratio: float) -> None:
    pixels = gray((256, 256), 12)
    data = to_dicom(part10(data_set(pixels, 12)), end, Quality(j2k_ratio=ratio))
    reached = float(read(data).LossyImageCompressionRatio)
    assert ratio <= reached * 1.01 and reached < ratio * 1.1


def dark_scan(bits: int) -> np.ndarray:
    """Values of a CT as they are stored: a small part of the range, with edges and noise."""
    noise = np.random.default_rng(3).normal(0, 12, (128, 128))
    rows, columns = np.mgrid[-64:64, -64:64]
    body = np.where(rows**2 + columns**2 < 50**2, 1060.0, 24.0)
    body[(rows - 20) ** 2 + columns**2 < 8**2] = 1700
    return np.clip(body + noise, 0, (1 << bits) - 1).astype(np.uint16)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("distance", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("inverted", [False, True])
def test_jpeg_xl_keeps_what_is_dark_on_a_screen_but_not_in_a_window(
    bits: int, distance: float, inverted: bool
) -> None:
    pixels = dark_scan(bits)
    if inverted:
        pixels = ((1 << bits) - 1 - pixels).astype(np.uint16)
    source = part10(data_set(pixels, bits))
    data = to_dicom(source, ".4.112", Quality(jxl_distance=distance))
    error = np.abs(read(to_dicom(data, ".1")).pixel_array.astype(int) - pixels)
    extent = int(pixels.max()) - int(pixels.min())
    assert error.max() <= 0.05 * distance * extent
    assert np.sqrt(np.mean(error.astype(float) ** 2)) <= 0.01 * distance * extent
    # Without loss where loss saves nothing; it is told all the same.
    assert len(first_stream(data)) <= len(first_stream(to_dicom(source, ".4.110")))


def test_jpeg_xl_codes_without_loss_what_no_distance_keeps_within_bounds() -> None:
    pixels = np.full((64, 64), 1000, np.uint16)
    pixels[32, 32] = 1001  # a range of 1
    data = to_dicom(part10(data_set(pixels, 16)), ".4.112")
    assert np.array_equal(read(to_dicom(data, ".1")).pixel_array, pixels)


def test_earlier_loss_stays_listed_and_stays_after_decompression() -> None:
    ds = data_set(
        gray(bits=8),
        LossyImageCompression="01",
        LossyImageCompressionRatio="7.5",
        LossyImageCompressionMethod="ISO_14495_1",
    )
    lossy = read(to_dicom(part10(ds), ".4.50"))
    assert list(lossy.LossyImageCompressionMethod) == ["ISO_14495_1", "ISO_10918_1"]
    assert lossy.LossyImageCompressionRatio[0] == 7.5
    raw = read(to_dicom(to_dicom(part10(ds), ".4.50"), ".1"))
    assert raw.LossyImageCompression == "01"
    assert raw.LossyImageCompressionRatio == lossy.LossyImageCompressionRatio


def test_palette_indices_and_signed_samples_are_not_made_lossy() -> None:
    palette = data_set(gray(bits=8), PhotometricInterpretation="PALETTE COLOR")
    for end in LOSSY:
        with pytest.raises(InstanceError, match="PALETTE_NOT_LOSSY"):
            to_dicom(part10(palette), end)
    with pytest.raises(InstanceError, match="SIGNED_NOT_LOSSY"):
        to_dicom(part10(data_set(gray(bits=12, signed=True), 12)), ".4.51")


def test_a_recompressed_jpeg_is_had_back_bit_by_bit() -> None:
    jpeg = to_dicom(part10(data_set(color(), samples=3)), ".4.50")
    smaller = to_dicom(jpeg, ".4.111")
    assert read(smaller).PhotometricInterpretation == "YBR_FULL_422"
    assert to_dicom(smaller, ".4.50") == jpeg
    assert np.array_equal(read(to_dicom(smaller, ".1")).pixel_array, read(jpeg).pixel_array)
    with pytest.raises(InstanceError, match="NOT_JPEG_BASELINE"):
        to_dicom(part10(data_set(color(), samples=3)), ".4.111")


def test_bits_beyond_bits_stored_are_kept_where_they_mean_something() -> None:
    """An overlay in unused bits, as before 2004, is not lost by a lossless target."""
    words = gray(bits=12) | np.uint16(0x8000)
    ds = data_set(words, 12)
    ds.add_new(0x60000100, "US", 16)
    ds.add_new(0x60000102, "US", 15)
    for end in (".4.90", ".4.80", ".4.70", ".4.201"):
        raw = read(to_dicom(to_dicom(part10(ds), end), ".1"))
        assert raw.PixelData == words.tobytes(), end


@pytest.mark.parametrize("end", [*LOSSLESS, ".4.110"])
def test_signed_words_with_a_high_bit_at_the_top_are_kept(end: str) -> None:
    words = np.arange(-128, 128, dtype=np.int8).reshape(16, 16)
    ds = data_set(words, 7, HighBit=7)
    assert read(to_dicom(to_dicom(part10(ds), end), ".1")).PixelData == words.tobytes()


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("end", [".4.50", ".4.51", ".4.91", ".4.203"])
def test_few_stored_bits_lose_no_more_than_many(end: str, bits: int) -> None:
    """No value wraps from white to black, and none is lost to steps made for all bits of a byte."""
    pixels = np.random.default_rng(1).integers(0, 1 << bits, (18, 21), dtype=np.uint16)
    back = read(to_dicom(to_dicom(part10(data_set(pixels, bits)), end), ".1"))
    error = np.abs(back.pixel_array.astype(int) - pixels)
    assert error.max() <= max(2, 0.1 * (1 << bits))
    if end in (".4.91", ".4.203"):
        assert error.max() <= 2


def test_same_syntax_and_as_uploaded_give_the_bytes_themselves() -> None:
    for name in ("CT_small.dcm", "SC_rgb_jpeg_gdcm.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm"):
        data = corpus_file(name)
        end = str(read(data).file_meta.TransferSyntaxUID).removeprefix("1.2.840.10008.1.2")
        assert outputs(data, "") == [(None, data)]
        assert to_dicom(data, end) == data


def test_a_compressed_icon_can_still_be_read_in_another_syntax() -> None:
    data = corpus_file("slicethickness_empty_string.dcm")
    before = read(data).IconImageSequence[0]
    icon = Dataset(before)
    icon.file_meta = read(data).file_meta
    for end in ("", ".1", ".4.80", ".1.99"):
        after = read(to_dicom(data, end)).IconImageSequence[0]
        assert not after["PixelData"].is_undefined_length
        assert after.PixelData[: before.Rows * before.Columns] == icon.pixel_array.tobytes()
        assert (after.Rows, after.Columns) == (before.Rows, before.Columns)
