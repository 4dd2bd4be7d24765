"""Bits beyond Bits Stored are no value (PS3.5 8.1.1)."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from tests.pixels.instances import data_set, gray, part10, picture, read, to_dicom


def in_words(values: np.ndarray, stored: int, high_bit: int) -> Dataset:
    """A data set that has `values` in Bits Stored bits at High Bit, and noise in all other bits."""
    words = np.dtype(f"u{values.dtype.itemsize}")
    width, lowest = 8 * words.itemsize, high_bit + 1 - stored
    own = ((1 << stored) - 1) << lowest
    noise = np.random.default_rng(5).integers(0, 1 << width, values.shape, words)
    bits = values.view(words).astype(np.uint64) << np.uint64(lowest) & np.uint64(own)
    ds = data_set(
        (bits.astype(words) | noise & words.type(((1 << width) - 1) ^ own)).view(values.dtype)
    )
    ds.BitsStored, ds.HighBit = stored, high_bit
    return ds


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("stored", "high_bit"), [(12, 11), (12, 15), (12, 13), (10, 9), (8, 15), (16, 15), (2, 4)]
)
@pytest.mark.parametrize("attributes", [{}, {"WindowCenter": 50, "WindowWidth": 300}])
def test_gray_is_shown_without_them(
    stored: int, high_bit: int, signed: bool, attributes: dict[str, int]
) -> None:
    low = -(1 << (stored - 1)) if signed else 0
    values = np.linspace(low, low + (1 << stored) - 1, 32 * 32).round().reshape(32, 32)
    values = values.astype(np.int16 if signed else np.uint16)
    ds = in_words(values, stored, high_bit)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    if attributes:
        shown = np.clip((values - 49.5) / 299 + 0.5, 0, 1)
    else:
        shown = (values - float(low)) / ((1 << stored) - 1)
    assert np.abs(picture(ds) - shown * 255).max() <= 0.51


@pytest.mark.parametrize("bit", [0, 12, 15])
def test_an_overlay_in_unused_bits_is_not_shown(bit: int) -> None:
    values = gray((32, 32), 12)
    ds = data_set(values, 12, WindowCenter=2048, WindowWidth=4096)
    shift = 0 if bit else 1
    ds.HighBit = 11 + shift
    words = (values << shift) | (np.indices(values.shape).sum(0) % 2 << bit).astype(np.uint16)
    ds.PixelData = words.tobytes()
    ds.add_new(0x60000010, "US", 32)
    ds.add_new(0x60000011, "US", 32)
    ds.add_new(0x60000040, "CS", "G")
    ds.add_new(0x60000050, "SS", [1, 1])
    ds.add_new(0x60000100, "US", 16)
    ds.add_new(0x60000102, "US", bit)
    expected = np.clip((values - 2047.5) / 4095 + 0.5, 0, 1) * 255
    for data in (ds, read(to_dicom(part10(ds), ".5")), read(to_dicom(part10(ds), ".4.90"))):
        end = str(getattr(data, "file_meta", {}).get("TransferSyntaxUID", "1.2.840.10008.1.2.1"))
        assert np.abs(picture(data, end) - expected).max() <= 0.51


@pytest.mark.parametrize(
    ("stored", "high_bit"), [(8, 7), (8, 15), (12, 11), (12, 15), (5, 4), (3, 9)]
)
def test_color_is_shown_without_them(stored: int, high_bit: int) -> None:
    values = np.linspace(0, (1 << stored) - 1, 16 * 16 * 3).round().reshape(16, 16, 3)
    words = in_words(values.astype(np.uint16), stored, high_bit)
    ds = data_set(np.zeros((16, 16, 3), np.uint16), samples=3, PixelData=words.PixelData)
    ds.BitsStored, ds.HighBit = stored, high_bit
    assert np.abs(picture(ds) - values * 255 / ((1 << stored) - 1)).max() < 1


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("width", "stored"), [(1, 8), (2, 12), (2, 16), (4, 32), (4, 25), (8, 64)])
def test_color_of_any_depth_is_shown_and_has_no_sign(
    photometric: str, signed: bool, width: int, stored: int
) -> None:
    eight = np.random.default_rng(4).integers(0, 256, (16, 16, 3), np.uint8)
    # The lower bits repeat the upper ones, so that 8 bits are the same in each depth.
    deep = sum(eight.astype(object) << shift for shift in range(0, 64, 8))
    samples = np.vectorize(lambda each: each >> (64 - stored), otypes=[f"u{width}"])(deep)
    kind = "i" if signed else "u"
    plain = data_set(eight, samples=3, PhotometricInterpretation=photometric)
    ds = data_set(samples.view(f"{kind}{width}"), stored, samples=3)
    ds.PhotometricInterpretation = photometric
    # In YBR the middle of 8 bits is not that of more.
    tolerance = 1 if photometric == "RGB" else 2
    assert np.abs(picture(ds).astype(int) - picture(plain)).max() <= tolerance


@pytest.mark.parametrize(("stored", "high_bit"), [(4, 3), (4, 7), (6, 6)])
def test_palette_indices_are_read_without_them(stored: int, high_bit: int) -> None:
    values = (np.arange(256) % (1 << stored)).astype(np.uint8).reshape(16, 16)
    ds = in_words(values, stored, high_bit)
    ds.PhotometricInterpretation = "PALETTE COLOR"
    tables = np.random.default_rng(2).integers(0, 256, (3, 1 << stored), np.uint8)
    for color, table in enumerate(tables):
        ds.add_new(0x00281101 + color, "US", [1 << stored, 0, 8])
        ds.add_new(0x00281201 + color, "OW", table.tobytes())
    assert np.array_equal(picture(ds), np.moveaxis(tables[:, values], 0, -1))
