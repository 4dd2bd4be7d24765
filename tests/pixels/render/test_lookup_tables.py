"""Modality LUT and VOI LUT in every shape (PS3.3 C.11.1.1, C.11.2.1.1)."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence

from dicomferry.errors import InstanceError
from tests.pixels.instances import PREFIX, data_set, picture

RAMP = np.arange(0, 4096, 4, dtype=np.uint16).reshape(32, 32)
SIGNED = (RAMP.astype(np.int16) - 2048).astype(np.int16)
BIG_ENDIAN = f"{PREFIX}.2"


def table(
    first: int, bits: int, entries: np.ndarray, data: bytes | None = None, **odd: Any
) -> Sequence:
    """A sequence of one LUT; its descriptor may say another number or VR than there is."""
    item = Dataset()
    vr = odd.get("vr", "SS" if first < 0 else "US")
    item.add_new(0x00283002, vr, [odd.get("said", len(entries) % 65536), first, bits])
    item.add_new(0x00283006, "OW", entries.astype("<u2").tobytes() if data is None else data)
    return Sequence([item])


def entries(count: int, bits: int) -> np.ndarray:
    return np.random.default_rng(count + bits).integers(0, 1 << bits, count)


def looked_up(values: np.ndarray, first: int, found: np.ndarray) -> np.ndarray:
    """The formula of C.11.1.1.1: values outside of the table have its first or last entry."""
    return found[np.clip(np.floor(values.astype(float)) - first, 0, len(found) - 1).astype(int)]


def assert_shown(ds: Dataset, gray: np.ndarray, syntax: str = f"{PREFIX}.1") -> None:
    """The picture is `gray`, in 0 to 1."""
    assert np.abs(picture(ds, syntax) - gray * 255).max() <= 0.51


@pytest.mark.parametrize("bits", range(8, 17))
@pytest.mark.parametrize(("count", "first"), [(4096, 0), (100, 2000), (1, 3), (300, -1024)])
def test_a_voi_lut_of_any_depth(bits: int, count: int, first: int) -> None:
    found = entries(count, bits)
    if (count, bits) == (1, 8):
        return  # a word of two entries
    ds = data_set(SIGNED if first < 0 else RAMP, 12, VOILUTSequence=table(first, bits, found))
    highest = (1 << bits) - 1
    assert_shown(ds, looked_up(SIGNED if first < 0 else RAMP, first, found) / highest)


@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize("syntax", [f"{PREFIX}.1", BIG_ENDIAN])
@pytest.mark.parametrize("count", [255, 256, 4096])
def test_entries_of_8_bits_in_bytes(keyword: str, syntax: str, count: int) -> None:
    found = entries(count, 8)
    found[:2] = 0, 255
    found[-1] = 200
    data = found.astype(np.uint8).tobytes() + bytes(count % 2)
    big = syntax == BIG_ENDIAN
    if big:
        data = np.frombuffer(data, ">u2").astype("<u2").tobytes()
    pixels = RAMP.astype(">u2").view("<u2") if big else RAMP
    ds = data_set(pixels, 12, WindowCenter=128, WindowWidth=256)  # all that 8 bits hold
    setattr(ds, keyword, table(0, 8, found, data))
    assert_shown(ds, looked_up(RAMP, 0, found) / 255, syntax)


def test_a_table_of_65536_entries_says_0() -> None:
    found = entries(65536, 12)
    pixels = np.linspace(0, 65535, 1024).astype(np.uint16).reshape(32, 32)
    ds = data_set(pixels, VOILUTSequence=table(0, 12, found))
    assert_shown(ds, looked_up(pixels, 0, found) / 4095)


def test_more_entries_than_said_are_left_out_and_fewer_are_a_failure() -> None:
    found = entries(500, 12)
    longer = data_set(RAMP, 12, VOILUTSequence=table(0, 12, found, said=400))
    assert_shown(longer, looked_up(RAMP, 0, found[:400]) / 4095)
    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
        shorter = data_set(RAMP, 12)
        setattr(shorter, keyword, table(0, 12, found, said=501))
        with pytest.raises(InstanceError, match="LOOKUP_TABLE_INVALID"):
            picture(shorter)
        getattr(shorter, keyword)[0].LUTData = b""
        with pytest.raises(InstanceError, match="LOOKUP_TABLE_INVALID"):
            picture(shorter)


def test_a_depth_that_makes_no_sense_is_that_of_the_largest_entry() -> None:
    for bits, real in ((0, 10), (6, 8), (17, 16), (65535, 12)):
        found = entries(4096, real)
        found[:1] = (1 << real) - 1
        ds = data_set(RAMP, 12, VOILUTSequence=table(0, bits, found))
        assert_shown(ds, looked_up(RAMP, 0, found) / ((1 << real) - 1))


def test_bits_beyond_those_that_are_said_are_no_part_of_an_entry() -> None:
    found = entries(4096, 12)
    ds = data_set(RAMP, 12, VOILUTSequence=table(0, 12, found | 0xA000))
    assert_shown(ds, looked_up(RAMP, 0, found) / 4095)


def test_an_empty_item_is_no_table() -> None:
    ds = data_set(RAMP, 12, WindowCenter=2048, WindowWidth=4096)
    plain = picture(ds)
    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
        setattr(ds, keyword, Sequence([Dataset()]))
    assert np.array_equal(picture(ds), plain)


@pytest.mark.parametrize("first", [40000, 33000])
@pytest.mark.parametrize("pixels", [SIGNED, RAMP])
def test_after_a_modality_lut_the_first_value_of_a_voi_lut_is_unsigned(
    pixels: np.ndarray, first: int
) -> None:
    modality = np.arange(4096) * 15 + 2000
    lowest = int(pixels.min())
    ds = data_set(pixels, 12, ModalityLUTSequence=table(lowest, 16, modality))
    found = np.sort(entries(4096, 12))
    ds.VOILUTSequence = table(first, 12, found)
    assert_shown(ds, looked_up(looked_up(pixels, lowest, modality), first, found) / 4095)


@pytest.mark.parametrize(
    ("pixels", "slope", "intercept", "signed"),
    [
        (SIGNED, 1, 0, True),
        (RAMP, 1, -1024, True),
        (RAMP, -1, 0, True),
        (SIGNED, 8, 16384, False),
        (RAMP, 16, 0, False),
    ],
)
def test_the_first_value_of_a_voi_lut_is_signed_where_a_value_before_it_may_be(
    pixels: np.ndarray, slope: int, intercept: int, signed: bool
) -> None:
    """The VR is US throughout, so the bits alone do not tell."""
    first = -1000 if signed else 33000
    found = np.arange(4096)
    lut = table(first % 65536, 12, found, vr="US")
    ds = data_set(pixels, 12, VOILUTSequence=lut, RescaleSlope=slope, RescaleIntercept=intercept)
    values = pixels.astype(float) * slope + intercept
    assert_shown(ds, looked_up(values, first, found) / 4095)


@settings(max_examples=40, deadline=None)
@given(
    st.booleans(),
    st.integers(2, 400),
    st.integers(-3000, 3000),
    st.sampled_from([10, 12, 16]),
    st.integers(-3000, 3000),
)
def test_both_tables_are_applied_as_pydicom_applies_them(
    signed: bool, count: int, first: int, bits: int, voi_first: int
) -> None:
    pixels = SIGNED if signed else RAMP
    first, voi_first = first if signed else abs(first), abs(voi_first)
    ds = data_set(pixels, 12, ModalityLUTSequence=table(first, 16, entries(count, 12)))
    ds.VOILUTSequence = table(voi_first, bits, entries(500, bits))
    ds.set_original_encoding(False, True)
    values = apply_modality_lut(pixels, ds).astype(np.int32)
    assert_shown(ds, apply_voi_lut(values, ds, prefer_lut=True) / ((1 << bits) - 1))
