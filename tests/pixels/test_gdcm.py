"""gdcm as the second reader of what is written."""

from pathlib import Path

import gdcm
import numpy as np
import pytest

from tests.pixels.instances import color, data_set, gray, part10, to_dicom

LOSSLESS = ["", ".1", ".1.99", ".4.57", ".4.70", ".4.80", ".4.90", ".5"]


def read_with_gdcm(path: Path) -> tuple[np.ndarray, str]:
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    image = reader.GetImage()
    buffer = image.GetBuffer().encode("utf-8", "surrogateescape")
    depth = image.GetPixelFormat().GetBitsAllocated()
    interpretation = image.GetPhotometricInterpretation().GetString().strip()
    pixels = np.frombuffer(buffer, f"<u{depth // 8}")
    if image.GetPlanarConfiguration() == 1:
        pixels = pixels.reshape(3, -1).T.reshape(-1)
    return pixels, interpretation


@pytest.mark.parametrize("end", LOSSLESS)
@pytest.mark.parametrize("kind", ["gray8", "gray12", "gray16", "signed", "color", "frames"])
def test_gdcm_reads_the_same_pixels(tmp_path: Path, end: str, kind: str) -> None:
    pixels = {
        "gray8": gray(bits=8),
        "gray12": gray(bits=12),
        "gray16": gray(bits=16),
        "signed": gray(bits=16, signed=True),
        "color": color(),
        "frames": np.stack([gray(bits=12)] * 3),
    }[kind]
    bits = 12 if kind in ("gray12", "frames") else 0
    ds = data_set(
        pixels,
        bits,
        samples=3 if kind == "color" else 1,
        frames=3 if kind == "frames" else 0,
    )
    if kind == "frames":
        ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.3"
    path = tmp_path / "file.dcm"
    source = "1.2.840.10008.1.2" if end else "1.2.840.10008.1.2.1"
    path.write_bytes(to_dicom(part10(ds, source), end))
    found, _ = read_with_gdcm(path)
    expected = pixels.reshape(-1)
    assert np.array_equal(found, expected.view(f"u{expected.dtype.itemsize}"))


@pytest.mark.parametrize("end", [".4.50", ".4.51", ".4.81", ".4.91"])
def test_gdcm_opens_lossy_files(tmp_path: Path, end: str) -> None:
    path = tmp_path / "file.dcm"
    path.write_bytes(to_dicom(part10(data_set(gray(bits=8))), end))
    found, interpretation = read_with_gdcm(path)
    assert np.abs(found.astype(int) - gray(bits=8).reshape(-1)).mean() < 4
    assert interpretation == "MONOCHROME2"
