"""Take the screenshots of the docs again: `python -m tests.docs.screenshot`. Needs Chromium.

The pages show a store of phantoms: images that this module draws, with generated names and UIDs. It
imports nothing else, and stops if a page shows an attribute value of even these.
"""

import io
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

import dicomferry
from dicomferry.api.access import NoLogin
from dicomferry.storage.registry import open_storage
from tests.console.consoles import DATASET, serving
from tests.docs.pages import REPOSITORY

IMAGES = REPOSITORY / "docs" / "images"
PATIENT = {"PatientName": "Generated^Phantom", "PatientID": "PHANTOM-0001"}
_SIZE = 256
_STORE = f"/console/{DATASET}/dicomStores/trial"
# Storage classes by modality, PS3.4 B.5.
_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
}
# Center and half-axes (x, y), and how much brighter: fractions of the image, in the manner of
# Shepp and Logan (1974).
_ELLIPSES = (
    (0.00, 0.00, 0.72, 0.92, 0.90),
    (0.00, 0.00, 0.66, 0.86, -0.60),
    (0.24, 0.04, 0.13, 0.34, -0.20),
    (-0.24, 0.04, 0.17, 0.42, -0.20),
    (0.00, -0.40, 0.22, 0.26, 0.25),
    (0.00, 0.30, 0.08, 0.08, 0.40),
)


def phantom(z: float) -> np.ndarray:
    """One slice of a head that is a sum of ellipsoids: (256, 256) in uint16; z is -1 to 1."""
    y, x = np.mgrid[-1 : 1 : _SIZE * 1j, -1 : 1 : _SIZE * 1j]
    scale = max(1 - z * z, 0.05) ** 0.5
    slice_ = np.zeros((_SIZE, _SIZE))
    for center_x, center_y, half_x, half_y, brightness in _ELLIPSES:
        inside = ((x - center_x) / half_x) ** 2 + ((y - center_y) / half_y) ** 2 <= scale**2
        slice_[inside] += brightness
    return (slice_.clip(0, 1) * 4095).astype(np.uint16)


def part10(modality: str, study: str, series: str, number: int) -> bytes:
    """A phantom as a Part 10 file; UIDs are those of its place in the set."""
    instance = Dataset()
    instance.file_meta = FileMetaDataset()
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance.SOPClassUID = _CLASSES[modality]
    instance.SOPInstanceUID = generate_uid(entropy_srcs=[series, str(number)])
    instance.StudyInstanceUID, instance.SeriesInstanceUID = study, series
    instance.Modality, instance.InstanceNumber = modality, number
    for keyword, value in PATIENT.items():
        setattr(instance, keyword, value)
    instance.Rows = instance.Columns = _SIZE
    instance.BitsAllocated, instance.BitsStored, instance.HighBit = 16, 12, 11
    instance.PixelRepresentation, instance.SamplesPerPixel = 0, 1
    instance.PhotometricInterpretation = "MONOCHROME2"
    instance.PixelData = phantom((number - 6) / 6).tobytes()
    buffer = io.BytesIO()
    instance.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def files() -> Iterator[tuple[str, bytes]]:
    """Names and bytes of four series in three studies, a copy, and three files that fail."""
    for study_number, modalities in enumerate((("CT", "PT"), ("MR",), ("CT",)), 1):
        study = generate_uid(entropy_srcs=["study", str(study_number)])
        for modality in modalities:
            series = generate_uid(entropy_srcs=[study, modality])
            for number in range(1, 12):
                name = f"study-{study_number}/{modality}-{number:03}.dcm"
                yield name, part10(modality, study, series, number)
    first = part10("CT", study, series, 1)
    yield "study-3/copy-of-CT-001.dcm", first
    yield "study-3/CT-012.dcm", part10("CT", study, series, 12)[:-5000]
    yield "study-3/CT-013.dcm", b""
    yield "study-3/report.pdf", b"%PDF-1.7"


def shoot(url: str, file: Path, height: int) -> None:
    """Write a PNG of a page, in 256 colors; raise if the page shows an attribute of the patient."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "install chromium"
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={scratch}/profile", "--virtual-time-budget=5000",
            f"--window-size=1100,{height}",
        ]  # fmt: skip
        text = subprocess.run([*command, "--dump-dom", url], check=True, capture_output=True).stdout
        shown = [value for value in PATIENT.values() if value.encode() in text]
        assert not shown, f"{url} shows {shown}"
        shot = Path(scratch) / "shot.png"
        subprocess.run([*command, f"--screenshot={shot}", url], check=True, capture_output=True)
        file.parent.mkdir(exist_ok=True)
        Image.open(shot).convert("RGB").quantize(256).save(file, optimize=True)


def main() -> None:
    """Import the phantoms into a store, and take the pages of the import and of its pictures."""
    folder = Path(tempfile.gettempdir()) / "archive"
    folder.mkdir()
    try:
        for name, content in files():
            (folder / "incoming" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "incoming" / name).write_bytes(content)
        store = dicomferry.create_store("trial", root=folder / "stores")
        with mock.patch("getpass.getuser", return_value="curator"):
            result = store.import_files(f"{folder}/incoming/**")
        with serving(open_storage(str(folder / "stores")), NoLogin()) as browser:
            operation = f"{browser.url}/console/{result.operation}"
            shoot(operation, IMAGES / "console-operation.png", 900)
            shoot(f"{browser.url}{_STORE}/preview", IMAGES / "console-preview.png", 510)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
