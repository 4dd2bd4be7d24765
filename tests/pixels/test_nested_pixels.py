"""Pixel data within sequences, as in icons, stays readable in every transfer syntax."""

from functools import cache

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from dicomferry.errors import InstanceError
from tests.pixels.instances import PREFIX, color, data_set, gray, part10, read, to_dicom

PIXELS = {"gray": gray((21, 35), 8), "deep": gray((20, 30), 12), "color": color((16, 24))}


@cache
def encoded(kind: str, syntax: str) -> bytes:
    """An instance of these pixels."""
    bits, samples = 12 if kind == "deep" else 8, 3 if kind == "color" else 1
    return to_dicom(part10(data_set(PIXELS[kind], bits, samples=samples)), syntax)


def whole(kind: str, syntax: str) -> Dataset:
    return read(encoded(kind, syntax))


def item(kind: str, syntax: str, undefined: bool) -> Dataset:
    """An icon with the pixels in this syntax."""
    icon = Dataset()
    for element in whole(kind, syntax).group_dataset(0x0028):
        icon.add(element)
    icon.add(whole(kind, syntax)["PixelData"])
    icon.is_undefined_length_sequence_item = undefined
    return icon


def place(ds: Dataset, path: tuple[int, ...], last: Dataset, undefined: bool) -> None:
    """Add sequences within sequences, the innermost of which holds `last` between two others."""
    *outer, inner = path
    held = Dataset()
    held.add_new(inner, "SQ", Sequence([Dataset(), last, Dataset()]))
    held[inner].is_undefined_length = undefined
    for tag in reversed(outer):
        wrapped = Dataset()
        held.ReferencedSOPInstanceUID = "1.2.3"
        wrapped.add_new(tag, "SQ", Sequence([held]))
        wrapped[tag].is_undefined_length = undefined
        held = wrapped
    ds.update(held)


PATHS = {
    "icon": (0x00880200,),
    "another sequence": (0x00081140,),
    "three deep": (0x00081115, 0x0008114A, 0x00880200),
    "private": (0x00091001, 0x00880200),
    "after the pixels": (0xFFFAFFFA, 0x00880200),
}


def found(ds: Dataset, path: tuple[int, ...]) -> Dataset:
    *outer, inner = path
    for tag in outer:
        ds = ds[BaseTag(tag)].value[0]
    assert len(ds[BaseTag(inner)].value) == 3
    return ds[BaseTag(inner)].value[1]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("syntax", "kind"),
    [(".4.50", "gray"), (".4.50", "color"), (".4.70", "deep"), (".4.90", "gray"), (".5", "deep")],
)
@pytest.mark.parametrize("undefined", [False, True])
def test_encapsulated_ones_become_native_at_any_depth(
    path: str, syntax: str, kind: str, undefined: bool
) -> None:
    ds = whole("gray", syntax)
    ds.add_new(0x00090010, "LO", "MAKER")
    place(ds, PATHS[path], item(kind, syntax, undefined), undefined)
    source = part10(ds, f"{PREFIX}{syntax}")
    before, pixels = found(read(source), PATHS[path]), whole(kind, syntax).pixel_array
    for end in (".1.99", ".4.80") if undefined else ("", ".1"):
        result = read(to_dicom(source, end))
        if path == "private" and end == "":
            continue  # a sequence that nobody knows is UN
        after = found(result, PATHS[path])
        assert not after["PixelData"].is_undefined_length
        after.file_meta = whole(kind, ".1").file_meta
        after["PixelData"].VR = "OW" if kind == "deep" else "OB"
        assert np.array_equal(after.pixel_array, pixels)
        assert (after.Rows, after.Columns) == (before.Rows, before.Columns)
        if kind == "color":
            assert (before.PhotometricInterpretation, after.PhotometricInterpretation) == (
                "YBR_FULL_422",
                "YBR_FULL",
            )


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", PIXELS)
@pytest.mark.parametrize("source", ["", ".1", ".2"])
def test_native_ones_stay_as_they_are(path: str, kind: str, source: str) -> None:
    icon = item(kind, ".1", undefined=False)
    words = icon.PixelData
    if source == ".2":
        icon.PixelData = np.frombuffer(words + bytes(len(words) % 2), "<u2").astype(">u2").tobytes()
    icon["PixelData"].VR = "OW"
    ds = data_set(PIXELS["deep"], 12)
    if source == ".2":
        ds.PixelData = PIXELS["deep"].astype(">u2").tobytes()
    ds.add_new(0x00090010, "LO", "MAKER")
    place(ds, PATHS[path], icon, undefined=False)
    for end in (".4.80", "" if source else ".1"):
        result = read(to_dicom(part10(ds, f"{PREFIX}{source}"), end))
        if path == "private" and (source == "" or end == ""):
            continue  # a sequence that nobody knows is UN
        assert found(result, PATHS[path]).PixelData == words, end
        assert np.array_equal(result.pixel_array, PIXELS["deep"])


def test_one_that_cannot_be_decoded_fails_its_instance() -> None:
    ds = whole("gray", ".4.90")
    broken = item("gray", ".4.90", undefined=False)
    broken.Rows = 22
    place(ds, PATHS["three deep"], broken, undefined=True)
    for end in (".1", ".4.80"):
        with pytest.raises(InstanceError, match="CODE_STREAM_MISMATCH"):
            to_dicom(part10(ds, f"{PREFIX}.4.90"), end)
