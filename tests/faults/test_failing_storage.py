"""Storage that fails now and then costs time; storage that is gone ends a job clearly."""

import hashlib
import json

import pytest
from obstore.exceptions import PermissionDeniedError

import dicomferry.transforms.ingest
from dicomferry.pipelines import export_dicom, import_dicom
from dicomferry.storage import retries
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import get_store
from dicomferry.store.verification import verify
from dicomferry.transforms.commit_instances import commit
from tests.factories import dicom_bytes
from tests.faults.faulty_storage import (
    FLIPPED,
    LOST,
    RESET,
    SHORT,
    SLOW,
    STATUSES,
    TRANSIENT,
    TRUNCATED,
    UNMET,
)
from tests.pipelines.jobs import (
    STORE,
    data_folder,
    exported,
    images,
    new_store,
    operation_folders,
    run_export,
    run_import,
    tree,
    write_files,
)
from tests.pipelines.test_bucket_loop import Loop
from tests.transforms.test_commit_instances import instance

LARGE = dicom_bytes(sop="1.2.1.1.99", pixels=b"\2" * (9 << 20))
FILES = images(20) | {
    "copy.dcm": images(1)["000.dcm"],
    "conflict.dcm": dicom_bytes(sop="1.2.1.1.2", pixels=b"\1" * 32),
    "large.dcm": LARGE,
    "broken.dcm": b"broken",
    "odd//name.dcm": dicom_bytes(sop="1.2.1.1.51"),
}
NOT_OF_ROWS = ("Operation", "LastUpdated")


def upload(bucket, files=FILES):
    for name, content in files.items():
        bucket.blob(f"in/{name}").upload_from_string(content)
    return f"gs://{bucket.name}/in/**"


def stored(loop, folder):
    """Rows without what differs from run to run, and blobs by name."""
    rows = {
        uid: {name: value for name, value in row.items() if name not in NOT_OF_ROWS}
        for uid, row in loop.rows(folder).items()
    }
    return rows, loop.objects(f"{loop.data()}/instances/")


def run_twice(bucket, faults, tmp_path, workers=0, **settings):
    """Import and export undisturbed, and disturbed; what both left."""
    source = upload(bucket)
    ends = []
    for name, chances in (("calm", {}), ("rough", settings.pop("chances"))):
        faults.reset(**settings, chances=chances)
        root = open_storage(f"gs://{bucket.name}/{name}")
        new_store(root)
        job = run_import(root, source, workers=workers)
        out = run_export(root, f"gs://{bucket.name}/{name}-out", workers=workers)
        local = run_export(root, tmp_path / f"{name}-out", workers=workers)
        assert (job.code, out.code, local.code) == (1, 0, 0)
        injected = faults.injected
        faults.reset()
        loop = Loop(bucket, root, job, {})
        outcomes = {s: (o["outcome"], o.get("code")) for s, o in job.outcomes.items()}
        ends.append(
            (
                outcomes,
                stored(loop, tmp_path / name),
                loop.objects(f"{name}-out/"),
                tree(tmp_path / f"{name}-out"),
            )
        )
        assert not any(finding.problem for finding in verify(get_store(root, STORE)))
    return ends, injected


@pytest.mark.timeout(300)
def test_jobs_end_right_on_storage_that_fails_in_every_way(bucket, faults, tmp_path, seed):
    (calm, rough), injected = run_twice(
        bucket, faults, tmp_path, seed=seed, chances=dict.fromkeys(TRANSIENT, 0.1)
    )
    print(f"seed {seed}: {sum(injected.values())} faults in {dict(injected)}")
    assert rough == calm
    assert {*STATUSES, RESET, LOST, SLOW, TRUNCATED, UNMET} <= injected.keys() | {TRUNCATED, UNMET}
    assert len(rough[0]) == len(FILES)
    assert rough[0][f"gs://{bucket.name}/in/broken.dcm"] == ("failed", "NOT_DICOM")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", [*TRANSIENT, SHORT])
def test_each_fault_alone_is_got_over_wherever_it_strikes(bucket, faults, fault):
    names = ("000.dcm", "copy.dcm", "conflict.dcm", "broken.dcm", "odd//name.dcm")
    source = upload(bucket, {name: FILES[name] for name in names})
    root = open_storage(f"gs://{bucket.name}/root")
    # Of listings only a whole document is one: a service does not send half of it as if it were.
    only = "%2Edcm" if fault == SHORT else ""
    # Few requests have a precondition.
    chance = 0.5 if fault in (SHORT, UNMET) else 0.25
    faults.reset(chances={fault: chance}, only=only)
    new_store(root)
    job = run_import(root, source)
    assert faults.injected[fault]
    assert job.kinds == {"imported": 3, "duplicate": 1, "failed": 1}
    faults.reset()
    assert not any(finding.problem for finding in verify(get_store(root, STORE)))


def of_file(name):
    """What obstore's paths of a source hold."""
    return f"in%2F{name}".replace(".", "%2E")


@pytest.mark.parametrize("fault", ["429", "503", RESET])
def test_an_outage_of_minutes_is_ridden_out(bucket, faults, monkeypatch, fault):
    # A thousandth of each pause, so that time is no limit; 40 of at most 10 s are minutes.
    for name in ("_FIRST_PAUSE_SECONDS", "_MAX_PAUSE_SECONDS"):
        monkeypatch.setattr(retries, name, getattr(retries, name) / 1000)
    faults.reset(chances={fault: 1.0}, most_in_a_row=40)
    root = open_storage(f"gs://{bucket.name}/root")
    root.write("a/b", b"content")
    assert root.read("a/b") == b"content"
    assert [entry.path for entry in root.list()] == ["a/b"]
    root.delete(["a/b"])
    assert root.head("a/b") is None
    assert faults.injected[fault] > 4 * 40


@pytest.mark.parametrize("where", ["bucket", "folder"])
def test_wrong_bytes_never_enter_a_store(bucket, faults, tmp_path, where):
    source = upload(bucket)
    root = open_storage(f"gs://{bucket.name}/root" if where == "bucket" else str(tmp_path / "root"))
    new_store(root)
    faults.reset(seed=1, chances={FLIPPED: 1.0}, only=of_file("003.dcm"), most_in_a_row=1000)
    job = run_import(root, source)
    assert job.of("003.dcm") == ("failed", "WRONG_CHECKSUM")
    assert faults.injected[FLIPPED] == 3
    assert job.kinds["failed"] == 2
    faults.reset(seed=1, chances={FLIPPED: 1.0}, only=of_file("003.dcm"), most_in_a_row=1)
    assert run_import(root, source).of("003.dcm") == ("imported", "")
    assert faults.injected[FLIPPED] == 1
    faults.reset()
    assert not any(finding.problem for finding in verify(get_store(root, STORE)))
    assert run_export(root, tmp_path / "out").code == 0
    digest = hashlib.sha256(FILES["003.dcm"]).hexdigest()
    assert digest in tree(tmp_path / "out").values()


def test_wrong_bytes_of_a_large_object_never_get_a_name(bucket, faults, root):
    source = upload(bucket, {"large.dcm": LARGE})
    new_store(root)
    faults.reset(chances={FLIPPED: 0.3}, only=of_file("large.dcm"), most_in_a_row=1)
    job = run_import(root, source)
    assert faults.injected[FLIPPED]
    assert job.of("large.dcm")[0] == "failed"
    assert list(data_folder(root).list("instances")) == []
    faults.reset()
    assert run_import(root, source).of("large.dcm") == ("imported", "")
    assert sorted(exported(root).values()) == [hashlib.sha256(LARGE).hexdigest()]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", [*TRANSIENT, SHORT, FLIPPED])
@pytest.mark.parametrize("mime_type", ["", "image/png"])
def test_exports_get_over_each_fault_of_what_they_read(bucket, faults, tmp_path, mime_type, fault):
    root = open_storage(f"gs://{bucket.name}/root")
    new_store(root)
    run_import(root, write_files(tmp_path / "in", images(6)))
    assert run_export(root, tmp_path / "calm", f"--mime-type={mime_type}").code == 0
    # Read three times at most: of two faults in a row it knows nothing.
    faults.reset(seed=2, chances={fault: 0.6}, only=of_blob(""), most_in_a_row=2)
    assert run_export(root, tmp_path / "rough", f"--mime-type={mime_type}").code == 0
    assert faults.injected[fault] or fault == UNMET  # what is read has no precondition
    assert tree(tmp_path / "rough") == tree(tmp_path / "calm")


def of_blob(uid):
    """What obstore's paths of a blob hold."""
    return f"instances%2F1%2E2%2E1%2F1%2E2%2E1%2E1%2F{uid.replace('.', '%2E')}"


@pytest.mark.parametrize("mime_type", ["", "image/png"])
def test_wrong_bytes_never_leave_a_store(bucket, faults, tmp_path, mime_type):
    root = open_storage(f"gs://{bucket.name}/root")
    new_store(root)
    run_import(root, write_files(tmp_path / "in", images(6)))
    faults.reset(chances={FLIPPED: 1.0}, only=of_blob("1.2.1.1.3"), most_in_a_row=1000)
    job = run_export(root, tmp_path / "out", f"--mime-type={mime_type}")
    assert job.of("/1.2.1.1.3") == ("failed", "BLOB_CORRUPT")
    assert faults.injected[FLIPPED] == 3
    assert job.kinds == {"exported": 5, "failed": 1}
    assert len(tree(tmp_path / "out")) == 5


@pytest.fixture
def impatient(monkeypatch):
    """Clients that give up sooner, so that the tests do not wait as long as users would."""
    monkeypatch.setattr(retries, "MAX_RETRIES", 2)
    monkeypatch.setattr(retries, "RETRY_SECONDS", 5)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("after", [0, 5])
def test_storage_that_is_gone_ends_an_import_and_nothing_half_is_visible(
    bucket, faults, tmp_path, impatient, monkeypatch, caplog, after
):
    source = write_files(tmp_path / "in", FILES | {"odd/name.dcm": FILES["odd//name.dcm"]})
    root = open_storage(f"gs://{bucket.name}/root")
    new_store(root)
    write_blob = dicomferry.transforms.ingest.write_blob
    blobs = []

    def breaking(data, path, *content):
        if len(blobs) >= after:
            faults.reset(down=True)
        write_blob(data, path, *content)
        blobs.append(path)

    with monkeypatch.context() as patch:
        patch.setattr(dicomferry.transforms.ingest, "write_blob", breaking)
        assert run_direct(import_dicom, root, f"--source={source}") == 3
    assert "storage failed" in caplog.text
    assert "Traceback" not in caplog.text
    faults.reset()
    [folder] = operation_folders(root)
    # It cannot be told there: without a heartbeat readers will see it as aborted.
    assert not json.loads(folder.storage.read("operation.json"))["done"]
    assert Loop(bucket, root, None, {}).rows(tmp_path / "index") == {}
    job = run_import(root, source)
    assert job.kinds["imported"] == 22
    assert not any(finding.problem for finding in verify(get_store(root, STORE)))


@pytest.mark.timeout(120)
def test_storage_that_was_never_there_is_said_so(bucket, faults, impatient, tmp_path, caplog):
    root = open_storage(f"gs://{bucket.name}/root")
    new_store(root)
    run_import(root, write_files(tmp_path / "in", images(2)))
    faults.reset(down=True)
    for job in (
        lambda: run_direct(import_dicom, root, f"--source={tmp_path}/in/**"),
        lambda: run_direct(export_dicom, root, f"--destination={tmp_path}/out"),
    ):
        caplog.clear()
        assert job() == 3
        assert "storage failed" in caplog.text
        assert "Traceback" not in caplog.text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("only", ["import%2D", "00000001%2Ejson"])
def test_a_bucket_that_must_not_be_written_to_is_no_lost_race(bucket, faults, only):
    data = new_store(open_storage(f"gs://{bucket.name}/root")).data
    faults.reset(chances={"403": 1.0}, only=only, most_in_a_row=1_000_000)
    said = "cannot be written with these credentials|lacked the necessary privileges"
    with pytest.raises((PermissionError, PermissionDeniedError), match=said):
        commit(data, [instance(1)], "op")
    faults.reset()
    commit(data, [instance(1)], "op")


def run_direct(pipeline, root, flag):
    """Run a job without looking at what it left: there may be nothing to look at."""
    return pipeline.main([f"--store={STORE.id}", f"--root={root.root}", "--workers=0", flag])


@pytest.mark.timeout(120)
def test_storage_that_is_gone_ends_an_export_and_nothing_half_is_visible(
    bucket, faults, tmp_path, impatient, monkeypatch, caplog
):
    root = open_storage(f"gs://{bucket.name}/root")
    new_store(root)
    run_import(root, write_files(tmp_path / "in", images(20)))
    expected = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in Loop(bucket, root, None, {}).objects("root/").items()
        if "/instances/" in name
    }
    read = Storage.chunks
    calls = []

    def breaking(storage, path):
        calls.append(path)
        if len(calls) == 7:
            faults.reset(down=True)
        return read(storage, path)

    monkeypatch.setattr(Storage, "chunks", breaking)
    assert run_direct(export_dicom, root, f"--destination={tmp_path}/out") == 3
    assert "storage failed" in caplog.text
    written = tree(tmp_path / "out")
    assert set(written.values()) <= set(expected.values())
    assert len(written) < 20
    assert not [name for name in written if not name.endswith(".dcm")]
    faults.reset()
    assert run_export(root, tmp_path / "out").code == 0
    assert sorted(tree(tmp_path / "out").values()) == sorted(expected.values())
