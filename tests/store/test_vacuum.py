"""Vacuum takes what no row points at, and nothing that a row may come to point at."""

import os
import subprocess
import sys
import threading
import time
import tracemalloc
from contextlib import suppress
from datetime import UTC, datetime

import google_crc32c
import pytest

from dicomferry.operations.folder import start_operation
from dicomferry.operations.outcomes import Outcome
from dicomferry.resource_names import parse_store
from dicomferry.storage import local
from dicomferry.storage.capabilities import Entry
from dicomferry.storage.clock import clock_of
from dicomferry.storage.local import LocalStorage
from dicomferry.storage.registry import open_storage
from dicomferry.store import renewal
from dicomferry.store import vacuum as module
from dicomferry.store.blobs import large_blob, write_blob
from dicomferry.store.commit_conflicts import CommitConflictError
from dicomferry.store.dicom_store import create_store, get_store
from dicomferry.store.index import Index
from dicomferry.store.index_schema import Column
from dicomferry.store.vacuum import raise_cutoff, vacuum
from dicomferry.transforms.commit_instances import commit
from dicomferry.transforms.prepare_instances import rows_of
from tests.factories import make_instance
from tests.store.appending import append_rows
from tests.store.interleaving import Program, orders, run, stopping_at

NAME = parse_store("trial")
RUNS = int(os.environ.get("DICOMFERRY_FAULT_RUNS", "1"))
_METADATA = b"\x28\xb5\x2f\xfd\x20\x02\x11\x00\x00{}"  # zstd of {}


@pytest.fixture(params=["local", "gs"])
def store(request, tmp_path):
    """An empty store."""
    return create_store(new_root(request, request.param, tmp_path), NAME)


@pytest.fixture
def local_store(root):
    """An empty store in a folder."""
    return create_store(root, NAME)


@pytest.fixture
def everything_is_old(monkeypatch):
    """Vacuum takes blobs of any age: jobs beside it are stopped for a week at each moment."""
    monkeypatch.setattr(module, "_KEEP_SECONDS", -1)
    # Else what one test renews would be too young for the next vacuum.
    monkeypatch.setattr(local, "RESOLUTION_SECONDS", 0.01)
    monkeypatch.setattr(renewal, "RESOLUTION_SECONDS", 0.01)


def new_root(request, kind, tmp_path):
    if kind == "local":
        return open_storage(str(tmp_path / "root"))
    bucket = request.getfixturevalue("gcs").bucket(f"vacuum-{os.urandom(6).hex()}")
    return open_storage(f"gs://{bucket.name}/root")


def copy_of(number, content=b"abc"):
    return make_instance(
        sop_instance_uid=f"1.2.{number}",
        blob=f"instances/1/1/1.2.{number}/x.dcm",
        size=len(content),
        sha256="",
        metadata=_METADATA,
    )


def put(store, number, write=write_blob):
    """Store a blob as an import does; return what it commits later."""
    copy = copy_of(number)
    stored = clock_of(store.data).now()
    write(store.data, copy.blob, b"abc", google_crc32c.value(b"abc"))
    return copy._replace(stored=stored)


def put_all(store, numbers):
    """Store blobs, except those of which the file was deleted while it was written."""
    copies = []
    for number in numbers:
        with suppress(FileNotFoundError):
            copies.append(put(store, number))
    return copies


def write_large(data, path, content, crc32c):
    with large_blob(data) as (file, keep):
        file.write(content)
        keep(path, crc32c)


def missing(store):
    """Blobs that a row points at and that are not there."""
    rows = Index(store.data).dataset().to_table([Column.BLOB_URI]).column(0).to_pylist()
    return [blob for blob in rows if store.data.head(blob) is None]


def age(store, path, days):
    then = time.time() - days * 86_400
    os.utime(store.data.uri(path), (then, then))


def test_it_takes_old_blobs_without_a_row_and_no_others(local_store):
    store = local_store
    kept = put(store, 1)
    commit(store.data, [kept], "op")
    old = ["incoming/of-an-earlier-version", "instances/1/1/9/orphan.dcm"]
    for path in (*old, "instances/1/1/9/fresh.dcm", "instances/2/1/9/orphan.dcm"):
        store.data.write(path, b"x")
    for path in (kept.blob, *old, "instances/2/1/9/orphan.dcm"):
        age(store, path, 8)
    expected = sorted([*old, "instances/2/1/9/orphan.dcm"])
    assert sorted(vacuum(store, dry_run=True)) == expected
    assert store.data.head("incoming/of-an-earlier-version") is not None
    assert sorted(vacuum(store)) == expected
    left = {entry.path for entry in store.data.list() if entry.path.startswith("in")}
    assert {kept.blob, "instances/1/1/9/fresh.dcm"} <= left
    assert not left & set(expected)
    assert not os.path.exists(store.data.uri("instances/2"))  # a name of a patient's study


def test_it_takes_what_was_being_written_when_its_process_was_killed(local_store):
    whole = local_store.data.uri("instances/1/1/9/orphan.dcm")
    os.makedirs(os.path.dirname(whole))
    for name in ("#1", "#2"):
        with open(whole + name, "wb") as file:
            file.write(b"x")
    with local_store.data.writing("incoming"):
        [name] = os.listdir(local_store.data.uri("incoming"))
        partial = local_store.data.uri(f"incoming/{name}")
        os.link(partial, f"{partial}-aside")
    os.rename(f"{partial}-aside", partial)
    left = [f"incoming/{name}", "instances/1/1/9/orphan.dcm#1"]
    for path in left:
        age(local_store, path, 8)
    assert sorted(vacuum(local_store, dry_run=True)) == left
    assert sorted(vacuum(local_store)) == left
    assert os.listdir(os.path.dirname(whole)) == ["orphan.dcm#2"]


def test_it_runs_beside_operations(root, local_store):
    start_operation(root, NAME, "ImportDicomData")
    assert list(vacuum(local_store)) == []


@pytest.mark.usefixtures("everything_is_old")
def test_a_blob_that_is_renewed_after_it_was_listed_stays(store, monkeypatch):
    copy = put(store, 1)
    delete_older = type(store.data).delete_older

    def renewed_first(data, paths, cutoff):
        store.data.touch(copy.blob, cutoff)
        return delete_older(data, paths, cutoff)

    monkeypatch.setattr(type(store.data), "delete_older", renewed_first)
    assert list(vacuum(store)) == []
    assert store.data.head(copy.blob) is not None


@pytest.mark.usefixtures("everything_is_old")
def test_an_import_that_was_stopped_for_long_renews_its_blobs_or_fails_those_that_are_gone(store):
    stays, goes = put(store, 1), put(store, 2)
    raise_cutoff(store.data, clock_of(store.data).now() + 1)
    store.data.delete([goes.blob])
    outcomes = [verdict.outcome for verdict in commit(store.data, [stays, goes], "op")]
    assert outcomes == [Outcome.IMPORTED, Outcome.FAILED]
    assert Index(store.data).count() == 1
    assert missing(store) == []


def test_a_commit_that_began_before_the_cut_off_fails(local_store):
    index, another = Index(local_store.data), Index(local_store.data)
    raise_cutoff(local_store.data, 1.0)
    assert Index(local_store.data).cutoff == 1.0
    raise_cutoff(local_store.data, 0.5)
    assert Index(local_store.data).cutoff == 1.0
    with pytest.raises(CommitConflictError):
        index.raise_cutoff(2.0)
    with pytest.raises(CommitConflictError):
        append_rows(another, rows_of([copy_of(1)], "op"))


def test_a_vacuum_between_a_look_and_a_deletion_keeps_a_renewal_waiting(local_store, monkeypatch):
    copy = put(local_store, 1)
    age(local_store, copy.blob, 8)
    unlink, renewal = os.unlink, []

    def unlink_late(path, *args, **kwargs):
        if str(path).endswith(copy.blob) and not renewal:
            renewal.append(threading.Thread(target=put, args=(local_store, 1)))
            renewal[0].start()
            time.sleep(0.2)
        unlink(path, *args, **kwargs)

    monkeypatch.setattr(os, "unlink", unlink_late)
    assert list(vacuum(local_store)) == [copy.blob]
    renewal[0].join()
    assert local_store.data.head(copy.blob) is not None


CALLS = [
    (LocalStorage, "create"),
    (LocalStorage, "head"),
    (LocalStorage, "touch"),
    (LocalStorage, "list"),
    (LocalStorage, "delete_older"),
    (Index, "__init__"),
    (Index, "lookup"),
    (Index, "refresh"),
    (Index, "append"),
    (Index, "raise_cutoff"),
]


@pytest.mark.usefixtures("everything_is_old")
@pytest.mark.parametrize(
    ("write", "is_there"), [(write_blob, False), (write_blob, True), (write_large, True)]
)
def test_no_row_is_left_without_its_blob_wherever_both_are_stopped(
    local_store, monkeypatch, write, is_there
):
    store = local_store
    steps = [race(store, monkeypatch, write, 0, [(n, 10**6)])[n] for n in (0, 1)]
    assert min(steps) >= 4
    whole = [
        [(one, before), (1 - one, 10**6), (one, 10**6)]
        for one in (0, 1)
        for before in range(steps[one] + 1)
    ]
    some = whole + (list(orders(*steps)) if RUNS > 1 else [])
    print(f"{len(some)} orders of their steps")
    outcomes = set()
    for number, order in enumerate(some, 1):
        if is_there:
            put(store, number)
        outcomes.add(race(store, monkeypatch, write, number, order)[2])
        assert missing(store) == [], order
    assert outcomes == {Outcome.IMPORTED, Outcome.FAILED}  # either one has won sometimes


def race(store, monkeypatch, write, number, order):
    """Import an instance beside a vacuum; return how many steps each took, and the outcome."""
    outcomes = []
    before = Index(store.data).count()

    def run_import():
        try:
            copy = put(store, number, write)
        except FileNotFoundError:  # a large blob that it was writing for a week; the job ends
            outcomes.append(Outcome.FAILED)
        else:
            outcomes.extend(verdict.outcome for verdict in commit(store.data, [copy], "op"))

    programs = [Program(run_import), Program(lambda: list(vacuum(store)))]
    clock_of(store.data)
    with stopping_at(monkeypatch, programs, CALLS):
        run(programs, order)
    [outcome] = outcomes
    assert Index(store.data).count() - before in {Outcome.IMPORTED: (0, 1)}.get(outcome, (0,))
    return [*(program.steps for program in programs), outcome]


_VACUUM_FOR_EVER = """
import sys
from dicomferry.resource_names import parse_store
from dicomferry.storage.registry import open_storage
from dicomferry.store import vacuum
from dicomferry.store.dicom_store import get_store
vacuum._KEEP_SECONDS = -1
store = get_store(open_storage(sys.argv[1]), parse_store("trial"))
while True:
    print(len(list(vacuum.vacuum(store))), flush=True)
"""


def test_processes_that_vacuum_all_the_time_take_nothing_that_has_a_row(root, local_store):
    command = [sys.executable, "-c", _VACUUM_FOR_EVER, root.root]
    outcomes = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            deleted = int(process.stdout.readline())
            for number in range(8 * RUNS):
                copies = put_all(local_store, range(10 * number, 10 * number + 10))
                outcomes += [v.outcome for v in commit(local_store.data, copies, f"{number}")]
                assert missing(local_store) == []
        finally:
            process.terminate()
        deleted += sum(map(int, process.stdout))
    assert missing(local_store) == []
    assert Index(local_store.data).count() == outcomes.count(Outcome.IMPORTED)
    assert deleted or outcomes.count(Outcome.FAILED) == 0


class _ManyNames(LocalStorage):
    """Lists names of blobs that nobody has stored."""

    names = 0

    def list(self, prefix=""):
        then = datetime(2020, 1, 1, tzinfo=UTC)
        for number in range(self.names if prefix == "instances" else 0):
            yield Entry(f"instances/1.2.840.{number // 500}/1.2/1.2.{number}/x.dcm", 1, then)


def test_its_memory_does_not_grow_with_the_blobs(local_store, monkeypatch):
    store = local_store._replace(data=_ManyNames(local_store.data.root))
    monkeypatch.setattr(module, "_BATCH", 1000)
    peaks = []
    for names in (2_000, 40_000):
        monkeypatch.setattr(_ManyNames, "names", names)
        tracemalloc.start()
        assert sum(1 for _ in vacuum(store, dry_run=True)) == names
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1_000_000, peaks


def test_a_store_that_is_gone_is_told(root, local_store):
    local_store.data.remove_all()
    with pytest.raises(LookupError):
        list(vacuum(get_store(root, NAME)))
