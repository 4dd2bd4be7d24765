"""What `import` and `export` say of a job that has ended, and the code they exit with."""

import pytest
from google.rpc.code_pb2 import DATA_LOSS, INVALID_ARGUMENT, NOT_FOUND
from typer.testing import CliRunner

from dicomferry.cli.main import app
from dicomferry.errors import InstanceError, Reason
from dicomferry.operations.asked import asked_by
from dicomferry.operations.folder import OperationFolder, start_operation
from dicomferry.operations.outcomes import OutcomeCounts
from dicomferry.operations.record import Method, SampleError
from dicomferry.pipelines import export_dicom, import_dicom
from dicomferry.transforms.records import FileOutcome, to_line
from tests.pipelines.jobs import STORE, new_store

LOST = SampleError("delta:/table", "GONE: the reason", DATA_LOSS)


@pytest.fixture
def command(root, tmp_path, monkeypatch):
    """Run a command whose job ends as a function has it; return its result."""
    new_store(root)

    def run(method, end, *flags):
        record = start_operation(root, STORE, method).read()
        end(record)
        program = import_dicom if method is Method.IMPORT else export_dicom
        monkeypatch.setattr(program, "run", lambda *_: record)
        verb = ["import", STORE.id, f"{tmp_path}/in/**"]
        if method is Method.EXPORT:
            verb = ["export", "files", STORE.id, f"{tmp_path}/out"]
        return CliRunner().invoke(app, [*verb, *flags, "--workers", "0", "--root", root.root])

    return run


def lose_rows(record):
    record.set_counts(OutcomeCounts(imported=3), 3)
    record.metadata.lagging = (LOST,)
    record.finish(DATA_LOSS, "all 3 files are done, but not all can be sent")


def test_an_import_that_lost_rows_of_a_stream_exits_with_1(command):
    ended = command(Method.IMPORT, lose_rows)
    assert ended.exit_code == 1, ended.output
    assert "GONE: the reason" in ended.output
    assert "--retry-failed" not in ended.output, "there is nothing that it would read"


@pytest.mark.parametrize(
    ("reasons", "is_advised"),
    [
        ([Reason.TRUNCATED, Reason.NOT_DICOM], True),
        ([Reason.NOT_DICOM, Reason.ZIPPED], False),
        ([Reason.ALREADY_EXISTS], False),
    ],
)
def test_a_retry_is_advised_where_a_file_may_be_mended(command, root, reasons, is_advised):
    def fail(record):
        outcomes = [FileOutcome.of_failure(f"/in/{each}", InstanceError(each)) for each in reasons]
        lines = "".join(f"{to_line(outcome)}\n" for outcome in outcomes)
        OperationFolder(root, STORE.parent, record.id).write_outcomes("0", lines.encode())
        record.set_counts(OutcomeCounts(imported=2, failed=len(reasons)), 2 + len(reasons))
        record.finish(INVALID_ARGUMENT, "1 of 3 files failed, the others are done")

    ended = command(Method.IMPORT, fail)
    assert ended.exit_code == 1, ended.output
    assert (f"next: dicomferry import {STORE.id} --retry-failed " in ended.output) == is_advised
    assert ("next: dicomferry export files" in ended.output) != is_advised


def test_a_dry_run_says_that_nothing_was_stored(command, tmp_path):
    def tried(record):
        record.asked = asked_by(dry_run="true")
        record.set_counts(OutcomeCounts(imported=2), 2)
        record.finish()

    ended = command(Method.IMPORT, tried, "--dry-run")
    assert "would be imported" in ended.output
    assert "nothing was stored" in ended.output
    assert "in the store" not in ended.output
    assert f"next: dicomferry import {STORE.id} '{tmp_path}/in/**' --root" in ended.output


@pytest.mark.parametrize("method", [Method.IMPORT, Method.EXPORT])
def test_a_job_that_did_not_reach_its_end_says_why(command, method):
    ended = command(method, lambda record: record.finish(NOT_FOUND, "the pattern is [no/file]"))
    assert ended.exit_code == 2, ended.output
    assert "the pattern is [no/file]" in ended.stderr
    assert "next:" not in ended.output
