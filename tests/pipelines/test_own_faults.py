"""Jobs in which our own code raises for one instance: that one fails, and the job says so."""

import json

import duckdb
import pytest

from dicomferry.dicom import header
from dicomferry.pixels.render.renderer import Renderer
from dicomferry.tables.flattened import FlattenedRows
from dicomferry.transforms import commit_instances
from tests.factories import dicom_bytes
from tests.pipelines.jobs import check_accounts, new_store, run_export, run_import
from tests.pipelines.tables import run_table_export

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

    def broken(*args, **kwargs):
        if is_bad(*args, **kwargs):
            raise IndexError("DOE^JANE")
        return function(*args, **kwargs)

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


def test_an_import_whose_row_cannot_be_made(root, source, monkeypatch):
    new_store(root)
    breaking(
        monkeypatch,
        commit_instances,
        "rows_of",
        lambda instances, _: any(each.sop_instance_uid == SOPS[1] for each in instances),
    )
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
