"""Jobs that end their own operation, as on Dataflow; the same graph runs on the local runner."""

import json

import pytest

from dicomferry.operations.folder import start_operation
from dicomferry.operations.outcomes import OutcomeCounts
from dicomferry.operations.owner import DataflowJob
from dicomferry.pipelines import export_dicom, import_dicom
from dicomferry.tables.delta_table import DeltaTablePath
from dicomferry.tables.errors import TableError
from dicomferry.transforms.finish_operation import Ending, OperationFailedError, finish_operation
from tests.pipelines.jobs import (
    STORE,
    check_accounts,
    images,
    new_store,
    run,
    run_export,
    run_import,
    write_files,
)

JOB = DataflowJob("p", "europe-west4", "dicomferry-1")


@pytest.fixture(autouse=True)
def handed_over(monkeypatch):
    """Every job is one that Dataflow would own; but it is run here."""
    for module in (import_dicom, export_dicom):
        monkeypatch.setattr(module, "dataflow_job", lambda _: JOB)
        monkeypatch.setattr(module, "is_remote", lambda _: True)


def sources(tmp_path, files):
    pattern = write_files(tmp_path / "in", files)
    return pattern, [str(tmp_path / "in" / name) for name in files]


def test_an_import_ends_its_operation_in_its_last_step(root, tmp_path):
    new_store(root)
    pattern, names = sources(tmp_path, images(3))
    job = run_import(root, pattern)
    assert job.code == 0
    check_accounts(job, names)
    assert job.operation["owner"] == JOB._asdict()


def test_failures_above_the_limit_fail_the_job_after_its_record_is_written(root, tmp_path):
    new_store(root)
    pattern, names = sources(tmp_path, images(2) | {"notes.txt": b"not DICOM at all" * 20})
    job = run_import(root, pattern)
    assert job.code == 1
    check_accounts(job, names)
    assert job.operation["error"]["code"] == 3
    allowed = run_import(root, pattern, "--max-failures=1")
    assert allowed.code == 0
    check_accounts(allowed, names)


def test_a_pattern_that_matches_nothing_is_an_error_of_the_operation(root, tmp_path):
    new_store(root)
    (tmp_path / "in").mkdir()
    job = run_import(root, f"{tmp_path}/in/**")
    assert job.code == 2
    assert job.operation["error"]["code"] == 5
    assert f"{tmp_path}/in/**" in job.operation["error"]["message"]


def test_exports_end_their_operations_too(root, tmp_path):
    new_store(root)
    pattern, _ = sources(tmp_path, images(3))
    run_import(root, pattern)
    files = run_export(root, tmp_path / "out")
    assert files.code == 0
    assert files.operation["counts"]["exported"] == 3
    table = run(export_dicom.main, root, f"--table=delta:{tmp_path}/table", "--workers=0")
    assert table.code == 0
    assert table.operation["done"]
    assert table.operation["counts"]["exported"] == 3
    assert not list(table.folder.storage.list("rows"))


def test_a_table_that_refuses_its_rows_ends_the_operation_with_its_reason(
    root, tmp_path, monkeypatch
):
    def refuse(*_):
        raise TableError("the table is closed")

    new_store(root)
    pattern, _ = sources(tmp_path, images(3))
    run_import(root, pattern)
    monkeypatch.setattr(DeltaTablePath, "load", refuse)
    job = run(export_dicom.main, root, f"--table=delta:{tmp_path}/table", "--workers=0")
    assert job.operation["error"] == {"code": 9, "message": "the table is closed"}
    assert job.code == 2


# The last step alone.


@pytest.fixture
def folder(root):
    """An operation of which three files are listed and accounted for."""
    new_store(root)
    folder = start_operation(root, STORE, "ImportDicomData", owner=JOB)
    folder.write_counts("00000", OutcomeCounts(imported=2, failed=1, bytes=10))
    return folder


def record(folder):
    return json.loads(folder.storage.read("operation.json"))


def test_a_second_attempt_of_the_last_step_changes_nothing_and_answers_the_same(folder):
    for _ in range(2):
        with pytest.raises(OperationFailedError, match="1 of 3 files failed"):
            finish_operation(OutcomeCounts(), Ending(folder, "files"), 3)
    first = record(folder)
    assert finish_operation(OutcomeCounts(), Ending(folder, "files", 1), 3).imported == 2
    assert record(folder) == first


def test_outcomes_that_do_not_account_for_every_listed_file_are_an_error(folder):
    with pytest.raises(OperationFailedError, match="3 outcomes were written for 4 files"):
        finish_operation(OutcomeCounts(), Ending(folder, "files", 9), 4)
    assert record(folder)["error"]["code"] == 13
