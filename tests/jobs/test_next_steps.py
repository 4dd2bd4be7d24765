"""The commands that a page shows next: they are those that the command line takes."""

import shlex

import pytest
from typer.main import get_command

from dicomferry.cli.import_export import export_app, import_app
from dicomferry.cli.operations import operations_app
from dicomferry.cli.stores import stores_app
from dicomferry.jobs.next_steps import next_steps
from dicomferry.operations.asked import asked_by
from dicomferry.operations.folder import start_operation
from dicomferry.operations.outcomes import OutcomeCounts, ProgressCounts
from dicomferry.operations.record import Method
from dicomferry.pipelines.export_request import ExportRequest
from dicomferry.resource_names import parse_store
from dicomferry.tables.destination import WriteDisposition, parse_destination
from tests.pipelines.jobs import STORE, files_of, import_of

APPS = {
    "import": import_app,
    "export": export_app,
    "operations": operations_app,
    "stores": stores_app,
}
GS = "gs://bucket/it's here/**.dcm"


def ended(root, method, request=None, store=STORE, **counts):
    """The record of an operation that has reached its end."""
    record = start_operation(root, store, method).read()
    record.asked = request and request.asked("caller")
    record.set_counts(OutcomeCounts(**counts), sum(counts.values()))
    record.finish(*((3, "files failed") if counts.get("failed") else ()))
    return record


def commands(record, root):
    found = [shlex.split(step.command) for step in next_steps(record, root.root)]
    assert all(map(is_taken, found))
    return found


def is_taken(words):
    """Whether the command line takes a command, with all of its flags as its own."""
    name, *arguments = words[1:]
    command = get_command(APPS[name])
    while hasattr(command, "commands"):
        command, *arguments = command.commands[arguments[0]], *arguments[1:]
    # What is not its own is left for Beam.
    return command.make_context(name, arguments).args == []


def test_a_running_one_is_waited_for_or_canceled(root):
    record = start_operation(root, STORE, Method.IMPORT).read()
    assert commands(record, root) == [
        ["dicomferry", "operations", verb, record.id, "--root", root.root]
        for verb in ("wait", "cancel")
    ]


def test_files_that_failed_are_tried_again(root):
    record = ended(root, Method.IMPORT, import_of(root, GS), imported=1, failed=2)
    [step] = commands(record, root)
    assert step == [
        "dicomferry", "import", "trial", "--retry-failed", record.id, "--root", root.root,
    ]  # fmt: skip


def test_an_import_that_broke_off_goes_on_with_all_that_was_asked(root):
    record = start_operation(root, STORE, Method.IMPORT).read()
    request = import_of(root, GS, max_failures=10)
    record.asked = request.asked("caller")
    record.set_counts(ProgressCounts(read=3, committed=2), 9)
    record.cut_short(1, "cancelled")
    [step] = next_steps(record, root.root)
    words = shlex.split(step.command)
    assert words == [
        "dicomferry", "import", "trial", GS, "--max-failures", "10", "--root", root.root,
    ]  # fmt: skip
    assert step.purpose.startswith("Resume")


def test_after_a_dry_run_comes_the_import(root):
    record = ended(root, Method.IMPORT, import_of(root, GS, dry_run=True), imported=1)
    assert commands(record, root) == [["dicomferry", "import", "trial", GS, "--root", root.root]]


def test_exports_are_made_again_with_their_flags(root, tmp_path):
    files = files_of(root, tmp_path / "out", "image/jpeg", jpeg_quality=80)
    [step] = commands(ended(root, Method.EXPORT, files, exported=3), root)
    assert step == [
        "dicomferry", "export", "files", "trial", str(tmp_path / "out"), "--mime-type",
        "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50", "--jpeg-quality", "80",
        "--root", root.root,
    ]  # fmt: skip
    table = ExportRequest(
        root=root,
        store=STORE,
        table=parse_destination("bq://project.dataset.t"),
        write_disposition=WriteDisposition.WRITE_APPEND,
    )
    [step] = commands(ended(root, Method.EXPORT, table, exported=3), root)
    assert step == [
        "dicomferry", "export", "table", "trial", "bq://project.dataset.t", "--write-disposition",
        "WRITE_APPEND", "--root", root.root,
    ]  # fmt: skip


def test_what_is_recorded_without_its_credential_says_so(root):
    request = import_of(root, "/data/**").asked("caller")
    record = ended(root, Method.IMPORT, failed=1)
    record.asked = request._replace(flags={"source": "gs://…@bucket/**"})
    record.cut_short(1, "cancelled")
    [step] = next_steps(record, root.root)
    assert "credential" in step.purpose


def test_deletions_that_broke_off_go_on(root):
    for method, flags, wanted in (
        (Method.DELETE_STORE, {}, ["delete", "trial"]),
        (
            Method.DELETE_INSTANCES,
            {"filter": "some.txt", "purge_history": "true"},
            ["delete-instances", "trial", "--filter", "some.txt", "--purge-history"],
        ),
    ):
        record = start_operation(root, STORE, method).read()
        record.asked = asked_by(**flags)
        record.cut_short(1, "cancelled")
        assert commands(record, root) == [["dicomferry", "stores", *wanted, "--root", root.root]]


@pytest.mark.parametrize("method", Method)
def test_of_another_dataset_stores_have_their_whole_name(root, method):
    store = parse_store("projects/p/locations/l/datasets/d/dicomStores/s")
    record = ended(root, method, store=store, exported=1)
    assert all(words[2] != "s" for words in commands(record, root))
    assert not any("operations" in words[:2] for words in commands(record, root))
