"""Whatever a call raises that is made for one instance, that instance fails alone.

A good run is watched, and each function of ours that it calls raises once in a run of its own.
"""

import itertools
import shutil
import struct
import sys
import zlib
from collections import Counter
from pathlib import Path

import google_crc32c
import numpy as np
import pyarrow as pa
import pytest

import dicomferry
from dicomferry.console.preview import draw_all
from dicomferry.errors import InstanceError
from dicomferry.pixels.formats import parse_format
from dicomferry.sources.source import Source
from dicomferry.storage.local import LocalStorage
from dicomferry.storage.registry import open_storage
from dicomferry.store.blobs import FOLDER, INCOMING
from dicomferry.store.index import Index, create_index
from dicomferry.tables.destination import parse_destination
from dicomferry.transforms import ingest
from dicomferry.transforms.commit_instances import commit
from dicomferry.transforms.ingest import ImportTarget, ingest_all
from dicomferry.transforms.records import FileOutcome
from dicomferry.transforms.write_instance import FileTarget, StoredInstance, write_all
from dicomferry.transforms.write_rows import RowGroupSelection, TableTarget, _Lines, writer_for
from tests.factories import dicom_bytes
from tests.pipelines.jobs import data_folder, tree
from tests.pixels.instances import PREFIX, data_set, gray, part10, to_dicom

# A generator may raise when it is closed, where nobody waits for it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
PACKAGE = f"{Path(dicomferry.__file__).parent}/"
PANIC = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})


class UnpicklableError(Exception):
    def __init__(self, one, two):
        super().__init__(one, two, lambda: None)


KINDS = itertools.cycle(
    [
        lambda: IndexError("DOE^JANE"),
        lambda: struct.error("DOE^JANE"),
        AssertionError,
        lambda: PANIC("DOE^JANE"),
        RecursionError,
        lambda: UserWarning("DOE^JANE"),
        lambda: zlib.error("DOE^JANE"),
        lambda: np.exceptions.AxisError(3, 2),
        lambda: UnicodeDecodeError("ascii", b"DOE", 0, 1, "JANE"),
        lambda: UnpicklableError(1, 2),
        EOFError,
    ]
)

# The seam itself, and what names the outcome.
SEAM = {
    ("faults.py", "fails_alone.__enter__"),
    ("faults.py", "fails_alone.__exit__"),
    ("ingest.py", "ingest"),
    ("records.py", "instance_path"),
    ("write_instance.py", "write"),
    ("write_instance.py", "_Written.__init__"),
    ("write_instance.py", "resource_path"),
    ("write_rows.py", "_Lines._fail"),
    ("write_rows.py", "_Lines.__next__"),
    ("preview.py", "_draw"),
}
# A key function of heapq.merge, which takes a StopIteration for an end: it reads an attribute.
KEY = {("reencode.py", "join.<locals>.<lambda>")}
# What is asked of every file for the chunk as a whole: how many to read at once.
# And the end of a chunk, which waits for the disk.
CHUNK = {
    ("registry.py", "capabilities_of"),
    ("registry.py", "scheme_of"),
    ("durable.py", "sync_names"),
    ("durable.py", "_for_each"),
    ("durable.py", "_sync_above"),
    ("durable.py", "_sync_folder"),
    ("durable.py", "_in_folder"),
}


def calls_of(run):
    """Each function of ours that a run calls, with the number of its calls."""
    calls = Counter()

    def profile(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            calls[frame.f_code] += 1

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    return calls


def raising(run, code, at, error):
    """Run with one call of a function replaced by an error, the first, second … (`at`)."""
    calls = 0

    def profile(frame, event, _):
        nonlocal calls
        if event == "call" and frame.f_code is code:
            calls += 1
            if calls == at:
                sys.setprofile(None)
                raise error

    sys.setprofile(profile)
    try:
        return run()
    finally:
        sys.setprofile(None)


def each_raising(run, nothing):
    """Yield the results of runs in which a function raises at its first, or at its last call.

    Functions that are also called to do `nothing` do not work for an instance.
    """
    run()  # fills caches
    outside = calls_of(nothing)
    for code, number in calls_of(run).items():
        name = code.co_filename.rpartition("/")[2], code.co_qualname
        if code not in outside and name not in SEAM | KEY | CHUNK:
            yield name, raising(run, code, 1, next(KINDS)())
            # Which would end a `map`, and a loop over it, in silence.
            yield name, raising(run, code, number, StopIteration("DOE^JANE"))


def source_of(path):
    """A file as it is listed."""
    status = path.stat()
    return Source(str(path), status.st_size, f"{status.st_mtime_ns}.{status.st_ctime_ns}")


def check(fault):
    """A fault names a kind and a place, and no value."""
    kind, place = fault.split(" at ")
    assert "DOE" not in fault and "JANE" not in fault
    assert kind.isidentifier() or kind.rpartition(".")[2].isidentifier()
    path, line = place.split(":")
    assert (Path(PACKAGE).parent / path).is_file() and int(line) > 0


@pytest.fixture(autouse=True)
def _without_sync(monkeypatch):
    """Files are synced for the chunk as a whole."""
    monkeypatch.setattr(LocalStorage, "sync", lambda *_: None)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Two instances of two frames, one of them compressed."""
    data = open_storage(str(tmp_path_factory.mktemp("data")))
    frames = np.stack([np.roll(gray((8, 8)), number, 0) for number in range(2)])
    native = part10(data_set(frames, 12, frames=2))
    contents = {f"{PREFIX}.4.90": to_dicom(native, ".4.90"), f"{PREFIX}.1": native}
    for name, content in contents.items():
        data.write(name, content)
    return data, [
        StoredInstance("1", "2", name, name, name, len(content), google_crc32c.value(content))
        for name, content in contents.items()
    ]


@pytest.mark.parametrize(
    "form",
    [
        "image/png",
        "application/dicom; transfer-syntax=*",
        f"application/dicom; transfer-syntax={PREFIX}.4.80",
        f"application/octet-stream; transfer-syntax={PREFIX}.1",
    ],
)
def test_an_instance_is_exported_or_fails_alone(stored, tmp_path, form):
    data, instances = stored
    out = tmp_path / "out"
    target = FileTarget(data, open_storage(str(out)), parse_format(form))
    good = write_all(instances, target)
    assert [outcome.outcome for outcome in good] == ["exported", "exported"]
    files = tree(out)

    def run():
        shutil.rmtree(out)
        return write_all(instances, target)

    def nothing():
        return write_all([], target)

    failures = Counter()
    for name, outcomes in each_raising(run, nothing):
        failed = [outcome for outcome in outcomes if outcome.outcome == "failed"]
        assert len(failed) <= 1, name
        for outcome in failed:
            assert outcome.code == "INTERNAL_ERROR", name
            check(outcome.fault)
        exported = {o.sop_instance_uid: o for o in outcomes if o.outcome == "exported"}
        assert all(outcome in good for outcome in exported.values()), name
        folders = tuple(f"1/2/{uid}" for uid in exported)
        there = {path: files[path] for path in files if path.startswith(folders)}
        found = tree(out)
        # A file by itself is whole, also where an error came after its last byte.
        assert there.items() <= found.items() <= files.items(), name
        assert found == there or not target.format.per_frame, name
        failures[bool(failed)] += 1
    # A few errors are expected where they are raised, and what was asked for is there all the same.
    assert failures[True] > 9 * failures[False]


def unstamped(instance):
    """An instance without the time of its run."""
    return instance._replace(stored=0.0)


def test_a_file_is_imported_or_fails_alone(tmp_path, monkeypatch):
    """A file that is read whole, and one that is streamed because it is large."""
    monkeypatch.setattr(ingest, "_WHOLE_FILE_BYTES", 2000)
    small, large = tmp_path / "small.dcm", tmp_path / "large.dcm"
    small.write_bytes(dicom_bytes(sop="1.1", PatientName="DOE^JANE"))
    large.write_bytes(dicom_bytes(sop="1.2", pixels=bytes(4000)))
    sources = [source_of(path) for path in (small, large)]
    empty = tmp_path / "empty"
    create_index(open_storage(str(empty)))
    data = open_storage(str(shutil.copytree(empty, tmp_path / "data")))
    target = ImportTarget(data, dry_run=False)
    good = [unstamped(instance) for instance in ingest_all(sources, target)]
    assert [instance.sop_instance_uid for instance in good] == ["1.1", "1.2"]

    def run():
        shutil.rmtree(data.root)
        shutil.copytree(empty, data.root)  # a store without an index is deleted
        return ingest_all(sources, target)

    def nothing():
        return ingest_all([], target)

    for name, results in each_raising(run, nothing):
        failed = [result for result in results if isinstance(result, FileOutcome)]
        assert len(failed) <= 1, name
        for outcome in failed:
            assert outcome[1:3] == ("failed", "INTERNAL_ERROR"), name
            check(outcome.fault)
        stored = [unstamped(result) for result in results if result not in failed]
        assert all(instance in good for instance in stored), name
        blobs = {e.path for folder in (FOLDER, INCOMING) for e in data.list(folder)}
        assert {instance.blob for instance in stored} <= blobs, name
        assert blobs <= {instance.blob for instance in good}, name


@pytest.mark.parametrize("flattened", [True, False])
def test_a_row_is_made_or_is_left_out(store, tmp_path, flattened):
    sources = []
    for number in range(2):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(dicom_bytes(sop=f"1.{number}", PatientName="DOE^JANE", Rows=4 + number))
        sources.append(source_of(path))
    data = data_folder(store)
    commit(data, ingest_all(sources, ImportTarget(data, dry_run=False)), "first")
    [file] = Index(data).files
    target = TableTarget(parse_destination(f"duckdb:{tmp_path}/t.duckdb#d.t"), flattened)

    def lines_of(*mask):
        part = [RowGroupSelection(file, 0, pa.array(mask, pa.bool_()))]
        lines = _Lines(part, data, writer_for(target))
        return lines, list(lines)

    _, good = lines_of(True, True)
    runs = 0
    for name, (lines, found) in each_raising(
        lambda: lines_of(True, True), lambda: lines_of(False, False)
    ):
        [outcome] = lines.failed
        assert outcome[1:3] == ("failed", "INTERNAL_ERROR"), name
        check(outcome.fault)
        assert lines.rows == len(found) == 1, name
        assert found[0] in good, name
        runs += 1
    assert runs >= 4


def test_a_picture_is_drawn_or_says_why_not(stored):
    data, instances = stored
    blobs = [(instance.blob, instance.size) for instance in instances]
    good = draw_all(blobs, data)
    for name, pictures in each_raising(lambda: draw_all(blobs, data), lambda: draw_all([], data)):
        failed = [picture for picture in pictures if isinstance(picture, InstanceError)]
        assert len(failed) <= 1, name
        assert all(picture in good for picture in pictures if picture not in failed), name
        for error in failed:
            assert error.code == "INTERNAL_ERROR", name
            check(error.fault_text)
