"""Log lines as Cloud Logging parses them."""

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dicomferry.pipelines import log_format
from dicomferry.pipelines.log_format import LogFormat
from tests.pipelines.jobs import STORE, images, new_store, operation_folders, write_files

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def written():
    """Sets JSON logging up and gives what was logged; the logger is left as it was."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    log_format.set_up(LogFormat.JSON, "projects/p/operations/1", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], root.level = before


def test_a_line_has_severity_time_message_and_the_operation(written):
    logging.getLogger("x").warning("%d files", 3)
    [entry] = written()
    assert entry["severity"] == "WARNING"
    assert entry["message"] == "3 files"
    assert entry["timestamp"].endswith("+00:00")
    assert entry["logging.googleapis.com/operation"] == {
        "id": "projects/p/operations/1",
        "producer": "dicomferry",
    }


def test_an_exception_is_named_with_its_places_but_not_its_text(written):
    try:
        raise ValueError("Doe^Jane")
    except ValueError:
        logging.getLogger("x").exception("it broke")
    [entry] = written()
    assert entry["exception"] == "ValueError"
    assert "test_log_format" in entry["stack"][0]
    assert "Doe" not in json.dumps(entry)


def test_bytes_that_are_no_utf8_become_question_marks_as_in_the_api(written):
    logging.getLogger("x").info("file", extra={"payload": {"source": "/in/\udcff.dcm"}})
    assert written()[0]["source"] == "/in/?.dcm"


def test_a_job_logs_what_failed_as_the_api_does_and_a_summary_as_fields(root, tmp_path):
    new_store(root)
    source = write_files(tmp_path / "in", images(1) | {"notes.txt": b"not DICOM at all" * 20})
    command = [
        sys.executable,
        "-m",
        "dicomferry.pipelines.import_dicom",
        "--workers=0",
        "--log-format=json",
    ]
    command += [f"--store={STORE.id}", f"--root={root.root}", f"--source={source}"]
    run = subprocess.run(
        command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, env=os.environ, check=False
    )
    assert run.returncode == 1
    entries = [json.loads(line) for line in run.stderr.splitlines() if line.startswith("{")]
    [operation] = [folder.name for folder in operation_folders(root)]
    [failure] = [entry for entry in entries if "source" in entry]
    assert failure["severity"] == "ERROR"
    assert failure["source"] == f"{tmp_path}/in/notes.txt"
    assert failure["error"]["code"] == 3
    assert failure["error"]["reason"] == "NOT_DICOM"
    assert failure["@type"].endswith("google.cloud.healthcare.logging.ImportDicomLogEntry")
    assert failure["logging.googleapis.com/operation"]["id"] == operation
    summary = entries[-1]
    assert summary["name"] == operation
    assert summary["counts"]["imported"] == 1
    assert summary["total"] == 2


@pytest.mark.parametrize(
    ("asked", "is_dataflow", "is_terminal", "chosen"),
    [
        (None, True, False, "json"),  # the launcher of a template
        (None, True, True, "text"),  # a person starts it
        (None, False, False, "text"),  # a file, or Airflow's log
        (None, False, True, "text"),
        (LogFormat.TEXT, True, False, "text"),
        (LogFormat.JSON, False, True, "json"),
    ],
)
def test_lines_are_json_unasked_where_cloud_logging_reads_them(
    monkeypatch, asked, is_dataflow, is_terminal, chosen
):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    assert log_format.choose(asked, is_dataflow=is_dataflow) == chosen


DATAFLOW = ("--runner=DataflowRunner", "--project=p", "--region=r", "--temp_location=gs://b/tmp")


@pytest.mark.parametrize(("flags", "is_json"), [(DATAFLOW, True), ((), False)])
@pytest.mark.parametrize("pipeline", ["import_dicom", "export_dicom"])
def test_both_pipelines_choose_by_where_they_run(tmp_path, pipeline, flags, is_json):
    what = {"import_dicom": "--source=/in/**", "export_dicom": "--destination=/out"}[pipeline]
    command = [sys.executable, "-m", f"pipelines.{pipeline}", f"--root={tmp_path}", "--store=none"]
    run = subprocess.run(
        [*command, what, *flags], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, check=False
    )
    assert run.returncode == 2
    last = run.stderr.splitlines()[-1]
    assert last.startswith("{") == is_json, last
    if is_json:
        assert json.loads(last)["severity"] == "ERROR"
        assert "local path" in json.loads(last)["message"]
