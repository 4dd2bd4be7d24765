"""What must hold of a DICOM file that was made of another one."""

from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.encaps import generate_frames

from dicomferry.pixels.quality import Quality
from tests.generated import encoders
from tests.generated.case import NATIVE, Case, value_bits
from tests.generated.written import Written, frames_of, overlay_plane

Array = npt.NDArray[Any]
# Photometric Interpretations that PS3.5 8.2 allows of three samples.
_COLORS = {
    ".4.50": {"YBR_FULL_422", "YBR_FULL", "RGB"},
    ".4.51": {"YBR_FULL_422", "YBR_FULL", "RGB"},
    ".4.90": {"YBR_RCT", "RGB", "YBR_FULL"},
    ".4.91": {"YBR_ICT", "YBR_RCT", "RGB", "YBR_FULL"},
    ".4.201": {"YBR_RCT", "RGB", "YBR_FULL"},
    ".4.202": {"YBR_RCT", "RGB", "YBR_FULL"},
    ".4.203": {"YBR_ICT", "YBR_RCT", "RGB", "YBR_FULL"},
    ".4.110": {"RGB"},
    ".4.112": {"RGB", "XYB", "YBR_FULL", "YBR_FULL_422"},
}


# What is lossy in these decoders round alike, but for a few samples.
_ROUNDED = (".4.91", ".4.203", ".4.112")


def check_written(case: Case, written: Written, quality: Quality) -> None:
    """It says what it is, and holds what it should."""
    _check_attributes(case, written)
    _check_pixels(case, written, quality)
    for overlay in case.image.overlays:
        plane = overlay_plane(written, overlay.group)
        assert np.array_equal(plane, case.image.plane(overlay))
    if case.icon is not None:
        _check_icon(case, written)


def _check_attributes(case: Case, written: Written) -> None:
    ds, image, end = written.ds, case.image, written.end
    assert (ds.Rows, ds.Columns, ds.SamplesPerPixel) == (image.rows, image.columns, image.samples)
    assert int(ds.get("NumberOfFrames") or 1) == image.frames
    if not image.is_float:
        assert 1 <= ds.BitsStored <= ds.BitsAllocated
        assert ds.BitsStored - 1 <= ds.HighBit < ds.BitsAllocated
        assert ds.PixelRepresentation == int(image.signed)
    if image.samples == 3 and end in _COLORS:
        assert ds.PhotometricInterpretation in _COLORS[end]
    lossy = end in encoders.LOSSY
    was_lossy = case.end in encoders.LOSSY
    assert (ds.get("LossyImageCompression") == "01") == (lossy or was_lossy)
    assert ("LossyImageCompressionRatio" in ds) == (lossy or was_lossy)
    ratios, methods = (
        ds.get(name, []) for name in ("LossyImageCompressionRatio", "LossyImageCompressionMethod")
    )
    count = lossy + was_lossy
    recompressed = {case.end, end} <= {".4.50", ".4.111"}
    if count and not recompressed:
        assert [np.size(ratios), 1 if isinstance(methods, str) else len(methods)] == [count, count]
    if lossy and not recompressed:
        assert ds.ImageType[0] == "DERIVED"
    elif not was_lossy:
        assert ds.ImageType[0] == "ORIGINAL"


def _check_pixels(case: Case, written: Written, quality: Quality) -> None:
    image, ds = case.image, written.ds
    if written.end == ".4.111":
        streams = [imagecodecs.jpegxl_decode_jpeg(each) for each in _streams(ds)]
        assert [each.rstrip(b"\0") for each in streams] == [
            each.rstrip(b"\0") for each in case.streams
        ]
        return
    values = written.values
    assert values is not None
    if written.end not in encoders.LOSSY:
        if case.end in _ROUNDED:
            assert np.abs(values - case.values).max() <= 1
        else:
            assert np.array_equal(values, case.values, equal_nan=image.is_float)
        if not image.is_float:
            assert (ds.BitsStored, ds.BitsAllocated) == (image.stored, image.allocated)
        if written.end in NATIVE and case.end in NATIVE and not image.is_float:
            assert written.words is not None
            assert np.array_equal(written.words, image.words)
        color = ds.PhotometricInterpretation
        assert (color if not color.startswith("YBR_") else color[:8]) in (
            case.color[:8] if case.color.startswith("YBR_") else case.color,
            {"RGB": "YBR_RCT"}.get(case.color, "YBR_FULL"),
        )
        return
    _check_loss(case, written, quality)


def _streams(ds: Dataset) -> list[bytes]:
    count = int(ds.get("NumberOfFrames") or 1)
    return list(generate_frames(ds.PixelData, number_of_frames=count))


def _check_loss(case: Case, written: Written, quality: Quality) -> None:
    """The error is the coder's own."""
    image, ds, end = case.image, written.ds, written.end
    values = np.asarray(written.values, float)
    before = case.values.astype(float)
    # Samples may stay as they are in a deeper word, as a few bits do in baseline JPEG.
    assert ds.BitsStored >= image.stored
    if image.samples == 3 and end != ".4.81":
        values = _luminance(values, ds.PhotometricInterpretation)
        before = _luminance(before, case.color)
    error = np.abs(values - before)
    extent = (1 << image.stored) - 1
    if end == ".4.81":
        assert error.max() <= quality.jpegls_near + (case.end in _ROUNDED)
    elif end == ".4.112" and image.samples == 1:
        for frame, original in zip(error, before, strict=True):
            assert frame.max() <= 0.05 * (original.max() - original.min())
    elif end in (".4.50", ".4.51"):
        assert error.max() <= max(3, 0.3 * extent)
        assert np.sqrt((error**2).mean()) <= max(1, 0.05 * extent)
    elif end in (".4.91", ".4.203"):
        assert error.max() <= max(3, 0.02 * extent)


def _luminance(values: Array, photometric: str) -> Array:
    """Return what no subsampling has touched."""
    if photometric.startswith("YBR_FULL"):
        return values[..., 0]
    return values @ [0.299, 0.587, 0.114]


def _check_icon(case: Case, written: Written) -> None:
    """The icon is native and what it was, at any depth (PS3.5 A.4)."""
    assert case.icon is not None
    found, image = written.ds, case.icon.image
    for _ in range(case.icon.depth):
        found = found.ReferencedImageSequence[0]
    icon = found.IconImageSequence[0]
    assert not icon["PixelData"].is_undefined_length
    words = frames_of(icon, ".1")
    if case.icon.compressed and case.end in encoders.LOSSY:
        return
    actual = value_bits(words, icon.BitsStored, icon.HighBit, bool(icon.PixelRepresentation))
    assert np.array_equal(actual, image.values)
