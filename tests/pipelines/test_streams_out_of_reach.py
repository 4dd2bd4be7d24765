"""Imports and exports while the service of a table is out of reach: late or failed, never lost."""

import json

import pytest
from google.cloud.bigquery import DEFAULT_RETRY
from google.rpc.code_pb2 import UNAVAILABLE
from typer.testing import CliRunner

from dicomferry.api.resources import operation_message
from dicomferry.cli import main
from dicomferry.console.views.operation import operation_section
from dicomferry.operations.folder import start_operation
from dicomferry.operations.record import Method
from dicomferry.pipelines import export_dicom, import_dicom
from dicomferry.pipelines.job import JobError
from dicomferry.storage import retries
from dicomferry.store.dicom_store import create_store
from dicomferry.tables import bigquery_calls, bigquery_load
from tests.emulators.out_of_reach import refusing, silent
from tests.pipelines.jobs import STORE, images, rows, run_import, table_of, write_files
from tests.pipelines.test_streams import lines_of
from tests.tables.fake_bigquery import PROJECT, FakeBigQuery, serving

BQ = f"bq://{PROJECT}.data.instances"
DELTA = "delta:gs://bucket-out-of-reach/t"


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """Patience is a fraction of a second."""
    for patience in (bigquery_calls.ASKING, bigquery_calls.FOLLOWING):
        retry = DEFAULT_RETRY.with_timeout(0.2).with_delay(0.05, 0.05)
        monkeypatch.setitem(patience, "retry", retry)
        monkeypatch.setitem(patience, "timeout", 0.2)
    monkeypatch.setattr(bigquery_load, "_UPLOAD_RETRIES", 0)


@pytest.fixture
def streaming(root):
    """A root with a store that streams to BigQuery."""
    create_store(root, STORE, {"streamConfigs": [{"bigqueryDestination": {"tableUri": BQ}}]})
    return root


def import_without(place, root, source, monkeypatch):
    """Import while BigQuery is out of reach."""
    with place() as address:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", address)
        return run_import(root, source)


def import_with(fake, root, source, monkeypatch):
    """Import while BigQuery answers."""
    with serving(fake) as address:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", address)
        return run_import(root, source)


def streamed(fake):
    return sorted(row["SOPInstanceUID"] for row in fake.tables["data.instances"]["rows"])


def test_an_import_ends_well_asks_once_and_the_next_one_sends_all(
    streaming, tmp_path, monkeypatch, caplog
):
    source = write_files(tmp_path / "in", images(2))
    monkeypatch.setattr(import_dicom, "PART_FILES", 1)
    asked = []
    check = bigquery_load.check
    monkeypatch.setattr(bigquery_load, "check", lambda *args: asked.append(args) or check(*args))
    job = import_without(silent, streaming, source, monkeypatch)
    assert (job.code, job.kinds) == (0, {"imported": 2})
    assert "error" not in job.operation
    assert len(asked) == 1
    assert caplog.text.count("not streamed") == 1
    [line] = lines_of(job, "errors")
    assert (line["table"], line["code"]) == (BQ, "OUT_OF_REACH")
    assert "The next import into this store tries again" in line["reason"]

    # Who looks at the operation sees it, wherever that is.
    [lagging] = job.operation["metadata"]["lagging"]
    assert lagging["resource"] == BQ
    assert lagging["error"]["code"] == UNAVAILABLE
    assert "it did not answer in time" in lagging["error"]["message"]
    record = job.folder.read()
    assert "did not answer" in str(operation_message(record).metadata.value)
    assert f"{BQ}: OUT_OF_REACH" in str(operation_section(record))
    described = ["operations", "describe", job.folder.id, "--root", streaming.root]
    assert f"not all sent  {BQ}" in CliRunner().invoke(main.app, described).output

    monkeypatch.setattr(import_dicom, "PART_FILES", 10)
    fake = FakeBigQuery()
    later = import_with(fake, streaming, source, monkeypatch)
    assert later.kinds == {"skipped": 2}
    assert "lagging" not in later.operation["metadata"]
    assert streamed(fake) == sorted(rows(streaming))
    assert lines_of(later, "errors") == []


def test_rows_whose_load_may_have_happened_are_not_sent_twice(streaming, tmp_path, monkeypatch):
    fake = FakeBigQuery()
    fake.lose_answers = 100  # to all insertions: the load job has run, and nobody knows
    job = import_with(fake, streaming, write_files(tmp_path / "in", images(2)), monkeypatch)
    assert (job.code, job.kinds) == (0, {"imported": 2})
    assert [line["code"] for line in lines_of(job, "errors")] == ["OUT_OF_REACH"]
    assert len(streamed(fake)) == 2
    fake.lose_answers = 0
    import_with(fake, streaming, write_files(tmp_path / "in", images(3)), monkeypatch)
    assert streamed(fake) == sorted(rows(streaming))


def test_a_refused_stream_is_not_tried_by_every_part(streaming, tmp_path, monkeypatch, caplog):
    fake = FakeBigQuery()
    fields = [{"name": "Modality", "type": "INTEGER"}]
    fake.tables["data.instances"] = {"fields": fields, "rows": [], "type": "TABLE"}
    source = write_files(tmp_path / "in", images(2))
    monkeypatch.setattr(import_dicom, "PART_FILES", 1)
    job = import_with(fake, streaming, source, monkeypatch)
    assert (job.code, job.kinds) == (0, {"imported": 2})
    assert caplog.text.count("not streamed") == 1
    [lagging] = job.operation["metadata"]["lagging"]
    assert "column Modality" in lagging["error"]["message"]
    monkeypatch.setattr(import_dicom, "PART_FILES", 10)
    fake.tables.clear()
    import_with(fake, streaming, source, monkeypatch)
    assert streamed(fake) == sorted(rows(streaming))


def test_a_delta_table_in_a_bucket_out_of_reach_does_not_end_an_import(root, tmp_path, monkeypatch):
    monkeypatch.setattr(retries, "RETRY_SECONDS", 0)
    create_store(root, STORE, {"streamConfigs": [{"bigqueryDestination": {"tableUri": DELTA}}]})
    with refusing() as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        job = run_import(root, write_files(tmp_path / "in", images(1)))
    assert (job.code, job.kinds) == (0, {"imported": 1})
    [line] = lines_of(job, "errors")
    assert (line["table"], line["code"]) == (DELTA, "OUT_OF_REACH")


@pytest.mark.parametrize("place", [refusing, silent])
def test_an_export_fails_and_says_so(root, tmp_path, monkeypatch, place):
    create_store(root, STORE)
    folder = start_operation(root, STORE, Method.EXPORT)  # as the server does, which asks nobody
    with place() as address:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", address)
        with pytest.raises(JobError):
            export_dicom.run(table_of(root, BQ, operation=folder.id))
    error = json.loads(folder.storage.read("operation.json"))["error"]
    assert error["code"] == UNAVAILABLE
    assert f"BigQuery is not available for {BQ} now: it" in error["message"]
    assert "run it again" in error["message"]
