"""dciodvfy, of dicom3tools, finds nothing in a transcoded file but what its source has.

It checks a file against the IOD of its SOP Class, and Image Pixel attributes against the transfer
syntax. It is no library; Debian's package dicom3tools has it. DICOMFERRY_WHOLE_CORPUS=1 tries
every file of the corpus in every syntax.
"""

import io
import os
import re
import shutil
import subprocess
import warnings
import zlib
from collections import Counter
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_file_meta_info

from dicomferry.errors import InstanceError
from dicomferry.pixels.formats import DICOM, FORMATS
from tests.corpus import corpus_files
from tests.pixels.instances import PREFIX, color, data_set, part10, to_dicom

pytestmark = pytest.mark.skipif(
    shutil.which("dciodvfy") is None,
    reason="dciodvfy is missing: install Debian's package dicom3tools",
)
WHOLE = os.environ.get("DICOMFERRY_WHOLE_CORPUS") == "1"
ENOUGH = 5
LARGEST = 2_000_000
ENDS = [
    form.transfer_syntax.removeprefix(PREFIX)
    for form in FORMATS
    if form.media_type == DICOM and form.transfer_syntax != "*"
]
# It knows the syntaxes of 2022, and cannot inflate. So it is told the nearest one that it knows:
# one with the same Photometric Interpretations.
TOLD = {
    ".1.99": ".1",
    ".4.110": ".5",
    ".4.111": ".4.50",
    ".4.112": ".5",
    ".4.201": ".4.90",
    ".4.202": ".4.90",
    ".4.203": ".4.91",
    ".8.1": ".5",
}


def as_known(data: bytes, folder: Path) -> Path:
    """The file, under a syntax that the checker knows."""
    path = folder / "file.dcm"
    path.write_bytes(data)
    if data[128:132] != b"DICM":
        return path
    meta = read_file_meta_info(path)
    end = str(meta.get("TransferSyntaxUID", "")).removeprefix(PREFIX)
    if end not in TOLD:
        return path
    start = 144 + meta.FileMetaInformationGroupLength
    rest = data[start:]
    meta.TransferSyntaxUID = PREFIX + TOLD[end]
    buffer = io.BytesIO()
    write_file_meta_info(buffer, meta, enforce_standard=False)
    if end == ".1.99":
        rest = zlib.decompressobj(-zlib.MAX_WBITS).decompress(rest)
    path.write_bytes(data[:132] + buffer.getvalue() + rest)
    return path


def errors(data: bytes, folder: Path) -> Counter[str]:
    """What the checker calls an error, without hexadecimal numbers."""
    done = subprocess.run(
        ["dciodvfy", "-new", as_known(data, folder)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
    )
    assert done.returncode >= 0, done.stdout
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return Counter(
        re.sub(r"0x[0-9a-f]+", "0x", line) for line in lines if line.startswith(("Error", "Abort"))
    )


def breaks_the_checker(data: bytes, end: str) -> bool:
    """Whether it aborts, on native samples of 32 bits or more, or gives up.

    In Implicit VR it has to know the sign of pixels for each palette, which is unsigned.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            file = dcmread(io.BytesIO(data), force=True)
            bits = int(file.get("BitsAllocated") or 0)
        except (InvalidDicomError, ValueError, TypeError):
            return False
    return bits > 16 or (end == "" and "PixelRepresentation" not in file)


def is_explained(error: str, end: str) -> bool:
    """Whether an error is due to two rules that cannot both be kept, or to the checker."""
    # YBR_FULL_422 decompressed is YBR_FULL, color by pixel. Ultrasound images have it by plane,
    # if at all; RGB would suit them, but would be rounded.
    planar = "PlanarConfiguration(0028,0006)[1]> - Unrecognized enumerated value"
    if "<YBR_FULL>" in error or f"{planar} = <0>" in error:
        return True
    # RLE is by plane (PS3.5, Section G.2), and microscopy wants color by pixel.
    return end == ".5" and planar in error


@pytest.mark.parametrize("end", ENDS)
def test_no_syntax_adds_an_error(tmp_path: Path, end: str) -> None:
    files = [path for path in corpus_files() if path.stat().st_size <= LARGEST]
    first = ENDS.index(end) * len(files) // len(ENDS)  # other files for each syntax
    compared = 0
    for path in files[first:] + files[:first]:
        data = path.read_bytes()
        try:
            result = to_dicom(data, end)
        except InstanceError:
            continue
        if result == data:
            continue
        if breaks_the_checker(data, end):
            continue
        added = errors(result, tmp_path) - errors(data, tmp_path)
        assert not [each for each in added if not is_explained(each, end)], path
        compared += 1
        if compared == ENOUGH and not WHOLE:
            break
    assert compared >= ENOUGH


def test_a_wrong_attribute_would_be_noticed(tmp_path: Path) -> None:
    source = part10(data_set(color(), samples=3))
    file = dcmread(io.BytesIO(to_dicom(source, ".4.90")))
    file.PhotometricInterpretation = "YBR_FULL_422"
    buffer = io.BytesIO()
    file.save_as(buffer)
    [added] = errors(buffer.getvalue(), tmp_path) - errors(source, tmp_path)
    assert not is_explained(added, ".4.90")
    assert "YBR_FULL_422" in added
