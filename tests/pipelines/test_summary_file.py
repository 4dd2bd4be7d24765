"""--summary-file: what a job tells the program that started it."""

import json

import pytest
from google.rpc.code_pb2 import INTERNAL, UNAVAILABLE

from dicomferry.operations.listing import list_operations
from dicomferry.pipelines import export_dicom, import_dicom
from dicomferry.pipelines.import_request import ImportRequest
from dicomferry.storage.errors import NoCredentialsError
from dicomferry.tables.errors import TableOutOfReachError
from tests.pipelines.jobs import STORE, images, run, run_import, write_files


@pytest.fixture
def summary(tmp_path):
    """The path of a summary, and a function that reads it."""
    path = tmp_path / "told" / "summary.json"
    return path, lambda: json.loads(path.read_text())


def test_a_job_that_ends_well_is_summed_up(store, tmp_path, summary):
    path, read = summary
    source = write_files(tmp_path / "in", images(2))
    job = run_import(store, source, f"--summary-file={path}")
    assert read() == {
        "name": job.folder.name,
        "id": job.folder.id,
        "store": str(STORE),
        "method": "ImportDicomData",
        "done": True,
        "total": 2,
        "counts": job.operation["counts"],
        "outcomes": job.folder.storage.uri("outcomes-*.jsonl"),
        "exitCode": 0,
    }


@pytest.mark.parametrize(("allowed", "code"), [(0, 1), (1, 0)])
def test_files_that_failed_are_an_error_and_the_exit_code_is_that_of_the_process(
    store, tmp_path, summary, allowed, code
):
    path, read = summary
    source = write_files(tmp_path / "in", images(1) | {"a": b""})
    job = run_import(store, source, f"--summary-file={path}", f"--max-failures={allowed}")
    assert read()["exitCode"] == job.code == code
    assert read()["error"] == job.operation["error"]


def test_a_job_that_breaks_is_summed_up(store, tmp_path, summary):
    path, read = summary
    job = run_import(store, f"{tmp_path}/nothing/**", f"--summary-file={path}")
    assert (read()["name"], read()["done"], read()["exitCode"]) == (job.folder.name, True, 2)
    assert read()["error"] == job.operation["error"]


def test_a_request_that_is_refused_has_a_summary_without_an_operation(root, tmp_path, summary):
    path, read = summary
    job = run(export_dicom.main, root, f"--destination={tmp_path}/out", f"--summary-file={path}")
    assert job.code == 2
    assert (read()["name"], read()["exitCode"], read()["error"]["code"]) == ("", 2, 5)
    assert "does not exist" in read()["error"]["message"]


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (NoCredentialsError("there are no credentials"), UNAVAILABLE, 3),
        (TableOutOfReachError("it did not answer in time"), UNAVAILABLE, 3),
        (RuntimeError("DOE^JANE"), INTERNAL, 3),
    ],
)
def test_an_outage_before_the_job_is_not_the_fault_of_the_request(
    store, tmp_path, summary, monkeypatch, caplog, error, code, exit_code
):
    def fail(*_):
        raise error

    path, read = summary
    monkeypatch.setattr(ImportRequest, "resolve", fail)
    assert run_import(store, f"{tmp_path}/**", f"--summary-file={path}").code == exit_code
    assert (read()["error"]["code"], read()["exitCode"]) == (code, exit_code)
    assert read()["error"]["message"] in caplog.text
    assert "DOE" not in caplog.text + path.read_text()


def test_the_operation_is_named_while_the_job_runs(store, tmp_path, summary, monkeypatch):
    path, read = summary
    seen = []
    sources = import_dicom.list_sources
    monkeypatch.setattr(
        import_dicom, "list_sources", lambda *a: (seen.append(read()), sources(*a))[1]
    )
    source = write_files(tmp_path / "in", images(1))
    job = run_import(store, source, f"--summary-file={path}")
    assert (seen[0]["name"], seen[0]["done"]) == (job.folder.name, False)
    assert seen[0]["exitCode"] is None


def test_an_interrupted_job_is_summed_up(store, tmp_path, summary, monkeypatch):
    path, read = summary

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(import_dicom, "list_sources", interrupt)
    assert run_import(store, f"{tmp_path}/**", f"--summary-file={path}").code == 130
    assert (read()["done"], read()["exitCode"], read()["error"]["code"]) == (True, 130, 1)


def test_a_folder_is_refused(store, tmp_path):
    assert run_import(store, "/in/**", f"--summary-file={tmp_path}/").code == 2


def test_one_that_cannot_be_written_is_refused_before_the_operation(store, tmp_path, capsys):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "summary.json"
    assert run_import(store, "/in/**", f"--summary-file={path}").code == 2
    assert f"--summary-file {path} cannot be written: name another" in capsys.readouterr().err
    assert list(list_operations(store, STORE.parent)) == []


def test_a_destination_that_cannot_be_written_is_refused_before_the_operation(
    store, tmp_path, caplog
):
    (tmp_path / "file").touch()
    job = run(export_dicom.main, store, f"--destination={tmp_path}/file/out")
    assert job.code == 2
    assert "cannot be written: name another destination" in caplog.text
    assert list(list_operations(store, STORE.parent)) == []


def test_a_summary_in_a_bucket(store, tmp_path, gcs):
    bucket = gcs.bucket("summaries")
    source = write_files(tmp_path / "in", images(1))
    run_import(store, source, "--summary-file=gs://summaries/told/summary.json")
    told = json.loads(bucket.blob("told/summary.json").download_as_bytes())
    assert (told["total"], told["exitCode"]) == (1, 0)
