"""Palettes of every shape: shown rightly, or refused with a code (PS3.3 C.7.6.3.1.5, C.7.9.2)."""

import struct
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from dicomferry.errors import InstanceError
from tests.pixels.instances import PREFIX, data_set, picture

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
BIG_ENDIAN = f"{PREFIX}.2"


def with_palette(
    pixels: np.ndarray, descriptor: tuple[int, int, int], data: Sequence[bytes], vr: str = "US"
) -> Dataset:
    """An image with the LUT Data of red, green and blue."""
    ds = data_set(pixels, PhotometricInterpretation="PALETTE COLOR")
    for color, each in enumerate(data):
        ds.add_new(0x00281101 + color, vr, list(descriptor))
        ds.add_new(0x00281201 + color, "OW", each)
    return ds


def tables(entries: int, bits: int) -> np.ndarray:
    """Red, green and blue of so many bits, (3, entries)."""
    return np.random.default_rng(entries + bits).integers(0, 1 << bits, (3, entries))


def expected(values: np.ndarray, colors: np.ndarray, first: int, bits: int) -> np.ndarray:
    """The picture by C.7.6.3.1.5: values outside of the table have its first or last entry."""
    places = np.clip(values.astype(int) - first, 0, colors.shape[1] - 1)
    return np.moveaxis(colors[:, places], 0, -1) >> (bits - 8)


@pytest.mark.parametrize(("entries", "first"), [(256, 0), (200, 0), (7, 30), (1, 5), (2, 254)])
@pytest.mark.parametrize("bits", range(8, 17))
def test_entries_of_any_depth_in_words(entries: int, first: int, bits: int) -> None:
    colors = tables(entries, bits)
    ds = with_palette(
        RAMP, (entries, first, bits), [each.astype("<u2").tobytes() for each in colors]
    )
    if (entries, bits) != (1, 8):
        assert np.array_equal(picture(ds), expected(RAMP, colors, first, bits))


@pytest.mark.parametrize(("entries", "said"), product([256, 255, 8, 3], [8, 16]))
@pytest.mark.parametrize("more", [0, 40])
def test_entries_of_8_bits_in_bytes_whatever_depth_is_said(
    entries: int, said: int, more: int
) -> None:
    colors = tables(entries, 8).astype(np.uint8)
    colors[:, :2] = 250  # no entry of a word could be so small
    if said == 16 and more:
        return  # as many words could be a table that is too short
    data = [each.tobytes() + bytes(entries % 2 + more) for each in colors]
    ds = with_palette(RAMP, (entries, 0, said), data)
    assert np.array_equal(picture(ds), expected(RAMP, colors, 0, 8))
    swapped = [np.frombuffer(each, ">u2").astype("<u2").tobytes() for each in data]
    big = with_palette(RAMP, (entries, 0, said), swapped)
    big.PixelData = RAMP.tobytes()
    assert np.array_equal(picture(big, BIG_ENDIAN), expected(RAMP, colors, 0, 8))


@pytest.mark.parametrize("vr", ["SS", "US"])
@pytest.mark.parametrize(("dtype", "first"), [(np.int8, -128), (np.int8, -3), (np.int16, -300)])
def test_the_first_value_of_signed_pixels_is_signed(vr: str, dtype: type, first: int) -> None:
    values = np.linspace(first - 3, first + 260, 256).clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
    pixels = values.astype(dtype).reshape(16, 16)
    colors = tables(256, 8).astype(np.uint8)
    written = first if vr == "SS" else first & 0xFFFF
    ds = with_palette(pixels, (256, written, 8), [each.tobytes() for each in colors], vr)
    assert np.array_equal(picture(ds), expected(pixels, colors, first, 8))


def test_a_table_of_65536_entries_says_0() -> None:
    pixels = np.linspace(0, 65535, 4096).astype(np.uint16).reshape(64, 64)
    colors = tables(65536, 16)
    ds = with_palette(pixels, (0, 0, 16), [each.astype("<u2").tobytes() for each in colors])
    assert np.array_equal(picture(ds), expected(pixels, colors, 0, 16))


@pytest.mark.parametrize(("said", "there"), [(256, 50), (256, 254), (256, 200), (0, 256), (2, 0)])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_table_shorter_than_it_says_is_refused(said: int, there: int, bits: int) -> None:
    if bits == 8 and there * 2 >= (said or 65536):
        return  # as many bytes as are said
    ds = with_palette(RAMP, (said, 0, bits), [bytes(2 * there)] * 3)
    with pytest.raises(InstanceError, match="LOOKUP_TABLE_INVALID"):
        picture(ds)


def test_a_palette_without_one_of_its_parts_is_refused() -> None:
    for tag in (0x00281101, 0x00281103, 0x00281201, 0x00281202):
        ds = with_palette(RAMP, (256, 0, 8), [bytes(256)] * 3)
        del ds[tag]
        with pytest.raises(InstanceError, match="LOOKUP_TABLE_INVALID"):
            picture(ds)
    ds = with_palette(RAMP, (256, 0, 8), [bytes(256)] * 3)
    ds[0x00281101].value = [256, 0]
    with pytest.raises(InstanceError, match="LOOKUP_TABLE_INVALID"):
        picture(ds)


def segmented(segments: Sequence[int], bits: int, entries: int = 256) -> Dataset:
    ds = data_set(RAMP, PhotometricInterpretation="PALETTE COLOR")
    code = "B" if bits == 8 else "H"
    data = struct.pack(f"<{len(segments)}{code}", *segments)
    for color in range(3):
        ds.add_new(0x00281101 + color, "US", [entries, 0, bits])
        ds.add_new(0x00281221 + color, "OW", data + bytes(len(data) % 2))
    return ds


def test_segments_as_the_standard_defines_them() -> None:
    """Discrete, linear, and indirect, which repeats segments that begin at a byte (C.7.9.2)."""
    discrete, linear = [0, 3, 0x1000, 0x2000, 0x3000], [1, 5, 0x8000]
    again = [2, 2, 0, 0]
    own = [0x1000, 0x2000, 0x3000, *(0x3000 + 0x5000 * step / 5 for step in range(1, 6))]
    words = [*discrete, *linear, *again, 2, 1, 10, 0, 1, 235, 0]
    then = [*own, *own, *(0x8000 + 0 * step for step in range(5))]
    down = [0x8000 * (1 - step / 235) for step in range(1, 236)]
    shown = picture(segmented(words, 16))[..., 0]
    levels = np.array([*then, *down]) / 256
    assert np.abs(shown.reshape(-1) - levels).max() <= 1
    eight = [0, 2, 10, 20, 1, 4, 60, 2, 2, 0, 0, 0, 0, 1, 244, 0]
    base = [10, 20, 30, 40, 50, 60]
    shown = picture(segmented(eight, 8))[..., 0]
    down = [60 - 60 * step / 244 for step in range(1, 245)]
    assert np.abs(shown.reshape(-1) - np.array([*base, *base, *down])).max() <= 0.51


@pytest.mark.parametrize(
    "segments",
    [
        [],
        [0],
        [0, 0],
        [1, 256, 5],  # there is nothing to begin from
        [2, 1, 0, 0],
        [0, 1, 5, 1, 0, 9],  # a length of zero
        [0, 1, 5, 0, 0, 1, 255, 9],
        [0, 256, 1, 2],  # cut off
        [0, 1, 5, 1, 255],
        [0, 1, 5, 2, 1, 0],
        [0, 1, 5, 2, 1, 6, 0],  # an indirect segment that is its own
        [0, 1, 5, 2, 65535, 65535, 65535],
        [0, 1, 5, 3, 255, 9],  # of no known kind
        [0, 1, 5, 1, 200, 9],  # fewer entries than said
    ],
)
def test_broken_segments_are_refused(segments: list[int]) -> None:
    with pytest.raises(InstanceError, match="LOOKUP_TABLE_INVALID"):
        picture(segmented(segments, 16))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.lists(st.integers(0, 65535), min_size=1, max_size=9).map(lambda x: [0, len(x), *x]),
            st.tuples(st.just(1), st.integers(1, 90), st.integers(0, 65535)).map(list),
        ),
        max_size=12,
    ),
    st.integers(0, 65535),
)
def test_segments_expand_as_pydicom_expands_them(parts: list[list[int]], last: int) -> None:
    words = [0, 1, 7, *(number for part in parts for number in part), 1, 256, last]
    ds = segmented(words, 16)
    ds.set_original_encoding(False, True)
    assert np.array_equal(picture(ds), apply_color_lut(RAMP, ds) >> 8)


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(
        st.integers(0, 400), st.integers(0, 65535), st.integers(0, 65535) | st.integers(6, 18)
    ),
    st.binary(max_size=600),
    st.sampled_from([0x00281201, 0x00281221]),
    st.booleans(),
)
def test_any_palette_is_shown_or_refused(
    descriptor: tuple[int, int, int], data: bytes, tag: int, signed: bool
) -> None:
    ds = data_set(RAMP.view(np.int8 if signed else np.uint8))
    ds.PhotometricInterpretation = "PALETTE COLOR"
    for color in range(3):
        ds.add_new(0x00281101 + color, "US", list(descriptor))
        ds.add_new(tag + color, "OW", data + bytes(len(data) % 2))
    try:
        assert picture(ds).shape == (16, 16, 3)
    except InstanceError as error:
        assert error.code == "LOOKUP_TABLE_INVALID"
