"""Jobs in which our own code raises for one instance: that one fails, and the job says so."""

import json
from collections.abc import Iterator

import duckdb
import pytest
from google.rpc.code_pb2 import DATA_LOSS

from dicomferry.dicom import header
from dicomferry.pixels.render.renderer import Renderer
from dicomferry.storage.local import LocalStorage
from dicomferry.store.dicom_store import create_store, get_store
from dicomferry.store.verification import verify
from dicomferry.tables.flattened import FlattenedRows
from dicomferry.transforms import prepare_instances, publish_notifications
from dicomferry.transforms.publish_notifications import Published, _Publisher
from tests.factories import dicom_bytes
from tests.pipelines.jobs import STORE, check_accounts, new_store, run_export, run_import
from tests.pipelines.tables import run_table_export, uids

SOPS = ("1.2.1.1.1", "1.2.1.1.2", "1.2.1.1.3")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for sop in SOPS:
        (folder / f"{sop}.dcm").write_bytes(dicom_bytes(sop=sop, PatientName="DOE^JANE"))
    return f"{folder}/*"


@pytest.fixture
def imported(root, source):
    new_store(root)
    assert run_import(root, source).code == 0
    return root


def breaking(monkeypatch, owner, name, is_bad):
    """Let a function raise what nobody expects, for some of its calls."""
    function = getattr(owner, name)

    def broken(first, *args):
        # Both may read it, and it can be an iterator.
        first = list(first) if isinstance(first, Iterator) else first
        if is_bad(first, *args):
            raise IndexError("DOE^JANE")
        return function(first, *args)

    monkeypatch.setattr(owner, name, broken)


def check(job, failed, of):
    """As many failed as should, each with kind and place and no value; the others are done."""
    check_accounts(job, job.outcomes)
    assert (job.code, len(job.outcomes), job.kinds["failed"]) == (1, of, failed)
    for line in job.outcomes.values():
        if line["outcome"] == "failed":
            assert line["code"] == "INTERNAL_ERROR"
            assert line["fault"].startswith("IndexError at dicomferry/")
        else:
            assert "fault" not in line
    assert "DOE" not in json.dumps([job.operation, job.outcomes])


@pytest.mark.parametrize("failed", [1, 3])
def test_an_export_to_files(imported, tmp_path, monkeypatch, failed):
    left = iter(range(failed))
    breaking(monkeypatch, Renderer, "picture", lambda *_: next(left, None) is not None)
    job = run_export(imported, tmp_path / "out", "--mime-type=image/png")
    check(job, failed, of=3)
    assert len(list((tmp_path / "out").rglob("*.png"))) == 3 - failed


def test_an_import(root, source, monkeypatch):
    new_store(root)
    left = iter(range(1))
    breaking(monkeypatch, header, "_modality", lambda *_: next(left, None) is not None)
    check(run_import(root, source), 1, of=3)
    assert run_import(root, source).kinds == {"skipped": 2, "imported": 1}


@pytest.mark.parametrize("name", ["rows_of", "resolve_copies"])
def test_an_import_whose_row_cannot_be_made(root, source, monkeypatch, name):
    new_store(root)

    def is_bad(instances, *_):
        return any(each.sop_instance_uid == SOPS[1] for each in instances)

    breaking(monkeypatch, prepare_instances, name, is_bad)
    job = run_import(root, source)
    check(job, 1, of=3)
    assert job.of(f"{SOPS[1]}.dcm") == ("failed", "INTERNAL_ERROR")


@pytest.mark.parametrize("failed", [1, 3])
def test_an_export_to_a_table(imported, tmp_path, monkeypatch, failed):
    file = tmp_path / "t.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE SCHEMA d; CREATE TABLE d.t (SOPInstanceUID VARCHAR)")
        connection.execute("INSERT INTO d.t VALUES ('earlier')")
    breaking(
        monkeypatch,
        FlattenedRows,
        "row",
        lambda _, instance: instance["SOPInstanceUID"] in SOPS[:failed],
    )
    job = run_table_export(imported, f"duckdb:{file}#d.t", "--write-disposition=WRITE_TRUNCATE")
    assert (job.code, job.kinds) == (1, {"failed": failed})
    counts = job.operation["counts"]
    assert (counts.get("exported", 0), counts["failed"]) == (3 - failed, failed)
    assert all(line["fault"].startswith("IndexError at") for line in job.outcomes.values())
    with duckdb.connect(str(file)) as connection:
        rows = connection.execute("SELECT SOPInstanceUID FROM d.t ORDER BY 1").fetchall()
    # Without a row to give, the table stays as it was.
    assert [uid for (uid,) in rows] == (list(SOPS[failed:]) or ["earlier"])


def test_what_follows_an_import(root, source, tmp_path, monkeypatch):
    """A row of a stream and a message fail alone; both are listed, and the import is done."""
    uri = f"duckdb:{tmp_path}/t.duckdb#d.t"
    streams = [{"bigqueryDestination": {"tableUri": uri, "schemaFlattened": {}}}]
    topics = [{"pubsubTopic": "projects/p/topics/t"}]
    create_store(root, STORE, {"streamConfigs": streams, "notificationConfigs": topics})
    breaking(monkeypatch, FlattenedRows, "row", lambda _, row: row["SOPInstanceUID"] == SOPS[0])
    breaking(
        monkeypatch,
        publish_notifications,
        "to_message",
        lambda row, *_: row["SOPInstanceUID"] == SOPS[1],
    )
    sent = []

    def request(_self, _topic, messages):
        sent.extend(message["data"].decode().rpartition("/")[2] for message in messages)
        return Published(len(messages))

    monkeypatch.setattr(_Publisher, "_request", request)
    job = run_import(root, source)
    assert (job.code, job.kinds) == (1, {"imported": 3})
    assert {each["error"]["code"] for each in job.operation["metadata"]["lagging"]} == {DATA_LOSS}
    assert uids(uri) == list(SOPS[1:])
    assert sorted(sent) == [SOPS[0], SOPS[2]]
    for kind, uid in (("stream", SOPS[0]), ("notification", SOPS[1])):
        [line] = [
            json.loads(line)
            for entry in job.folder.storage.list()
            if entry.path.startswith(f"{kind}-errors-")
            for line in job.folder.storage.read(entry.path).splitlines()
        ]
        assert (line["sopInstanceUid"], line["code"]) == (uid, "INTERNAL_ERROR")
        assert line["fault"].startswith("IndexError at dicomferry/")
    assert run_import(root, source).kinds == {"skipped": 3}
    assert len(sent) == 2  # and nothing is tried without end


def test_a_blob_that_is_verified(imported, monkeypatch):
    left = iter(range(1))
    breaking(monkeypatch, LocalStorage, "head", lambda *_: next(left, None) is not None)
    problems = [each.problem for each in verify(get_store(imported, STORE)) if each.problem]
    assert len(problems) == 1
    assert problems[0].startswith("INTERNAL_ERROR (IndexError at dicomferry/store/verification.py:")
