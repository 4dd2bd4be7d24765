"""Bits of a sample that hold no value (PS3.5 8.1.1), and few bits in many."""

import shutil
import subprocess
from pathlib import Path

import gdcm
import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicomferry.pixels.quality import Quality
from tests.pixels.instances import color, data_set, gray, part10, read, to_dicom

LOSSY = [".4.51", ".4.81", ".4.91", ".4.203", ".4.112"]
LOSSLESS = [".4.57", ".4.70", ".4.80", ".4.90", ".4.110", ".4.201", ".4.202", ".5", ".8.1"]


def words_of(data: bytes) -> np.ndarray:
    """All bits of the pixels once they are native again."""
    ds = read(to_dicom(data, ".1"))
    size = int(ds.get("NumberOfFrames", 1)) * ds.Rows * ds.Columns * ds.SamplesPerPixel
    kind = f"<{'i' if ds.PixelRepresentation else 'u'}{ds.BitsAllocated // 8}"
    return np.frombuffer(ds.PixelData, kind, count=size)


def plane(rows: int, columns: int) -> np.ndarray:
    """Bits of an overlay: noise, which a lossy coder would not leave alone."""
    return np.random.default_rng(5).integers(0, 2, (rows, columns), dtype=np.uint16)


def embedded(values: np.ndarray, bits: int, at: dict[int, int]) -> tuple[Dataset, np.ndarray]:
    """Values with an overlay in the bit `at[group]` of each; and the overlays' bits."""
    frames = values.shape[0] if values.ndim == 3 else 0
    planes = np.stack([plane(*values.shape[-2:]) for _ in range(max(1, frames))])
    planes[-1] ^= 1
    words = values.view(np.uint16) & np.uint16((1 << bits) - 1)
    for bit in at.values():
        words = words | (planes.reshape(values.shape) << np.uint16(bit))
    ds = data_set(words.view(values.dtype), bits, frames=frames)
    for group, bit in at.items():
        ds.add_new((group, 0x0010), "US", values.shape[-2])
        ds.add_new((group, 0x0011), "US", values.shape[-1])
        ds.add_new((group, 0x0040), "CS", "G")
        ds.add_new((group, 0x0050), "SS", [1, 1])
        ds.add_new((group, 0x0100), "US", 16)
        ds.add_new((group, 0x0102), "US", bit)
    return ds, planes


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("end", LOSSY)
def test_overlays_leave_the_pixels_before_a_lossy_encoder(end: str, signed: bool) -> None:
    if signed and end in (".4.51", ".4.112"):
        return  # refused, whatever the bits are
    values = gray((64, 70), 12, signed)
    ds, planes = embedded(values, 12, {0x6000: 12, 0x6004: 15})
    with_overlays = to_dicom(part10(ds), end)
    result = read(with_overlays)
    assert np.array_equal(
        words_of(with_overlays), words_of(to_dicom(part10(data_set(values, 12)), end))
    )
    for group in (0x6000, 0x6004):
        assert np.array_equal(result.overlay_array(group), planes[0])
        assert (result[group, 0x0100].value, result[group, 0x0102].value) == (1, 0)
        assert result[group, 0x0040].value == "G"


@pytest.mark.parametrize(("allocated", "bits"), [(8, 7), (8, 4), (16, 8), (16, 7)])
@pytest.mark.parametrize("end", [".4.50", *LOSSY])
def test_overlays_beside_few_bits_leave_too(end: str, allocated: int, bits: int) -> None:
    values = gray((64, 64), bits).astype(f"u{allocated // 8}")
    overlay = plane(64, 64).astype(values.dtype)
    ds = data_set(values | overlay << (allocated - 1), bits)
    ds.add_new((0x6000, 0x0102), "US", allocated - 1)
    data, without = (to_dicom(part10(each), end) for each in (ds, data_set(values, bits)))
    assert np.array_equal(words_of(data), words_of(without))
    assert np.array_equal(read(data).overlay_array(0x6000), overlay)


@pytest.mark.parametrize("end", LOSSLESS)
def test_a_lossless_target_keeps_every_bit_that_means_something(end: str) -> None:
    ds, _ = embedded(gray((64, 70), 12), 12, {0x6000: 12})
    data = to_dicom(part10(ds), end)
    assert words_of(data).tobytes() == ds.PixelData
    assert (0x6000, 0x3000) not in read(data)


def test_overlays_of_several_frames_follow_each_other_bit_by_bit() -> None:
    values = np.stack([gray((65, 67), 12)] * 3)
    ds, planes = embedded(values, 12, {0x6002: 14})
    result = read(to_dicom(part10(ds), ".4.91"))
    assert np.array_equal(result.overlay_array(0x6002), planes)
    assert (result[0x6002, 0x0015].value, result[0x6002, 0x0051].value) == (3, 1)


def test_overlays_that_have_data_or_no_place_of_their_own_stay_as_they_are() -> None:
    ds, _ = embedded(gray((64, 64), 12), 12, {0x6000: 12})
    ds.add_new((0x6000, 0x3000), "OW", bytes(range(256)) * 2)
    ds.add_new((0x6002, 0x0102), "US", 3)  # a bit of the value
    ds.add_new((0x6004, 0x0102), "US", 16)  # beyond the word
    data = to_dicom(part10(ds), ".4.81")
    result = read(data)
    assert result[0x6000, 0x3000].value == bytes(range(256)) * 2
    assert result[0x6000, 0x0102].value == 12
    assert (0x6002, 0x3000) not in result and (0x6004, 0x3000) not in result
    error = words_of(data).astype(int) - gray((64, 64), 12).reshape(-1)
    assert np.abs(error).max() <= 2


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("bits", "high"), [(12, 15), (10, 12), (8, 15)])
@pytest.mark.parametrize("end", LOSSY)
def test_values_are_shifted_from_high_bit_for_a_lossy_encoder(
    end: str, bits: int, high: int, signed: bool
) -> None:
    if signed and end in (".4.51", ".4.112"):
        return  # refused, whatever the bits are
    values = gray((64, 64), bits, signed).astype(f"{'i' if signed else 'u'}2")
    below = high + 1 - bits
    words = (values << below) | 1  # a bit that is no part of the value
    shifted = to_dicom(part10(data_set(words, bits, HighBit=high)), end)
    plain = to_dicom(part10(data_set(values, bits)), end)
    assert np.array_equal(words_of(shifted), words_of(plain))
    result = read(shifted)
    assert result.HighBit == result.BitsStored - 1


@pytest.mark.parametrize("end", LOSSLESS)
def test_a_high_bit_elsewhere_stays_where_nothing_is_lost(end: str) -> None:
    words = gray((64, 64), 12) << 4
    data = to_dicom(part10(data_set(words, 12, HighBit=15)), end)
    assert np.array_equal(words_of(data), words.reshape(-1))
    assert (read(data).BitsStored, read(data).HighBit) == (12, 15)


FEW = [(8, 2), (8, 4), (8, 7), (16, 1), (16, 4), (16, 7), (16, 8), (16, 9), (16, 12)]


def few(allocated: int, bits: int, signed: bool = False) -> np.ndarray:
    """Every number that so many bits can say, the extremes too."""
    values = np.random.default_rng(bits).integers(0, 1 << bits, (48, 50))
    values -= (1 << (bits - 1)) if signed else 0
    return values.astype(f"{'i' if signed else 'u'}{allocated // 8}")


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("allocated", "bits"), FEW)
@pytest.mark.parametrize("end", LOSSLESS)
def test_few_bits_in_many_are_lossless(end: str, allocated: int, bits: int, signed: bool) -> None:
    values = few(allocated, bits, signed)
    data = to_dicom(part10(data_set(values, bits)), end)
    assert np.array_equal(words_of(data), values.reshape(-1))
    assert (read(data).BitsAllocated, read(data).BitsStored) == (allocated, bits)


@pytest.mark.parametrize("near", [1, 3])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("allocated", "bits"), FEW)
@pytest.mark.parametrize("full", [True, False])
def test_near_lossless_keeps_few_bits_within_near_and_within_what_they_can_say(
    allocated: int, bits: int, signed: bool, near: int, full: bool
) -> None:
    values = few(allocated, bits, signed)
    values = values if full else values // 2
    data = to_dicom(part10(data_set(values, bits)), ".4.81", Quality(jpegls_near=near))
    found = words_of(data).astype(int)
    assert np.abs(found - values.reshape(-1)).max() <= near
    lowest = -(1 << (bits - 1)) if signed else 0
    assert lowest <= found.min() and found.max() < lowest + (1 << bits)


def _with_gdcm(path: Path, to: Path) -> None:
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(to))
    assert writer.Write()


def _with_dcmtk(path: Path, to: Path) -> None:
    if shutil.which("dcmdjpls") is None:
        pytest.skip("dcmdjpls of dcmtk is not installed")
    subprocess.run(["dcmdjpls", path, to], check=True)


@pytest.mark.parametrize("reader", [_with_gdcm, _with_dcmtk])
@pytest.mark.parametrize(("allocated", "bits"), FEW)
@pytest.mark.parametrize("end", [".4.80", ".4.81"])
def test_gdcm_and_dcmtk_read_jpeg_ls_of_few_bits(
    tmp_path: Path, end: str, allocated: int, bits: int, reader: object
) -> None:
    """They take a depth of 8 or less for bytes; dcmtk has no default parameters for less."""
    values = few(allocated, bits)
    path, native = tmp_path / "in.dcm", tmp_path / "out.dcm"
    path.write_bytes(to_dicom(part10(data_set(values, bits)), end))
    reader(path, native)  # type: ignore[operator]
    found = words_of(native.read_bytes()).astype(int)
    assert np.abs(found - values.reshape(-1)).max() <= (2 if end == ".4.81" else 0)


def test_color_of_few_bits_is_lossless() -> None:
    values = color() >> 2
    for end in (".4.80", ".4.70", ".4.90", ".4.110", ".5"):
        data = to_dicom(part10(data_set(values, 6, samples=3)), end)
        assert np.array_equal(words_of(data), values.reshape(-1)), end
