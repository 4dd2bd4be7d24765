"""What is deleted below a path is gone: rows, files, and on request earlier versions."""

import os
import subprocess
from pathlib import Path

import pytest

from dicomferry.errors import Reason
from dicomferry.operations.folder import OperationFolder, new_operation_id
from dicomferry.operations.outcomes import Outcome
from dicomferry.pipelines import delete_instances
from dicomferry.pipelines.delete_instances import Deletion
from dicomferry.sources.listing import list_sources
from dicomferry.sources.local import describe_file
from dicomferry.sources.uri import parse_source
from dicomferry.storage.clock import clock_of
from dicomferry.storage.local import LocalStorage
from dicomferry.storage.partial_files import _HOST
from dicomferry.storage.registry import open_storage
from dicomferry.store import erasure, maintenance
from dicomferry.store.blobs import write_blob
from dicomferry.store.dicom_store import create_store, get_store
from dicomferry.store.erasure import erase_rows
from dicomferry.store.index import Index
from dicomferry.store.index_files import appended_files
from dicomferry.store.index_schema import Column
from dicomferry.store.instance_filter import InstanceFilter, read_instance_filter
from dicomferry.store.verification import verify
from dicomferry.transforms.commit_instances import commit
from dicomferry.transforms.ingest import ImportTarget, ingest, ingest_all
from dicomferry.transforms.prepare_instances import prepare
from tests.factories import dicom_bytes
from tests.pipelines.jobs import STORE, new_store, run_import
from tests.store.interleaving import Program, orders, run, stopping_at
from tests.store.test_vacuum import everything_is_old, missing, put  # noqa: F401

RUNS = int(os.environ.get("DICOMFERRY_FAULT_RUNS", "1"))


@pytest.fixture
def source(tmp_path):
    """Two studies: 1.1 with three series of two instances, 1.2 with one instance; one copy."""
    folder = tmp_path / "source"
    folder.mkdir()
    for series in (1, 2, 3):
        for number in (1, 2):
            write(folder, f"{series}-{number}.dcm", "1.1", f"1.1.{series}", number)
    write(folder, "other.dcm", "1.2", "1.2.1", 1)
    (folder / "copy.dcm").write_bytes((folder / "2-1.dcm").read_bytes())
    return folder


def write(folder, name, study, series, number):
    content = dicom_bytes(f"{series}.{number}", study, series, PatientName="Secret^Name")
    (folder / name).write_bytes(content)


def erase(root, tmp_path, *paths, **options):
    file = tmp_path / "filter.txt"
    file.write_text("\n".join(paths))
    instances = read_instance_filter(str(file))
    return delete_instances.run(Deletion(root, STORE, instances, str(file), **options))


def uids(root):
    rows = Index(get_store(root, STORE).data).dataset().to_table([Column.SOP_INSTANCE_UID])
    return sorted(rows.column(0).to_pylist())


def blobs(root):
    return sorted(e.path.split("/")[3] for e in get_store(root, STORE).data.list("instances"))


def outcomes(root, record):
    folder = OperationFolder(root, STORE.parent, record.id)
    return {line["source"]: line for line in folder.outcomes()}


@pytest.fixture
def filled(root, source):
    """A store with all of the source."""
    fill(root, source)
    return root


def fill(root, source):
    """Import without a job."""
    target = ImportTarget(new_store(root).data, dry_run=False)
    copies = ingest_all(list(list_sources(parse_source(f"{source}/*.dcm"))), target)
    commit(target.data, sorted(copies, key=lambda copy: copy.sop_instance_uid), "op")


ALL = ["1.1.1.1", "1.1.1.2", "1.1.2.1", "1.1.2.2", "1.1.3.1", "1.1.3.2", "1.2.1.1"]


@pytest.mark.parametrize("is_sorted", [False, True], ids=["as imported", "optimized"])
def test_rows_and_blobs_below_a_path_are_gone_and_no_others(filled, tmp_path, is_sorted):
    store = get_store(filled, STORE)
    if is_sorted:
        maintenance.optimize(store)
    paths = ["/studies/1.1/series/1.1.1", "/studies/1.1/series/1.1.2/instances/1.1.2.1"]
    record = erase(filled, tmp_path, *paths)
    left = ["1.1.2.2", "1.1.3.1", "1.1.3.2", "1.2.1.1"]
    assert uids(filled) == blobs(filled) == left
    assert not record.error
    assert record.asked.flags == {"filter": str(tmp_path / "filter.txt")}
    assert record.outcome_counts.deleted == 3
    lines = outcomes(filled, record)
    assert {line["outcome"] for line in lines.values()} == {"deleted"}
    assert "/studies/1.1/series/1.1.2/instances/1.1.2.1" in lines
    assert [finding.problem for finding in verify(store)] == [""] * 4
    assert not os.path.exists(store.data.uri("instances/1.1/1.1.1"))
    maintenance.optimize(store)
    assert uids(filled) == left


def test_a_path_that_nothing_is_below_counts_as_a_failure(filled, tmp_path):
    record = erase(filled, tmp_path, "/studies/1.2", "/studies/9")
    assert record.error.code == 3
    assert record.counts.failures == 1
    assert outcomes(filled, record)["/studies/9"]["code"] == Reason.NO_SUCH_RESOURCE
    assert uids(filled) == ALL[:-1]


def test_what_was_deleted_is_imported_again_also_from_the_source_of_a_duplicate(
    root, source, tmp_path
):
    filled = root
    new_store(root)
    run_import(root, f"{source}/*.dcm")
    erase(filled, tmp_path, "/studies/1.1")
    assert uids(filled) == ["1.2.1.1"]
    again = run_import(filled, f"{source}/*.dcm")
    assert again.of("other.dcm") == ("skipped", "ALREADY_IMPORTED")
    assert uids(filled) == ALL
    erase(filled, tmp_path, "/studies/1.1/series/1.1.2/instances/1.1.2.1")
    assert run_import(filled, f"{source}/copy.dcm").of("copy.dcm") == ("imported", "")
    assert uids(filled) == ALL


def test_blobs_without_a_row_go_too_and_a_deletion_that_broke_off_goes_on(
    filled, tmp_path, monkeypatch
):
    def breaking(*_):
        raise OSError(5, "the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "delete_older", breaking)
        with pytest.raises(OSError, match="the disk is gone"):
            erase(filled, tmp_path, "/studies/1.1")
    assert uids(filled) == ["1.2.1.1"]
    assert len(blobs(filled)) == 7
    get_store(filled, STORE).data.write("instances/1.1/1.1.9/1.1.9.9/lost.dcm", b"")
    record = erase(filled, tmp_path, "/studies/1.1")
    assert blobs(filled) == ["1.2.1.1"]
    assert record.outcome_counts.deleted == 7
    assert not record.error


def test_what_a_killed_writer_left_goes_and_what_one_is_writing_stays(filled, tmp_path):
    data = get_store(filled, STORE).data
    folder = data.uri("instances/1.2/1.2.1/1.2.1.1")
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    paths = {
        pid: f"{folder}/x.dcm.{_HOST}-{pid}-00000000.partial" for pid in (os.getpid(), ended.pid)
    }
    for path in [*paths.values(), f"{folder}/x.dcm.00000000-1-00000000.partial"]:
        Path(path).write_bytes(b"")
    os.utime(f"{folder}/x.dcm.00000000-1-00000000.partial", (1, 1))  # of another host
    erase(filled, tmp_path, "/studies/1.2")
    assert [str(path) for path in Path(folder).iterdir()] == [paths[os.getpid()]]


def test_earlier_versions_keep_attributes_until_they_are_purged(filled, tmp_path):
    store = get_store(filled, STORE)
    before = Index(store.data).version
    maintenance.optimize(store)
    erase(filled, tmp_path, "/studies/1.1")
    assert Index(store.data, before).count() == 7
    assert len(with_text(store, b"Secret")) > 1
    erase(filled, tmp_path, "/studies/1.2", purge_history=True)
    assert with_text(store, b"1.1.1.1") == []
    assert parquet(store) == Index(store.data).files == []


def test_what_a_killed_import_wrote_is_purged_and_what_a_running_one_writes_is_not(
    filled, source, tmp_path
):
    store = get_store(filled, STORE)
    target = ImportTarget(store.data, dry_run=False)
    killed, running = "20260101000000-00000000", new_operation_id()
    OperationFolder(filled, STORE.parent, running).start(STORE, "ImportDicomData")
    write(source, "new.dcm", "1.3", "1.3.1", 1)
    read = ingest(describe_file(str(source / "new.dcm")), target)
    left = {
        each: prepare(store.data, [read], each).files[0].file.path for each in (killed, running)
    }
    assert set(with_text(store, b"1.3.1.1")) == set(left.values())
    erase(filled, tmp_path, "/studies/1.1", purge_history=True)  # others stay
    assert set(with_text(store, b"1.3.1.1")) == set(left.values())
    erase(filled, tmp_path, "/studies/1.3", purge_history=True)
    assert with_text(store, b"1.3.1.1") == [left[running]]


def parquet(store):
    return sorted(p.name for p in Path(store.data.uri("index")).glob("*.parquet"))


def with_text(store, text):
    """Names of the index's files in whose rows a text is."""
    import pyarrow.parquet as pq

    folder = Path(store.data.uri("index"))
    tables = {name: pq.read_table(folder / name) for name in parquet(store)}
    return [name for name, table in tables.items() if text in str(table.to_pylist()).encode()]


def test_streams_do_not_take_what_is_left_for_new_rows(filled, tmp_path):
    data = get_store(filled, STORE).data
    version = Index(data).version
    erase(filled, tmp_path, "/studies/1.1/series/1.1.1")
    assert appended_files(data, version, Index(data).version) == ([], [])


def test_rows_that_are_committed_meanwhile_are_seen(filled, source, tmp_path, monkeypatch):
    write(source, "new.dcm", "1.1", "1.1.7", 1)
    own_clock = LocalStorage.own_clock
    imported = []

    def importing(storage):
        if not imported:
            imported.append(None)
            copy = ingest(describe_file(f"{source}/new.dcm"), ImportTarget(data, dry_run=False))
            commit(data, [copy], "op")
        return own_clock(storage)

    data = get_store(filled, STORE).data
    clock_of(data)
    monkeypatch.setattr(LocalStorage, "own_clock", importing)
    erase(filled, tmp_path, "/studies/1.1")
    assert uids(filled) == blobs(filled) == ["1.2.1.1"]


CALLS = [
    (LocalStorage, "create"),
    (LocalStorage, "head"),
    (LocalStorage, "touch"),
    (LocalStorage, "list"),
    (LocalStorage, "delete_older"),
    (Index, "__init__"),
    (Index, "lookup"),
    (Index, "append"),
    (Index, "replace"),
]


@pytest.mark.usefixtures("everything_is_old")
@pytest.mark.parametrize("has_row", [False, True])
def test_no_row_is_left_without_its_blob_wherever_an_import_and_a_deletion_are_stopped(
    root, monkeypatch, has_row
):
    store = create_store(root, STORE)
    steps = race(store, monkeypatch, 0, [(0, 0)])[:2]
    whole = [
        [(one, before), (1 - one, 10**6), (one, 10**6)]
        for one in (0, 1)
        for before in range(steps[one] + 1)
    ]
    some = whole + (list(orders(*steps)) if RUNS > 1 else [])
    print(f"{len(some)} orders of their steps")
    for number, order in enumerate(some, 1):
        if has_row:
            commit(store.data, [put(store, number)], "before")
        outcome = race(store, monkeypatch, number, order)[2]
        assert missing(store) == [], order
        rows = Index(store.data).lookup([f"1.2.{number}"]).num_rows
        blobs = len(list(store.data.list(f"instances/1/1/1.2.{number}")))
        if outcome == Outcome.FAILED:
            assert (rows, blobs) == (0, 0)


def race(store, monkeypatch, number, order):
    """Import an instance beside its deletion; return how many steps each took, and the outcome."""
    outcomes = []
    # Rows have other UIDs than paths in these instances, as none has in a store.
    instances = InstanceFilter(frozenset(), frozenset(), frozenset({f"1/1/1.2.{number}"}))
    rows = InstanceFilter(frozenset(), frozenset(), frozenset({f"1.2.1/1.2.1.1/1.2.{number}"}))

    def run_import():
        copy = put(store, number, write_blob)
        outcomes.extend(verdict.outcome for verdict in commit(store.data, [copy], "op"))

    def run_deletion():
        _, cutoff = erase_rows(store.data, rows)
        list(erasure.erase_blobs(store.data, instances, cutoff))

    programs = [Program(run_import), Program(run_deletion)]
    clock_of(store.data)
    with stopping_at(monkeypatch, programs, CALLS):
        run(programs, order)
    return [*(program.steps for program in programs), outcomes[0]]


def test_it_works_in_a_bucket(gcs, source, tmp_path):
    bucket = gcs.bucket(f"erase-{os.urandom(6).hex()}")
    root = open_storage(f"gs://{bucket.name}/root")
    fill(root, source)
    record = erase(root, tmp_path, "/studies/1.1", purge_history=True)
    assert record.outcome_counts.deleted == 6
    assert uids(root) == blobs(root) == ["1.2.1.1"]
    assert not [b.name for b in bucket.list_blobs() if "/instances/1.1/" in b.name]
