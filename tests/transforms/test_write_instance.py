"""One instance becomes its files, all or none, whoever works on its frames."""

import json
import multiprocessing
import sys

import google_crc32c
import numpy as np
import psutil
import pytest
from pydicom.encaps import encapsulate, generate_frames

from dicomferry.errors import InstanceError, Reason
from dicomferry.operations.outcomes import parse_outcome
from dicomferry.pixels.formats import FORMATS, PNG, parse_format
from dicomferry.storage.registry import open_storage
from dicomferry.transforms.core_budget import CoreBudget
from dicomferry.transforms.parallel_frames import parallel_map
from dicomferry.transforms.records import to_line
from dicomferry.transforms.write_instance import FileTarget, StoredInstance, write
from tests.pipelines.jobs import tree
from tests.pixels.instances import data_set, gray, part10, read, to_dicom

FRAMES = 24


def frames(bits):
    pixels = np.stack([np.roll(gray(bits=bits), number, 0) for number in range(FRAMES)])
    return part10(data_set(pixels, bits, frames=FRAMES))


# Native, encapsulated, and the two whose frames are recoded without being decoded.
SOURCES = {
    "1.2.840.10008.1.2.1": lambda: frames(12),
    "1.2.840.10008.1.2.4.90": lambda: to_dicom(frames(12), ".4.90"),
    "1.2.840.10008.1.2.4.50": lambda: to_dicom(frames(8), ".4.50"),
    "1.2.840.10008.1.2.4.111": lambda: to_dicom(to_dicom(frames(8), ".4.50"), ".4.111"),
}


@pytest.fixture(scope="module", params=SOURCES)
def stored(request, tmp_path_factory):
    """A multi-frame instance in a folder."""
    data = open_storage(str(tmp_path_factory.mktemp("data")))
    content = SOURCES[request.param]()
    data.write("blob", content)
    return data, instance_of(content, request.param)


def instance_of(content, transfer_syntax="1.2.840.10008.1.2.1"):
    checksum = google_crc32c.value(content)
    return StoredInstance("1.1", "1.2", "1.3", transfer_syntax, "blob", len(content), checksum)


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def cores():
    """A pool of two, of which one process is at work: this one."""
    cores = CoreBudget(2, multiprocessing.get_context("forkserver"))
    cores.enter()
    return cores


@pytest.mark.skipif(sys.platform != "linux", reason="helpers are forked on Linux only")
@pytest.mark.parametrize("form", FORMATS, ids=lambda each: each.mime_type)
def test_helpers_change_no_byte(stored, cores, tmp_path, form):
    data, instance = stored
    alone, helped = (
        write(instance, FileTarget(data, open_storage(str(tmp_path / name)), form), frame_map)
        for name, frame_map in (("alone", parallel_map(None)), ("helped", parallel_map(cores)))
    )
    assert helped == alone
    files = tree(tmp_path / "alone")
    assert tree(tmp_path / "helped") == files
    if alone.outcome == "exported":
        assert len(files) == (FRAMES if form.per_frame else 1)
        assert alone.size == sum(path.stat().st_size for path in files_below(tmp_path / "alone"))
    else:
        assert not files
        unfit = {".4.111": "NOT_JPEG_BASELINE", "2.4.50": "TOO_DEEP_FOR_BASELINE"}
        assert alone.code == unfit[form.transfer_syntax[-6:]]
    assert not [c for c in psutil.Process().children() if c.status() == psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("cut", [0.5, 0.95])
def test_of_an_instance_that_breaks_off_no_frame_is_left(cores, tmp_path, cut):
    data, content = open_storage(str(tmp_path / "data")), to_dicom(frames(12), ".4.90")
    content = content[: int(len(content) * cut)]
    data.write("blob", content)
    instance = instance_of(content, "1.2.840.10008.1.2.4.90")
    for frame_map in (parallel_map(None), parallel_map(cores)):
        target = FileTarget(data, open_storage(str(tmp_path / "out")), parse_format(PNG))
        outcome = write(instance, target, frame_map)
        assert (outcome.outcome, outcome.code) == ("failed", "FRAMES_NOT_FOUND")
        assert not tree(tmp_path / "out")


def test_frames_of_an_attempt_that_came_further_go_when_the_instance_fails(cores, tmp_path):
    """A process that crashed on the last frame has left the others; the next fails sooner."""
    data, content = open_storage(str(tmp_path / "data")), to_dicom(frames(12), ".4.90")
    data.write("blob", content)
    out = open_storage(str(tmp_path / "out"))
    target = FileTarget(data, out, parse_format(PNG))
    whole = instance_of(content, "1.2.840.10008.1.2.4.90")
    assert write(whole, target).outcome == "exported"
    assert len(tree(tmp_path / "out")) == FRAMES
    out.write("1.1/1.2/1.3.png", b"not a frame of it")
    ds = read(content)
    streams = list(generate_frames(ds.PixelData, number_of_frames=FRAMES))
    streams[12] = streams[12][:4]
    ds.PixelData = encapsulate(streams)
    content = part10(ds, "1.2.840.10008.1.2.4.90")
    data.write("blob", content)
    broken = instance_of(content, "1.2.840.10008.1.2.4.90")
    assert write(broken, target, parallel_map(cores)).code == "CODE_STREAM_INVALID"
    assert set(tree(tmp_path / "out")) == {"1.1/1.2/1.3.png"}


def test_frames_of_an_earlier_export_stay_when_a_later_one_has_written_none(tmp_path):
    data, content = open_storage(str(tmp_path / "data")), frames(12)
    data.write("blob", content)
    target = FileTarget(data, open_storage(str(tmp_path / "out")), parse_format(PNG))
    instance = instance_of(content)
    assert write(instance, target).outcome == "exported"
    before = tree(tmp_path / "out")
    data.write("blob", bytes(len(content)))
    assert write(instance, target).code == "BLOB_CORRUPT"
    assert tree(tmp_path / "out") == before


def test_frames_go_too_where_the_attempt_that_lost_its_helper_has_written_none(tmp_path):
    data, content = open_storage(str(tmp_path / "data")), to_dicom(frames(12), ".4.90")
    data.write("blob", content)
    target = FileTarget(data, open_storage(str(tmp_path / "out")), parse_format(PNG))
    instance = instance_of(content, "1.2.840.10008.1.2.4.90")
    assert write(instance, target).outcome == "exported"

    def lost(_function, _items):
        raise InstanceError(Reason.WORKER_LOST)

    assert write(instance, target, lost).code == "WORKER_LOST"
    assert not tree(tmp_path / "out")


def test_a_derived_file_stands_beside_its_source_and_the_outcome_names_both(tmp_path):
    data, out = open_storage(str(tmp_path / "data")), open_storage(str(tmp_path / "out"))
    content = part10(data_set(gray(bits=8), SOPInstanceUID="1.3"))
    data.write("blob", content)
    instance = instance_of(content)
    assert write(instance, FileTarget(data, out)).derived_uid == ""
    lossy = parse_format("application/dicom; transfer-syntax=1.2.840.10008.1.2.4.81")
    target = FileTarget(data, out, lossy, derive_uids=True)
    outcome = write(instance, target)
    files = tree(tmp_path / "out")
    assert set(files) == {"1.1/1.2/1.3.dcm", f"1.1/1.2/{outcome.derived_uid}.dcm"}
    written = read((tmp_path / "out/1.1/1.2" / f"{outcome.derived_uid}.dcm").read_bytes())
    assert written.SOPInstanceUID == outcome.derived_uid
    line = json.loads(to_line(outcome))
    assert line["source"] == "/studies/1.1/series/1.2/instances/1.3"
    assert (line["sopInstanceUid"], line["derivedSopInstanceUid"]) == ("1.3", outcome.derived_uid)
    assert parse_outcome(to_line(outcome).encode()) == line
    assert write(instance, target) == outcome
    assert tree(tmp_path / "out") == files
