"""Pictures for people, by the formulas of PS3.3, Section C.11 (golden values by hand)."""

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut, apply_voi_lut, convert_color_space
from pydicom.sequence import Sequence

from dicomferry.errors import InstanceError
from dicomferry.pixels.quality import Quality
from dicomferry.pixels.render.grayscale import window
from tests.corpus import CORPUS, corpus_files
from tests.pixels.instances import color, data_set, gray, outputs, part10, picture, read, to_dicom

RAMP = np.arange(0, 256, dtype=np.uint16).reshape(16, 16)


def test_linear_window_as_the_standard_writes_it() -> None:
    """C.11.2.1.2.1: c=2048, w=4096 maps 0 to 0 and 4095 to 255."""
    values = np.array([-1.0, 0, 2048, 4095, 5000])
    expected = [0, 0, ((2048 - 2047.5) / 4095 + 0.5) * 255, 255, 255]
    assert window(values, 2048, 4096, "LINEAR") == pytest.approx(expected)
    assert list(window(np.array([-1.0, 0, 1]), 0.5, 1, "LINEAR")) == [0, 0, 255]


def test_linear_exact_and_sigmoid_windows() -> None:
    values = np.array([-30.0, 50, 130])
    assert window(values, 50, 80, "LINEAR_EXACT") == pytest.approx([0, 127.5, 255])
    expected = 255 / (1 + np.exp(-4 * (values - 50) / 80))
    assert window(values, 50, 80, "SIGMOID") == pytest.approx(expected)


def test_rescale_goes_before_the_window() -> None:
    ds = data_set(RAMP, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=100, WindowWidth=201)
    x = RAMP.astype(float) * 2 - 100
    expected = np.floor(np.clip((x - 99.5) / 200 + 0.5, 0, 1) * 255 + 0.5)
    assert np.array_equal(picture(ds), expected)


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2000, "WindowWidth": 3000}])
def test_a_large_frame_is_shown_as_its_parts_are(window: dict[str, int]) -> None:
    pixels = gray((301, 259))  # longer than two pieces of what is looked up at once
    pixels[0, :2] = pixels[-1, :2] = pixels.min(), pixels.max()  # the same bounds in each part
    pixels[150, :2] = pixels[0, :2]
    whole = picture(data_set(pixels, **window))
    parts = [picture(data_set(part, **window)) for part in (pixels[:150], pixels[150:])]
    assert np.array_equal(whole[:150], parts[0]) and np.array_equal(whole[150:], parts[1])
    assert len(np.unique(whole[-100:])) > 50


def test_the_first_of_several_windows_counts() -> None:
    one = picture(data_set(RAMP, WindowCenter=100, WindowWidth=50))
    several = picture(data_set(RAMP, WindowCenter=[100, 20], WindowWidth=[50, 5]))
    assert np.array_equal(one, several)


def test_without_a_window_the_frame_spans_black_to_white() -> None:
    pixels = np.stack([RAMP, RAMP * 3 + 7])
    for _, data in outputs(part10(data_set(pixels, frames=2)), "image/png"):
        assert np.array_equal(imagecodecs.png_decode(data), RAMP)


def test_padding_does_not_count_as_black() -> None:
    pixels = RAMP.astype(np.int16).copy()
    pixels[0, 0] = -2000
    ds = data_set(pixels)
    ds.add_new(0x00280120, "SS", -2000)
    shown = picture(ds)
    assert shown[0, 0] == 0 and shown[0, 1] == 0 and shown[15, 15] == 255
    assert shown[8, 0] == round((128 - 1) / 254 * 255)


def test_monochrome1_is_inverted() -> None:
    ds = data_set(RAMP, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(picture(ds), 255 - RAMP)


def lut(first: int, bits: int, data: list[int]) -> Sequence:
    item = Dataset()
    item.add_new(0x00283002, "US", [len(data), first, bits])
    item.add_new(0x00283006, "US", data)
    return Sequence([item])


def test_modality_and_voi_luts_are_looked_up_and_clamped() -> None:
    pixels = np.array([[0, 5, 6, 7], [8, 9, 20, 6]], np.uint16)
    voi = data_set(pixels, VOILUTSequence=lut(5, 12, [0, 1000, 2000, 4095]))
    steps = np.array([0, 1000, 2000, 4095]) * 255 / 4095
    expected = np.floor(steps[np.clip(pixels.astype(int) - 5, 0, 3)] + 0.5)
    assert np.array_equal(picture(voi), expected)
    modality = data_set(pixels, ModalityLUTSequence=lut(5, 16, [9, 3, 2, 1]))
    values = np.array([9, 3, 2, 1])[np.clip(pixels.astype(int) - 5, 0, 3)]
    assert np.array_equal(picture(modality), np.floor((values - 1) / 8 * 255 + 0.5))


def test_an_enhanced_multi_frame_has_a_window_a_frame() -> None:
    def group(center: float, width: float) -> Dataset:
        voi = Dataset()
        voi.WindowCenter, voi.WindowWidth = center, width
        item = Dataset()
        item.FrameVOILUTSequence = Sequence([voi])
        return item

    rescale = Dataset()
    rescale.RescaleSlope, rescale.RescaleIntercept = 2, 0
    shared = Dataset()
    shared.PixelValueTransformationSequence = Sequence([rescale])
    ds = data_set(np.stack([RAMP, RAMP]), frames=2)
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    ds.PerFrameFunctionalGroupsSequence = Sequence([group(256, 512), group(100, 50)])
    first, second = (imagecodecs.png_decode(data) for _, data in outputs(part10(ds), "image/png"))
    for shown, center, width in ((first, 256, 512), (second, 100, 50)):
        x = RAMP.astype(float) * 2
        expected = np.clip((x - center + 0.5) / (width - 1) + 0.5, 0, 1) * 255
        assert np.array_equal(shown, np.floor(expected + 0.5))


def test_signed_and_unused_bits_are_read_as_the_attributes_say() -> None:
    stored = (np.arange(-128, 128, dtype=np.int16).reshape(16, 16) & 0x0FFF).astype(np.uint16)
    ds = data_set(stored.view(np.int16), 12)
    assert np.array_equal(picture(ds), RAMP)


def test_color_is_shown_as_it_is() -> None:
    pixels = color()
    assert np.array_equal(picture(data_set(pixels, samples=3)), pixels)
    deep = pixels.astype(np.uint16) * 256 + 9
    assert np.array_equal(picture(data_set(deep, samples=3)), pixels)


def test_ybr_becomes_rgb() -> None:
    ybr = color()
    shown = picture(data_set(ybr, samples=3, PhotometricInterpretation="YBR_FULL"))
    expected = convert_color_space(ybr, "YBR_FULL", "RGB")
    assert np.abs(shown.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("bits", [8, 16])
def test_the_palette_is_applied(bits: int) -> None:
    indices = (RAMP % 4).astype(np.uint8)
    ds = data_set(indices, PhotometricInterpretation="PALETTE COLOR")
    tables = np.array([[1, 2, 3, 4], [50, 60, 70, 80], [250, 251, 252, 255]])
    for number, table in enumerate(tables):
        ds.add_new(0x00281101 + number, "US", [4, 0, bits])
        data = table.astype(np.uint8) if bits == 8 else (table * 256 + 3).astype("<u2")
        ds.add_new(0x00281201 + number, "OW", data.tobytes())
    assert np.array_equal(picture(ds), np.moveaxis(tables[:, indices], 0, -1))


def test_single_bits_are_black_and_white_even_where_all_are_one() -> None:
    ds = data_set(np.full((8, 8), 255, np.uint8))
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelData = 1, 1, 0, bytes([255] * 8)
    assert picture(ds).min() == 255


def test_floating_point_pixels_are_shown() -> None:
    ds = data_set(np.zeros((4, 4), np.uint8))
    values = np.linspace(-1, 1, 16, dtype="<f4").reshape(4, 4)
    values[0, 1] = np.nan
    del ds.PixelData, ds.PixelRepresentation, ds.BitsStored, ds.HighBit
    ds.BitsAllocated, ds.FloatPixelData = 32, values.tobytes()
    shown = picture(ds)
    assert (shown[0, 0], shown[0, 1], shown[3, 3]) == (0, 0, 255)


def test_a_jpeg_has_the_quality_that_was_asked_for() -> None:
    data = part10(data_set(gray((128, 128), 12), 12))
    ((_, good),) = outputs(data, "image/jpeg", Quality(jpeg_quality=95))
    ((_, poor),) = outputs(data, "image/jpeg", Quality(jpeg_quality=30))
    ((_, exact),) = outputs(data, "image/png")
    error = imagecodecs.jpeg8_decode(good).astype(int) - imagecodecs.png_decode(exact)
    assert np.abs(error).mean() < 2 and len(good) > 2 * len(poor)


def test_a_stored_color_jpeg_is_the_picture_already() -> None:
    jpeg = to_dicom(part10(data_set(color(), samples=3)), ".4.50")
    ((_, shown),) = outputs(jpeg, "image/jpeg")
    ((_, stored),) = outputs(jpeg, "application/octet-stream; transfer-syntax=*")
    assert shown.rstrip(b"\0") == stored.rstrip(b"\0") and shown.startswith(b"\xff\xd8")


def test_what_has_no_picture_says_so() -> None:
    odd = data_set(color(), samples=3, PhotometricInterpretation="HSV")
    with pytest.raises(InstanceError, match="NOT_RENDERABLE"):
        picture(odd)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real files is missing")
def test_windows_of_real_files_agree_with_pydicom() -> None:
    compared = 0
    for path in corpus_files():
        if path.suffix != ".dcm" or path.stat().st_size > 2_000_000:
            continue
        try:
            ds = read(path.read_bytes())
            if "WindowWidth" not in ds or ds.SamplesPerPixel != 1 or "NumberOfFrames" in ds:
                continue
            values = apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds, prefer_lut=True)
            ((_, data),) = outputs(path.read_bytes(), "image/png")
        except (AttributeError, RuntimeError, NotImplementedError, ValueError):
            continue
        except (InvalidDicomError, InstanceError):
            continue
        shown = imagecodecs.png_decode(data).astype(float)
        if ds.PhotometricInterpretation == "MONOCHROME1":
            shown = 255 - shown
        low, high = float(values.min()), float(values.max())
        if high > low and "VOILUTSequence" not in ds:
            # pydicom stretches to the range of the stored values, so compare as fractions.
            bits = ds.BitsStored
            floor = -(2 ** (bits - 1)) if ds.PixelRepresentation else 0
            slope, intercept = (
                float(ds.get("RescaleSlope", 1)),
                float(ds.get("RescaleIntercept", 0)),
            )
            bottom, top = floor * slope + intercept, (floor + 2**bits - 1) * slope + intercept
            expected = (values - bottom) / (top - bottom) * 255
            assert np.abs(shown - expected).max() <= 1.01, path
            compared += 1
    assert compared > 5
