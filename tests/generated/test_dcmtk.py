"""dcmtk reads what an export wrote as the same values."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, seed, settings
from hypothesis import strategies as st

from dicomferry.dicom.range_reader import BytesReader
from dicomferry.errors import InstanceError
from dicomferry.pixels.convert import transcode
from dicomferry.pixels.formats import DICOM, parse_format
from tests.generated.case import PREFIX, Case
from tests.generated.strategies import cases
from tests.generated.test_generated import FILES, SETTINGS, runs
from tests.generated.written import read_written

# By transfer syntax: the program that makes it native, never converting the color.
PROGRAMS = {
    **dict.fromkeys((".4.50", ".4.51", ".4.57", ".4.70"), ("dcmdjpeg", "+cn")),
    **dict.fromkeys((".4.80", ".4.81"), ("dcmdjpls",)),
    ".5": ("dcmdrle",),
    **dict.fromkeys(("", ".1", ".1.99"), ("dcmconv", "+te")),
}

pytestmark = pytest.mark.skipif(not shutil.which("dcmdjpls"), reason="dcmtk is not installed")


@runs(max(1, FILES // 20))
def test_dcmtk_reads_the_same_values(tmp_path: Path, run_seed: int, files: int) -> None:
    @seed(run_seed)
    @settings(SETTINGS, max_examples=files)
    @given(cases(), st.sampled_from(sorted(PROGRAMS)))
    def draw(case: Case, end: str) -> None:
        check_with_dcmtk(case, end, tmp_path)

    draw()


def check_with_dcmtk(case: Case, end: str, folder: Path) -> None:
    """Export a file in a transfer syntax, and compare the values that dcmtk reads in it."""
    assume(case.end != end and not case.image.is_float and case.capsule.delimiter)
    form = parse_format(f"{DICOM}; transfer-syntax={PREFIX}{end}")
    try:
        (output,) = transcode(BytesReader(case.file()), form)
        data = b"".join(output.chunks)
    except InstanceError:
        return
    ours, theirs = folder / "ours.dcm", folder / "theirs.dcm"
    ours.write_bytes(data)
    done = subprocess.run(
        [*PROGRAMS[end], str(ours), str(theirs)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    mine, other = read_written(data), read_written(theirs.read_bytes())
    assert mine.values is not None and other.values is not None
    error = np.abs(mine.values - other.values).max()
    assert error <= (2 if end in (".4.50", ".4.51") else 0)
