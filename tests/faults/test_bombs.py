"""What is small on disk and huge unpacked is refused by a bound, before memory is spent on it."""

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

import dicomferry.dicom.dicom_file
from dicomferry.dicom.byte_window import MAX_HEADER_BYTES, MAX_INFLATED_BYTES
from dicomferry.errors import InstanceError
from dicomferry.storage.registry import open_storage
from tests.dicom.factories import DEFLATED, element, file_meta, identity, part10
from tests.factories import dicom_bytes
from tests.pipelines.jobs import STORE, new_store, run_import, tree, write_files
from tests.pixels.instances import data_set, gray, outputs
from tests.pixels.instances import part10 as picture_file
from tests.pixels.test_hostile import with_stream

REPOSITORY = Path(__file__).parents[2]
MIB = 1 << 20
IMPLICIT = "application/dicom; transfer-syntax=1.2.840.10008.1.2"
EXPLICIT = f"{IMPLICIT}.1"
# What Python, numpy and the codecs take before they see a byte.
_PROGRAM = """
import sys
from dicomferry.errors import InstanceError
from dicomferry.dicom.header import read_header
from dicomferry.dicom.range_reader import BytesReader
from tests.pixels.fuzz import peak_mib
from tests.pixels.instances import outputs
data = BytesReader(open(sys.argv[1], "rb").read())
before = peak_mib()
ends = []
for do in (lambda: read_header(data), lambda: outputs(data.data, sys.argv[2])):
    try:
        do()
        ends.append("done")
    except InstanceError as error:
        ends.append(error.code)
print(*ends, peak_mib() - before)
"""


def read_and_export(path, mime_type="image/png"):
    """Ends of a header that is read and of an export, and what both took, in MiB."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM, str(path), mime_type],
        check=True,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
    )
    *ends, mib = done.stdout.split()
    return ends, int(mib)


def deflated(path, head, zeros):
    """A deflated file whose data set is `head`, and so many zeros, a thousandth of it on disk."""
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    with open(path, "wb") as file:
        file.write(bytes(128) + b"DICM" + file_meta(DEFLATED))
        file.write(deflater.compress(head))
        for _ in range(zeros // MIB):
            file.write(deflater.compress(bytes(MIB)))
        file.write(deflater.flush())
    assert path.stat().st_size < zeros / 500


@pytest.mark.timeout(120)
def test_a_deflated_value_without_end_is_refused_by_the_bound_on_what_is_inflated(tmp_path):
    size = MAX_INFLATED_BYTES + 64 * MIB
    head = identity() + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, size)
    deflated(tmp_path / "bomb", head, size)
    ends, mib = read_and_export(tmp_path / "bomb")
    assert ends[0] == "INFLATED_TOO_LARGE"
    assert ends[1] == "PIXEL_ATTRIBUTES_INVALID"
    assert mib < 150


@pytest.mark.timeout(120)
def test_a_deflated_text_without_end_is_refused_by_the_bound_on_headers(tmp_path):
    size = MAX_HEADER_BYTES + 64 * MIB
    head = identity() + struct.pack("<HH2sHL", 0x0040, 0xA160, b"UT", 0, size)
    deflated(tmp_path / "bomb", head, size)
    ends, mib = read_and_export(tmp_path / "bomb")
    assert ends[0] == "HEADER_TOO_LARGE"
    assert mib < 400


def test_an_export_inflates_no_further_than_its_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(dicomferry.dicom.dicom_file, "MAX_INFLATED_BYTES", 8 * MIB)
    for mib, end in ((7, "PIXEL_ATTRIBUTES_INVALID"), (9, "DATA_SET_TOO_LARGE")):
        head = identity() + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, mib * MIB)
        deflated(tmp_path / "bomb", head, mib * MIB)
        with pytest.raises(InstanceError, match=end):
            outputs((tmp_path / "bomb").read_bytes(), "image/png")


@pytest.mark.timeout(120)
def test_a_header_of_nothing_but_elements_is_refused_by_their_number(tmp_path):
    tags = (group << 16 | number for group in range(0x2001, 0x3000, 2) for number in range(65536))
    tiny = b"".join(element(next(tags), "LO", "") for _ in range(5_100_000))
    (tmp_path / "bomb").write_bytes(part10(identity() + tiny))
    program_ends, mib = read_and_export(tmp_path / "bomb", EXPLICIT)
    assert program_ends[0] == "HEADER_TOO_LARGE"
    assert mib < 1500


@pytest.mark.timeout(120)
@pytest.mark.parametrize("end", ["", ".4.50", ".4.80", ".4.90", ".4.201", ".4.110", ".5", ".8.1"])
def test_more_pixels_than_any_memory_holds_are_refused(tmp_path, end):
    sizes = {"Rows": 65535, "Columns": 65535, "NumberOfFrames": 2**31 - 1}
    if end:
        data = with_stream(end, b"\xff\xd8\xff" + bytes(500), **sizes)
    else:
        data = picture_file(data_set(gray((4, 4), 8), **sizes))
    (tmp_path / "bomb").write_bytes(data)
    ends, mib = read_and_export(tmp_path / "bomb")
    assert ends[1] in ("FRAME_TOO_LARGE", "PIXEL_DATA_TRUNCATED")
    assert mib < 100


def test_a_moving_picture_within_a_frame_is_no_frame():
    pictures = np.zeros((50, 200, 200), np.uint8)
    stream = imagecodecs.jpegxl_encode(pictures, photometric="gray", planar=False)
    assert len(stream) < pictures.nbytes / 500
    with pytest.raises(InstanceError, match="CODE_STREAM_MISMATCH"):
        outputs(with_stream(".4.110", stream), "image/png")
    still = imagecodecs.jpegxl_encode(pictures[0], photometric="gray")
    assert outputs(with_stream(".4.110", still), "image/png")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("undefined", [False, True])
def test_sequences_ten_thousand_deep_end_as_a_failure(tmp_path, undefined):
    length = 0xFFFFFFFF
    nested = b""
    for level in range(10_000):
        size = length if undefined else 20 * (10_000 - level) - 12
        nested += struct.pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, size)
        nested += struct.pack("<HHL", 0xFFFE, 0xE000, length if undefined else size - 8)
    (tmp_path / "deep").write_bytes(part10(identity() + nested))
    ends, mib = read_and_export(tmp_path / "deep", IMPLICIT)
    assert ends == ["NESTED_TOO_DEEP", "NESTED_TOO_DEEP"]
    assert mib < 100


@pytest.mark.parametrize(
    "uid",
    [
        "../..",
        "..",
        "/etc/passwd",
        "1.2/../../../x",
        "1.2\\3",
        "1.2\n3",
        "1..2",
        "1.2.",
        "~",
        "1.2\x003",
    ],
)
def test_what_is_no_uid_never_becomes_a_path(root, tmp_path, uid):
    new_store(root)
    before = set(tree(tmp_path))
    files = {}
    for number, name in enumerate(("sop", "study", "series")):
        plain = dicom_bytes(**{name: "1.22.333.4444"})
        value = uid.encode().ljust(14, b"\0")
        files[f"{number}.dcm"] = plain.replace(b"1.22.333.4444\0", value)
        assert files[f"{number}.dcm"] != plain
    job = run_import(root, write_files(tmp_path / "in", files))
    codes = {line["code"] for line in job.outcomes.values()}
    assert job.kinds == {"failed": 3}
    assert all(code.startswith("INVALID_") for code in codes)
    written = set(tree(tmp_path)) - before
    assert not [name for name in written if name.endswith(".dcm") and not name.startswith("in/")]


NAMES = [
    "a\nb.dcm",
    'quo"te\\.dcm',
    "a\r\n{}.dcm",
    "\x1b[31mred.dcm",
    "\u2028line.dcm",
    "\udcff.dcm",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_with_line_ends_stay_one_line_in_lists_and_on_the_screen(root, tmp_path, name):
    new_store(root)
    job = run_import(root, write_files(tmp_path / "in", {name: b"broken"}))
    assert job.kinds == {"failed": 1}
    [listing] = [e.path for e in job.folder.storage.list() if e.path.startswith("outcomes")]
    content = job.folder.storage.read(listing)
    assert content.count(b"\n") == 1
    assert b"\x1b" not in content
    assert list(job.outcomes) == [json.loads(content)["source"]]
    assert run_import(root, "", f"--retry-failed={job.folder.id}").kinds == {"failed": 1}
    command = [sys.executable, "-c", "from dicomferry.cli.main import main; main()"]
    shown = subprocess.run(
        [*command, "import", STORE.id, f"{tmp_path}/in/**", f"--root={root.root}", "--workers=0"],
        check=False,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        errors="surrogateescape",
    )
    assert shown.returncode == 1
    for text in (shown.stdout, shown.stderr):
        assert "\x1b" not in text
        assert not [part for part in text.splitlines() if part.startswith(("b.dcm", "{}.dcm"))]


def test_a_store_named_as_a_path_stays_below_its_root(tmp_path):
    from dicomferry.resource_names import parse_store
    from dicomferry.store.dicom_store import create_store

    inside = open_storage(str(tmp_path / "inside"))
    for name in ("..", "a..b", "~x", "é" * 200, "con\nsole"):
        try:
            create_store(inside, parse_store(name))
        except ValueError:
            continue
    assert os.listdir(tmp_path) in ([], ["inside"])
