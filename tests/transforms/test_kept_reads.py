"""What was read is kept until it is committed, and taken while it is sure to be right."""

import itertools
import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import dicomferry
from dicomferry.cli.main import app
from dicomferry.errors import InstanceError, Reason
from dicomferry.sources.allowed_folders import AllowedFolders
from dicomferry.sources.listing import list_sources
from dicomferry.sources.source import Source
from dicomferry.sources.uri import parse_source
from dicomferry.storage.partial_files import _HOST
from dicomferry.store.dicom_store import StoreNotFoundError
from dicomferry.store.erasure import erase_kept_reads
from dicomferry.store.kept_reads import FOLDER, delete_kept, folder_of_reads, write_kept
from dicomferry.store.vacuum import raise_cutoff, vacuum
from dicomferry.transforms import ingest, keep_reads, read_and_store, read_units
from dicomferry.transforms.commit_instances import commit
from dicomferry.transforms.ingest import ImportTarget
from dicomferry.transforms.keep_reads import Unit
from dicomferry.transforms.progress import ProgressReporter
from dicomferry.transforms.read_and_store import _ReadFn
from dicomferry.transforms.read_units import UNIT_BYTES, UNIT_FILES, name_of, to_table, units
from dicomferry.transforms.records import Instance
from tests.factories import make_instance
from tests.pipelines.jobs import images, lose_store, new_store, run_import, write_files

COUNT = 40


def numbered(*numbers):
    return [Source(f"gs://b/{number:06d}", 1000, "1") for number in numbers]


@given(st.lists(st.integers(0, 2 * UNIT_BYTES), max_size=300))
def test_units_have_all_sources_in_order_and_no_more_than_their_bounds(sizes):
    sources = [Source(f"/{n}", size, "1") for n, size in enumerate(sizes)]
    found = list(units(sources))
    assert list(itertools.chain.from_iterable(found)) == sources
    for unit in found:
        assert 1 <= len(unit) <= UNIT_FILES
        assert sum(source.size for source in unit[:-1]) < UNIT_BYTES
    for unit in found[:-1]:  # no smaller than they need be
        assert read_units.is_worth_keeping(unit)


def test_a_source_more_or_less_leaves_almost_all_units_as_they_were():
    sources = numbered(*range(5000))
    before = set(map(tuple, units(sources)))
    changed = [
        len(before - set(map(tuple, units(sources[:gone] + sources[gone + 1 :]))))
        for gone in range(0, 5000, 100)
    ]
    # Where units end alike again is a matter of chance.
    assert sum(changed) <= 3 * len(changed)
    assert max(changed) < len(before) / 5


def test_a_unit_has_another_name_if_anything_of_it_is_another(monkeypatch):
    [source] = numbered(1)
    sources = [
        source,
        source._replace(uri="gs://b/2"),
        source._replace(size=1001),
        source._replace(version="2"),
        source._replace(code="UNREADABLE"),
        source._replace(crc32c="AAAAAA=="),
    ]
    names = {name_of([each], None) for each in sources}
    names.add(name_of([source, source], None))
    names.add(name_of([source], AllowedFolders(("/in",))))
    names.add(name_of([source], AllowedFolders(("/in",), "/in/not")))
    monkeypatch.setattr(dicomferry, "__version__", "another")
    names.add(name_of([source], None))
    assert len(names) == len(sources) + 4


def test_what_may_be_otherwise_at_the_next_attempt_is_not_kept():
    found = [make_instance(), make_instance(source_version="")]
    found += [ingest.FileOutcome("/a", "failed", code, size=1, version="1") for code in Reason]
    table = to_table(found)
    codes = set(table["code"].to_pylist()) - {None}
    assert codes == read_units._LASTING
    assert not codes & {Reason.SOURCE_GONE, Reason.WORKER_LOST, Reason.INTERNAL_ERROR}
    assert read_units.from_table(table)[0] == found[0]
    assert len(table) == 1 + len(codes)


@pytest.mark.parametrize(
    "hostile",
    [{"modality": "\udcff"}, {"number_of_frames": 1 << 63}, {"crc32c": "x"}],
    ids=["lone surrogate", "65 bits", "another type"],
)
def test_what_has_no_row_in_arrow_is_left_out(hostile):
    found = [make_instance(sop_instance_uid=f"1.{number}") for number in range(3)]
    table = to_table([found[0], make_instance(**hostile), *found[1:]])
    assert read_units.from_table(table) == found
    assert len(to_table([make_instance(**hostile)])) == 0


def test_a_unit_holds_no_more_than_it_keeps(monkeypatch):
    monkeypatch.setattr(keep_reads, "_KEPT_BYTES", 25)
    sources = numbered(*range(6))
    read = [
        make_instance(source_uri=source.uri, source_version="1", metadata=b"x" * size)
        for source, size in zip(sources, (10, 100, 10, 10, 5, 10), strict=True)
    ]
    unit = Unit("read/a", sources, [])
    assert [unit.add(result) for result in read] == [False] * 5 + [True]
    assert unit.results() == [read[0], read[2], read[4]]
    unit = Unit("read/a", sources, unit.results())
    assert [unit.add(read[number]) for number in (1, 3, 5)] == [False, False, True]
    assert unit.results() == [read[0], read[2], read[4]]


class Counted(bytes):
    """Metadata, of which it is known how many there are at once."""

    lock = threading.Lock()
    alive = most = 0

    def __init__(self, _):
        with self.lock:
            Counted.alive += 1
            Counted.most = max(self.alive, self.most)

    def __del__(self):
        with self.lock:
            Counted.alive -= 1


@pytest.mark.parametrize(
    ("dry_run", "most"), [(True, 32), (False, 32 + 4 * 64)], ids=["dry run", "import"]
)
def test_memory_does_not_grow_with_a_share(root, monkeypatch, dry_run, most):
    class Pool:
        def map(self, ingest, chunks, *_):
            for chunk in chunks:
                yield [
                    make_instance(source_uri=source.uri, metadata=Counted(b"x")) for source in chunk
                ]

    monkeypatch.setattr(read_and_store, "shared_pool", lambda workers: Pool())
    monkeypatch.setattr(read_units, "_hash", lambda source: 1.0)
    monkeypatch.setattr(keep_reads, "_KEPT_BYTES", 64)
    monkeypatch.setattr(Counted, "most", 0)
    read = _ReadFn(ImportTarget(new_store(root).data, dry_run), 0, ProgressReporter(None))
    read.start_bundle()
    found = sum(
        isinstance(each, Instance) for each in read.process(numbered(*range(20 * UNIT_FILES)))
    )
    read.finish_bundle()
    assert found == 20 * UNIT_FILES
    # Two chunks of 16, and four units: one is read, and two are written behind another.
    assert Counted.most <= most


class Store:
    """A store, and files that are read into it without a job."""

    def __init__(self, root, folder, monkeypatch):
        self.root = root
        self.store = new_store(root)
        self.data = self.store.data
        self.folder = folder
        write_files(folder, images(COUNT) | {"zz.txt": b"not DICOM"})
        # Where units end depends on names and times.
        monkeypatch.setattr(read_units, "_hash", lambda source: 1.0)
        self.read = []
        ingest_one = ingest.ingest

        def watched(source, target):
            self.read.append(source.uri)
            return ingest_one(source, target)

        monkeypatch.setattr(ingest, "ingest", watched)

    def sources(self):
        return sorted(list_sources(parse_source(f"{self.folder}/*")))

    def read_all(self, **options):
        """Read the files; return the results and how many were opened."""
        self.read.clear()
        read = _ReadFn(ImportTarget(self.data, **options), 0, ProgressReporter(None))
        read.start_bundle()
        found = list(read.process(self.sources()))
        read.finish_bundle()
        values = [getattr(each, "value", each) for each in found]
        return [value for value in values if not isinstance(value, str)], len(self.read)

    def kept(self):
        return [entry.path for entry in self.data.list(FOLDER)]


@pytest.fixture
def store(root, tmp_path, monkeypatch):
    return Store(root, tmp_path / "in", monkeypatch)


def of_source(results):
    return sorted(results, key=read_units.source_of)


def test_a_rerun_takes_all_results_and_opens_no_file(store):
    first, opened = store.read_all(dry_run=False)
    assert (opened, len(store.kept())) == (COUNT + 1, 1)
    again, opened = store.read_all(dry_run=False)
    assert (of_source(again), opened) == (of_source(first), 0)
    assert sum(not isinstance(result, Instance) for result in again) == 1


def test_a_dry_run_neither_keeps_nor_takes(store):
    assert store.read_all(dry_run=True)[1] == COUNT + 1
    assert store.kept() == []
    store.read_all(dry_run=False)
    assert store.read_all(dry_run=True)[1] == COUNT + 1


def test_a_few_files_are_not_worth_keeping(store):
    for number in range(COUNT - 10):
        os.unlink(store.folder / f"{number:03d}.dcm")
    store.read_all(dry_run=False)
    assert store.kept() == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:3],
        lambda content: content[:-1],
        lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
    ],
    ids=["empty", "cut in the checksum", "cut", "a bit"],
)
def test_a_damaged_file_is_not_taken_and_is_written_again(store, damage):
    first, _ = store.read_all(dry_run=False)
    [path] = store.kept()
    store.data.write(path, damage(store.data.read(path)))
    again, opened = store.read_all(dry_run=False)
    assert opened == COUNT + 1
    assert [r.blob for r in again if isinstance(r, Instance)] == [
        r.blob for r in first if isinstance(r, Instance)
    ]
    assert store.read_all(dry_run=False)[1] == 0


def test_a_source_that_changed_is_read_again(store):
    store.read_all(dry_run=False)
    changed = images(COUNT + 1)["040.dcm"]
    (store.folder / "007.dcm").write_bytes(changed)
    again, _ = store.read_all(dry_run=False)
    [uid] = [
        result.sop_instance_uid
        for result in again
        if isinstance(result, Instance) and result.source_uri.endswith("/007.dcm")
    ]
    assert uid == "1.2.1.1.41"


def test_what_failed_for_now_is_read_again_and_the_rest_is_not(store, monkeypatch):
    with monkeypatch.context() as patch:
        open_source = ingest.open_source

        def gone(source, folders):
            if source.uri.endswith("/003.dcm"):
                raise InstanceError(Reason.SOURCE_GONE)
            return open_source(source, folders)

        patch.setattr(ingest, "open_source", gone)
        store.read_all(dry_run=False)
    again, opened = store.read_all(dry_run=False)
    assert opened == 1
    assert sum(isinstance(result, Instance) for result in again) == COUNT
    assert store.read_all(dry_run=False)[1] == 0


def test_rows_from_before_the_cut_off_are_not_taken_and_are_written_anew(store):
    store.read_all(dry_run=False)
    raise_cutoff(store.data, time.time() + 1)  # as `stores delete-instances` does
    again, opened = store.read_all(dry_run=False)
    assert opened == COUNT  # what is no instance has no blob
    verdicts = commit(store.data, [r for r in again if isinstance(r, Instance)], "op")
    assert {verdict.outcome for verdict in verdicts} == {"imported"}


def test_rows_of_a_week_are_not_taken(store, monkeypatch):
    store.read_all(dry_run=False)
    monkeypatch.setattr(keep_reads, "_TAKEN_SECONDS", -10)
    assert store.read_all(dry_run=False)[1] == COUNT


def test_vacuum_takes_what_is_old(store):
    store.read_all(dry_run=False)
    assert list(vacuum(store.store)) == []
    [path] = store.kept()
    os.utime(store.data.uri(path), (1, 1))
    assert list(vacuum(store.store)) == [path]
    assert store.kept() == []


def test_a_deletion_of_instances_takes_all_also_what_is_written_later(store, monkeypatch):
    store.read_all(dry_run=False)
    partial = store.data.uri(f"{FOLDER}/x.00000000-1-00000000.partial")  # of another host
    Path(partial).write_bytes(b"")
    os.utime(partial, (1, 1))
    erase_kept_reads(store.data, time.time())
    assert os.listdir(store.data.uri(FOLDER)) == []
    write_kept = keep_reads.write_kept

    def late(*args):
        erase_kept_reads(store.data, time.time())
        with monkeypatch.context() as patch:
            patch.setattr(type(store.data), "write", None)
            write_kept(*args)

    with monkeypatch.context() as patch:
        patch.setattr(keep_reads, "write_kept", late)
        store.read_all(dry_run=False)
    assert store.kept() == []
    with monkeypatch.context() as patch:
        erase_at_write(store.data, patch)
        store.read_all(dry_run=False)
    assert store.kept() == []
    store.read_all(dry_run=False)
    assert len(store.kept()) == 1
    assert store.read_all(dry_run=False)[1] == 0


def erase_at_write(data, patch, is_killed=False):
    """Delete all that is kept when the next file is written; kill its writer after that."""
    write, erasures = type(data).write, []

    def late(self, path, content):
        if path.startswith(f"{FOLDER}/"):
            erasures.append(erase_kept_reads(data, time.time()))
        write(self, path, content)
        if is_killed and erasures:
            raise KeyboardInterrupt

    patch.setattr(type(data), "write", late)


@pytest.mark.parametrize("by", ["an import", "operations prune", "another deletion"])
def test_what_a_writer_that_was_killed_left_of_instances_that_are_deleted_goes(
    root, tmp_path, monkeypatch, by
):
    data = new_store(root).data
    table = to_table([make_instance()])
    for name in ("a", "b"):
        before = folder_of_reads(data)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            erase_at_write(data, patch, is_killed=True)
            write_kept(data, f"{before}/{name}", table)
    half = Path(data.uri(f"{before}/c.{_HOST}-99999999-00000000.partial"))
    half.write_bytes(b"")
    new = f"{folder_of_reads(data)}/b"
    write_kept(data, new, table)
    assert [entry.path for entry in data.list(FOLDER)] != [new]
    if by == "an import":
        run_import(root, f"{tmp_path}/none/*.dcm")
    elif by == "operations prune":
        call = ["operations", "prune", "--older-than", "9d", "--root", root.root]
        assert CliRunner().invoke(app, call).exit_code == 0
    else:
        erase_kept_reads(data, time.time())
    left = [] if by == "another deletion" else [new]
    assert [entry.path for entry in data.list(FOLDER)] == left
    assert not half.exists()


def test_nothing_is_kept_in_a_store_that_was_deleted_meanwhile(store, monkeypatch):
    write_kept = keep_reads.write_kept

    def late(*args):
        lose_store(store.root)
        write_kept(*args)

    monkeypatch.setattr(keep_reads, "write_kept", late)
    with pytest.raises(StoreNotFoundError):
        store.read_all(dry_run=False)
    assert store.kept() == []


def test_imports_that_share_what_is_kept_do_not_disturb_each_other(store):
    done, found = threading.Event(), []

    def deleting():
        while not done.is_set():
            delete_kept(store.data, store.kept())

    others = threading.Thread(target=deleting)
    others.start()
    try:
        found = [store.read_all(dry_run=False)[0] for _ in range(5)]
    finally:
        done.set()
        others.join()
    blobs = [sorted(r.blob for r in each if isinstance(r, Instance)) for each in found]
    assert all(each == blobs[0] and len(each) == COUNT for each in blobs)
