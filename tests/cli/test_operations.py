"""`dicomferry operations`: of jobs here, and of jobs on Dataflow."""

import threading

import pytest
from google.rpc.code_pb2 import CANCELLED, DATA_LOSS, INVALID_ARGUMENT, UNAVAILABLE
from typer.testing import CliRunner

from dicomferry.cli.main import app
from dicomferry.errors import Fault, InstanceError, Reason
from dicomferry.jobs import elsewhere
from dicomferry.operations.folder import start_operation
from dicomferry.operations.outcomes import OutcomeCounts, ProgressCounts
from dicomferry.operations.owner import DataflowJob
from dicomferry.operations.record import Method
from dicomferry.transforms.records import FileOutcome, to_line
from tests.pipelines.jobs import STORE, new_store


class Recorded:
    """Stands for the service: every job runs until it is cancelled."""

    state = "JOB_STATE_RUNNING"

    def find(self, *_):
        return {"id": "id-1", "currentState": Recorded.state}

    def cancel(self, *_):
        Recorded.state = "JOB_STATE_CANCELLED"

    def progress(self, *_):
        return ProgressCounts()


@pytest.fixture
def on_dataflow(monkeypatch):
    monkeypatch.setattr(Recorded, "state", "JOB_STATE_RUNNING")
    monkeypatch.setattr(elsewhere, "DataflowClient", Recorded)


def call(root, *arguments):
    result = CliRunner().invoke(app, ["operations", *arguments, "--root", root.root])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("owner", [None, DataflowJob("p", "europe-west4", "dicomferry-1")])
def test_cancel_asks_whoever_runs_the_job_and_describe_shows_it(root, on_dataflow, owner):
    new_store(root)
    folder = start_operation(root, STORE, "ImportDicomData", owner=owner)
    assert "cancellation requested" in call(root, "cancel", folder.id)
    assert folder.is_cancel_requested()
    shown = call(root, "describe", folder.id)
    # A process sees for itself that it is to end; a Dataflow job is told.
    assert ("cancelled" in shown) == (owner is not None)


@pytest.mark.parametrize(
    ("code", "failed", "state", "exit_code"),
    [
        (None, 0, "done", 0),
        (INVALID_ARGUMENT, 1, "done, with failures", 1),
        (INVALID_ARGUMENT, 0, "failed", 3),
        (DATA_LOSS, 0, "done, with failures", 1),
        (CANCELLED, 0, "cancelled", 3),
        (UNAVAILABLE, 0, "failed", 3),
    ],
)
def test_wait_ends_with_the_operation_and_says_how_it_ended(root, code, failed, state, exit_code):
    folder = start_operation(root, STORE, Method.IMPORT)
    record = folder.read()
    record.set_counts(OutcomeCounts(failed=failed), failed)
    record.finish(*(() if code is None else (code, "the reason")))
    ending = threading.Timer(0.2, folder.write, [record])
    ending.start()
    arguments = ["operations", "wait", folder.id, "--root", root.root]
    ended = CliRunner().invoke(app, arguments)
    ending.join()
    assert f"{folder.id}: {state}\n" in ended.stdout
    assert ended.exit_code == exit_code
    assert ("the reason" in ended.stderr) == (code is not None)


def test_wait_gives_up_after_its_timeout(root):
    folder = start_operation(root, STORE, Method.IMPORT)
    arguments = ["operations", "wait", folder.id, "--timeout", "0", "--root", root.root]
    assert "is running after 0 s" in str(CliRunner().invoke(app, arguments).exception)


def test_describe_shows_kind_and_place_of_a_fault_of_ours(root):
    new_store(root)
    folder = start_operation(root, STORE, "ExportDicomData")
    fault = Fault("IndexError", "dicomferry/pixels/render/grayscale.py:118", ("frames.py:1 x",))
    error = InstanceError(Reason.INTERNAL_ERROR, fault)
    lines = [to_line(FileOutcome.of_failure(f"/studies/{n}", error)) for n in range(2)]
    folder.write_outcomes("00000-00000", "\n".join(lines).encode())
    shown = call(root, "describe", folder.id)
    assert "2 × INTERNAL_ERROR: a bug in dicomferry, not in the file" in shown
    assert "IndexError at dicomferry/pixels/render/grayscale.py:118" in shown
