"""The pictures that dcmtk and dicom3tools make, as judges of ours."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from tests.pixels.instances import PREFIX, to_dicom

# dcm2pnm reads what is not compressed, and RLE; what no tool reads comes decoded by us.
_BY_SYNTAX = {
    **dict.fromkeys([f"{PREFIX}{end}" for end in ("", ".1", ".1.99", ".2", ".5")], "dcm2pnm"),
    **dict.fromkeys([f"{PREFIX}.4.{end}" for end in (50, 51, 53, 55, 57, 70)], "dcmj2pnm"),
    **dict.fromkeys([f"{PREFIX}.4.{end}" for end in (80, 81)], "dcml2pnm"),
}
HAS_DCMTK = all(map(shutil.which, set(_BY_SYNTAX.values())))
HAS_DCTOPGM8 = shutil.which("dctopgm8") is not None


def read_header(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data), force=True, stop_before_pixels=True)


def dcmtk_picture(data: bytes, folder: Path, frame: int = 0) -> np.ndarray | None:
    """One frame as dcmtk shows it, None if it does not.

    It is told to do as we do: no overlays; the window that holds for the frame, else from the
    smallest value of the frame to its largest.
    """
    header = read_header(data)
    syntax = str(header.get("file_meta", {}).get("TransferSyntaxUID", PREFIX))
    tool = _BY_SYNTAX.get(syntax)
    if tool is None:
        tool, data = "dcm2pnm", to_dicom(data, ".1")
    source = folder / "source.dcm"
    source.write_bytes(data)
    command = [tool, "--no-overlays", "--write-raw-pnm", "--frame", str(frame + 1)]
    return _run([*command, *_voi_flags(header, frame), str(source)])


def dctopgm8_picture(data: bytes, folder: Path) -> np.ndarray | None:
    """A gray, native frame as dicom3tools shows it, None if it does not."""
    source = folder / "source.dcm"
    source.write_bytes(data)
    return _run(["dctopgm8", "-quiet", str(source)])


def _run(command: list[str]) -> np.ndarray | None:
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    return _read_pnm(done.stdout) if done.returncode == 0 and done.stdout else None


def _voi_flags(header: Dataset, frame: int) -> list[str]:
    """Which VOI transformation dcmtk takes; of functional groups it knows nothing."""
    if header.SamplesPerPixel != 1 or header.PhotometricInterpretation == "PALETTE COLOR":
        return []
    groups = [*header.get("PerFrameFunctionalGroupsSequence", [])[frame : frame + 1]]
    groups += header.get("SharedFunctionalGroupsSequence", [])
    for group in groups:
        for voi in group.get("FrameVOILUTSequence", []):
            center, width = _first(voi.WindowCenter), _first(voi.WindowWidth)
            return ["--set-window", str(center), str(width)]
    if header.get("VOILUTSequence"):
        return ["--use-voi-lut", "1"]
    if header.get("WindowWidth") and _first(header.WindowWidth) > 0:
        return ["--use-window", "1"]
    return ["--min-max-window"]


def _first(value: object) -> float:
    return float(value[0] if hasattr(value, "__getitem__") else value)  # type: ignore[arg-type]


def _read_pnm(data: bytes) -> np.ndarray:
    """Read a raw PGM or PPM of 8 bits."""
    words: list[bytes] = []
    stream = io.BytesIO(data)
    while len(words) < 4:
        words += stream.readline().split(b"#")[0].split()
    kind, columns, rows, _ = words
    shape = (int(rows), int(columns), 3) if kind == b"P6" else (int(rows), int(columns))
    return np.frombuffer(stream.read(), np.uint8)[: np.prod(shape)].reshape(shape)
