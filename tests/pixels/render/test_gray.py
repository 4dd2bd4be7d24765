"""Rescale, windows, polarity and odd numbers (PS3.3 C.11.1, C.11.2.1.2, C.11.6.1.2)."""

import warnings

import numpy as np
import pytest
from imagecodecs import png_decode
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.pixels.instances import data_set, outputs, part10, picture
from tests.pixels.render.test_lookup_tables import table

RAMP = np.arange(0, 4096, 4, dtype=np.uint16).reshape(32, 32)


def encoded(ds: Dataset, **values: str) -> Dataset:
    """The data set with text in elements that pydicom would not take."""
    result = Dataset(ds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keyword, value in values.items():
            setattr(result, keyword, "1")
            result[keyword]._value = value
    return result


def linear(values: np.ndarray, center: float, width: float) -> np.ndarray:
    """C.11.2.1.2.1, in its three branches."""
    low = values <= center - 0.5 - (width - 1) / 2
    high = values > center - 0.5 + (width - 1) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = ((values - (center - 0.5)) / (width - 1) + 0.5) * 255
    return np.where(low, 0, np.where(high, 255, middle))


def exact(values: np.ndarray, center: float, width: float) -> np.ndarray:
    """C.11.2.1.3.2."""
    low, high = values <= center - width / 2, values > center + width / 2
    return np.where(low, 0, np.where(high, 255, ((values - center) / width + 0.5) * 255))


def sigmoid(values: np.ndarray, center: float, width: float) -> np.ndarray:
    """C.11.2.1.3.1."""
    with np.errstate(over="ignore"):
        return 255 / (1 + np.exp(-4 * (values - center) / width))


def spread(values: np.ndarray) -> np.ndarray:
    """From the smallest to the largest."""
    return (values - float(values.min())) / float(values.max() - values.min()) * 255


FORMULAS = {"LINEAR": linear, "LINEAR_EXACT": exact, "SIGMOID": sigmoid, "": linear, "X": linear}


@pytest.mark.parametrize("function", FORMULAS)
@pytest.mark.parametrize(
    ("center", "width"),
    [(2048, 4096), (100.5, 1), (100, 2), (-5, 300.25), (5000, 90000), (1e9, 1e-3)],
)
def test_windows_by_their_formulas(function: str, center: float, width: float) -> None:
    ds = data_set(RAMP, 12, WindowCenter=center, WindowWidth=width, VOILUTFunction=function)
    # LINEAR is not defined for a width below 1.
    by_formula = exact if width < 1 and function != "SIGMOID" else FORMULAS[function]
    expected = by_formula(RAMP.astype(float), center, width)
    assert np.abs(picture(ds) - expected).max() <= 0.51


@pytest.mark.parametrize(
    ("center", "width"),
    [
        *(("100", "0"), ("100", "-50"), ("", "50"), ("100", ""), ("NaN", "50"), ("100", "nan")),
        *(("100", "inf"), ("-Infinity", "50"), ("1_0", "50"), ("100", "1e999"), ("1,5", "50")),
        *(("abc", "50"), ("100", "0x10"), ("\\40", "50"), ("100", "--5")),
    ],
)
def test_a_window_that_is_none_leaves_the_range_of_the_frame(center: str, width: str) -> None:
    ds = encoded(data_set(RAMP, 12), WindowCenter=center, WindowWidth=width)
    assert np.abs(picture(ds) - spread(RAMP)).max() <= 0.51


@pytest.mark.parametrize(
    ("center", "width"),
    [(" 2000 ", "+3000"), ("2.0E3", "3000."), ("2000\\5", "3000\\1"), ("2000\0", "3e3")],
)
def test_decimal_strings_are_read_in_all_their_spellings(center: str, width: str) -> None:
    ds = encoded(data_set(RAMP, 12), WindowCenter=center, WindowWidth=width)
    assert np.abs(picture(ds) - linear(RAMP.astype(float), 2000, 3000)).max() <= 0.51


@pytest.mark.parametrize(
    ("slope", "intercept", "used"),
    [
        *(("2", "-100", (2, -100)), ("-1", "4000", (-1, 4000)), ("", "-100", (1, -100))),
        *(("0", "-100", (1, -100)), ("2", "", (2, 0)), ("nan", "inf", (1, 0))),
    ],
)
def test_a_slope_that_is_none_is_1_and_such_an_intercept_is_0(
    slope: str, intercept: str, used: tuple[int, int]
) -> None:
    ds = data_set(RAMP, 12, WindowCenter=1000, WindowWidth=3000)
    ds = encoded(ds, RescaleSlope=slope, RescaleIntercept=intercept)
    values = RAMP * float(used[0]) + used[1]
    assert np.abs(picture(ds) - linear(values, 1000, 3000)).max() <= 0.51


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        *(("MONOCHROME1", None, True), ("MONOCHROME2", None, False)),
        *(("MONOCHROME1", "INVERSE", True), ("MONOCHROME2", "IDENTITY", False)),  # once, not twice
        *(("MONOCHROME1", "IDENTITY", False), ("MONOCHROME2", "INVERSE", True)),  # PS3.4 N.2.1.4
        *(("MONOCHROME1", "LIN OD", True), ("MONOCHROME2", "", False)),
    ],
)
@pytest.mark.parametrize("attributes", [{}, {"WindowCenter": 2048, "WindowWidth": 4096}])
def test_presentation_lut_shape_decides_the_polarity(
    photometric: str, shape: str | None, inverted: bool, attributes: dict[str, int]
) -> None:
    ds = data_set(RAMP, 12, PhotometricInterpretation=photometric, **attributes)
    if shape is not None:
        ds.PresentationLUTShape = shape
    expected = linear(RAMP.astype(float), 2048, 4096) if attributes else spread(RAMP)
    assert np.abs(picture(ds) - (255 - expected if inverted else expected)).max() <= 0.51


def float_image(values: np.ndarray) -> Dataset:
    ds = data_set(np.zeros(values.shape, np.uint8))
    del ds.PixelData, ds.PixelRepresentation, ds.BitsStored, ds.HighBit
    ds.BitsAllocated = 8 * values.dtype.itemsize
    name = "FloatPixelData" if values.dtype.itemsize == 4 else "DoubleFloatPixelData"
    setattr(ds, name, values.tobytes())
    return ds


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
@pytest.mark.parametrize("way", ["voi", "modality", "LINEAR", "LINEAR_EXACT", "SIGMOID", "range"])
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.filterwarnings("error")
def test_what_is_no_number_counts_as_the_smallest(dtype: str, way: str, inverted: bool) -> None:
    values = np.linspace(-50, 300, 36).round().astype(dtype).reshape(6, 6)
    ds = float_image(values)
    if inverted:
        ds.PhotometricInterpretation = "MONOCHROME1"
    if way == "voi":
        ds.VOILUTSequence = table(0, 16, np.arange(0, 65536, 300))
    elif way == "modality":
        ds.ModalityLUTSequence = table(0, 16, np.arange(218) * 300)
    elif way != "range":
        ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = 100, 80, way
    plain = picture(ds)
    odd = values.copy()
    odd[0, 1:4] = np.nan, np.inf, -np.inf
    odd[1, 1] = np.frombuffer(
        b"\1\0\xa0\x7f" if dtype == "<f4" else b"\1\0\0\0\0\0\xf4\x7f", dtype
    )[0]
    setattr(ds, "FloatPixelData" if dtype == "<f4" else "DoubleFloatPixelData", odd.tobytes())
    shown = picture(ds)
    black, white = (255, 0) if inverted else (0, 255)
    same = np.ones((6, 6), bool)
    same[0, 1:4] = same[1, 1] = False
    assert np.abs(shown[same].astype(int) - plain[same]).max() <= 1
    assert abs(int(shown[0, 1]) - black) <= 1 and abs(int(shown[0, 3]) - black) <= 1
    assert abs(int(shown[0, 2]) - white) <= 1 and abs(int(shown[1, 1]) - black) <= 1


@pytest.mark.filterwarnings("error")
def test_numbers_at_the_end_of_their_range_are_black_or_white() -> None:
    values = np.array([[-1.7e308, -1, 0, 1.7e308]] * 2)
    shown = [picture(float_image(values))]
    ds = float_image(values)
    ds.RescaleSlope, ds.RescaleIntercept = "1e300", "-1e300"
    shown.append(picture(ds))
    ds.WindowCenter, ds.WindowWidth = "-1e300", "1e-300"
    shown.append(picture(ds))
    for each in shown:
        assert each[0, 0] == 0
    assert shown[0][0, 3] == shown[2][0, 3] == 255
    nothing = np.full((2, 2), np.nan)
    assert picture(float_image(nothing)).max() == 0


def test_a_frame_takes_rescale_and_window_from_the_innermost_data_set_that_has_them() -> None:
    def group(keyword: str, **values: float) -> Dataset:
        inner, outer = Dataset(), Dataset()
        for name, value in values.items():
            setattr(inner, name, value)
        setattr(outer, keyword, Sequence([inner]))
        return outer

    ds = data_set(np.stack([RAMP] * 3), 12, frames=3)
    # Those of the image are for readers that know no functional groups.
    ds.RescaleSlope, ds.RescaleIntercept = 5, -7
    ds.VOILUTSequence = table(0, 12, np.arange(4096)[::-1])
    shared = group("PixelValueTransformationSequence", RescaleSlope=2)
    shared.FrameVOILUTSequence = group("X", WindowCenter=3000, WindowWidth=900).X
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    first = group("FrameVOILUTSequence", WindowCenter=500, WindowWidth=700)
    second = group("PixelValueTransformationSequence", RescaleSlope=3, RescaleIntercept=-9)
    second.FrameVOILUTSequence = group(
        "X", WindowCenter=2000, WindowWidth=900, VOILUTFunction="SIGMOID"
    ).X
    ds.PerFrameFunctionalGroupsSequence = Sequence([first, second, Dataset()])
    pictures = [data for _, data in outputs(part10(ds), "image/png")]
    x = RAMP.astype(float)
    expected = [
        linear(2 * x, 500, 700),
        sigmoid(3 * x - 9, 2000, 900),
        linear(2 * x, 3000, 900),
    ]
    for data, by_formula in zip(pictures, expected, strict=True):
        assert np.abs(png_decode(data) - by_formula).max() <= 0.51


@pytest.mark.parametrize("signed", [False, True])
def test_padding_with_bits_beyond_bits_stored_is_found_all_the_same(signed: bool) -> None:
    pixels = RAMP.astype(np.int16) - 2048 if signed else RAMP.copy()
    pixels[0, :5] = -2000 if signed else 0xFFFF
    ds = data_set(pixels, 12)
    ds.add_new(0x00280120, "SS" if signed else "US", -2000 if signed else 0xFFFF)
    shown = picture(ds)
    kept = pixels[pixels != pixels[0, 0]].astype(float)
    expected = (kept - kept.min()) / (kept.max() - kept.min()) * 255
    assert np.abs(shown[pixels != pixels[0, 0]] - expected).max() <= 0.51
