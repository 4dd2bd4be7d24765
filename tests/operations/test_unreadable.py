"""Records that a power cut or a later version left: shown as what they are, and removed."""

import json
import os
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from google.longrunning import operations_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from dicomferry.api.access import ANYONE
from dicomferry.api.operations_service import OperationsService
from dicomferry.api.resources import operation_message
from dicomferry.cli.main import app
from dicomferry.console.queries.operations import (
    OperationsPage,
    OperationsQuery,
    page_of_operations,
)
from dicomferry.console.queries.outcomes import OutcomesFilter, page_of_outcomes
from dicomferry.console.views.operation import operation_section
from dicomferry.console.views.operations import operations_section
from dicomferry.jobs.elsewhere import OperationReader
from dicomferry.operations.folder import NotOwnedError, OperationFolder, start_operation
from dicomferry.operations.listing import delete_operation, list_operations, prune
from dicomferry.operations.outcomes import UNREADABLE_OUTCOME
from dicomferry.operations.record import Method, OperationRecord, now
from dicomferry.operations.state import State, state_of
from dicomferry.operations.unreadable import is_unreadable, parse_record
from dicomferry.pipelines.import_request import ImportRequest
from dicomferry.resource_names import DatasetName
from dicomferry.storage.local import LocalStorage
from tests.pipelines.jobs import STORE, new_store

RECORDS = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*/*.json"))]
PARENT = DatasetName()
WHOLE = (Path(__file__).parent / "records/done_with_failures.json").read_bytes()
DAMAGES = {
    "empty": b"",
    "cut": WHOLE[: len(WHOLE) // 2],
    "zeros": bytes(len(WHOLE)),
    "no text": b"\xff\xfe" + WHOLE,
    "deep": b"[" * 100_000,
    "a number": b"1",
    "a list": b"[]",
}
STRANGE = {
    "another object": b"{}",
    "a method of a later version": WHOLE.replace(b"DicomService.", b"DicomService.Later"),
    "a field of another type": json.dumps(json.loads(WHOLE) | {"total": "many"}).encode(),
    "no owner": json.dumps(json.loads(WHOLE) | {"owner": {}}).encode(),
}


def damaged(root, content):
    """An operation whose record has some content; beside it one that is whole, and a store."""
    new_store(root)
    start_operation(root, STORE, Method.IMPORT)
    whole = OperationFolder(root, PARENT, "20260102030405-00000000")
    whole.storage.write("operation.json", WHOLE)
    folder = OperationFolder(root, PARENT, "20260102030405-abcdef01")
    folder.storage.write("outcomes-00000.jsonl", b'{"source": "a", "outc')
    folder.storage.write("operation.json", content)
    return folder


def written_ago(folder, seconds):
    os.utime(folder.storage.local_path("operation.json"), (time.time() - seconds,) * 2)


def call(root, *arguments):
    result = CliRunner().invoke(app, [*arguments, "--root", root.root])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    "content", [*DAMAGES.values(), *STRANGE.values()], ids=[*DAMAGES, *STRANGE]
)
def test_a_damaged_record_is_shown_as_unreadable_and_one_command_removes_it(root, content):
    folder = damaged(root, content)
    written_ago(folder, 90)
    running = next(iter(list_operations(root, PARENT)))
    running.record.finish()
    running.folder.write(running.record)
    [line] = [line for line in call(root, "operations", "list").splitlines() if folder.id in line]
    assert "unreadable" in line
    described = call(root, "operations", "describe", folder.id)
    assert f"operations delete {folder.id}" in described
    assert "OUTCOME_UNREADABLE" in described
    request = operations_pb2.ListOperationsRequest(name=str(PARENT))
    [shown] = [
        operation
        for operation in OperationsService(root).list_operations(request, ANYONE).operations
        if operation.name == folder.name
    ]
    assert shown.error.code in (12, 15)
    page = page_of_operations(root, OperationsQuery(PARENT), ANYONE, OperationReader())
    assert "unreadable" in str(operations_section(page, "/", {}))
    assert "cannot be read" in str(operation_section(folder.read()))
    call(root, "operations", "delete", folder.id)
    assert not Path(folder.storage.root).exists()
    assert len(list(list_operations(root, PARENT))) == 2


@pytest.mark.parametrize("content", STRANGE.values(), ids=STRANGE)
def test_a_record_that_a_later_version_may_have_written_just_now_counts_as_running(root, content):
    folder = damaged(root, content)
    next(iter(list_operations(root, PARENT))).folder.delete()
    with pytest.raises(NotOwnedError, match="is running"):
        delete_operation(folder, folder.read())
    assert folder.id not in {each.folder.id for each in prune(root, PARENT, now())}


def anything():
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    return st.recursive(leaf, lambda below: st.lists(below) | st.dictionaries(st.text(), below))


@st.composite
def changed_records(draw):
    """A record of which something at some depth was taken away, or is something else."""
    record = json.loads(draw(st.sampled_from(RECORDS)))
    at = record
    while True:
        name = draw(st.sampled_from(sorted(at)))
        if isinstance(at[name], dict) and at[name] and draw(st.booleans()):
            at = at[name]
            continue
        if draw(st.booleans()):
            del at[name]
        else:
            at[name] = draw(anything())
        at[draw(st.text())] = draw(anything())
        return json.dumps(record).encode()


@settings(max_examples=60, deadline=None)
@given(st.binary() | changed_records() | anything().map(lambda value: json.dumps(value).encode()))
def test_whatever_a_record_holds_it_is_shown_in_every_form(content):
    record = parse_record(content, PARENT, "20260102030405-abcdef01")
    assert (state_of(record) is State.UNREADABLE) == is_unreadable(record)
    operation_message(record)
    json.dumps(record.to_json()).encode()
    if not is_unreadable(record):
        assert OperationRecord.from_json(record.to_json()) == record
    str(operation_section(record)) and str(
        operations_section(OperationsPage([record], ""), "/", {})
    )


def test_progress_that_was_cut_counts_as_none(root):
    folder = start_operation(root, STORE, Method.IMPORT)
    for number, content in enumerate([b"", b'{"read": 1', b"[]", b'{"read": "x"}']):
        folder.storage.write(f"progress/00000-{number}.json", content)
    folder.storage.write("progress/00000-whole.json", b'{"read": 3}')
    assert folder.read().counts.done == 3


@pytest.mark.parametrize("cut", ["", "{", "{}", "\0\0", '{"source": 1, "outcome": "failed"}'])
def test_a_line_of_outcomes_that_was_cut_is_shown_as_one(root, cut):
    whole = {"source": "a", "outcome": "failed", "code": "X", "reason": "y", "bytes": 3}
    folder = start_operation(root, STORE, Method.IMPORT)
    lines = f"{json.dumps(whole)}\n{cut}{json.dumps(whole) if not cut else ''}"
    folder.storage.write("outcomes-00000.jsonl", lines.encode())
    found = list(folder.outcomes())
    assert found == [whole, whole if not cut else UNREADABLE_OUTCOME]
    assert page_of_outcomes(folder, OutcomesFilter(), "").lines == found


def test_a_damaged_list_of_outcomes_is_no_list_of_what_to_try_again(root):
    new_store(root)
    folder = start_operation(root, STORE, Method.IMPORT)
    folder.storage.write("outcomes-00000.jsonl", b'{"source": "a", "outc')
    record = folder.read()
    record.finish()
    folder.write(record)
    request = ImportRequest(root=root, store=STORE, retry_failed=folder.id)
    with pytest.raises(ValueError, match=r"is damaged.*import its source again"):
        request.resolve()


def old_operation(root, operation_id, **fields):
    folder = OperationFolder(root, PARENT, operation_id)
    folder.start(STORE, Method.IMPORT)
    folder.storage.write("outcomes-00000.jsonl", b"{}\n")
    record = folder.read()
    record.finish()
    record.metadata.end_time = now() - timedelta(**fields)
    folder.write(record)
    return folder


def test_operations_are_pruned_by_their_age_and_never_running_ones(root):
    old = old_operation(root, "20260101000000-00000001", days=91)
    young = old_operation(root, "20260101000000-00000002", days=89)
    running = OperationFolder(root, PARENT, "20260101000000-00000003")
    running.start(STORE, Method.IMPORT)
    unreadable = OperationFolder(root, PARENT, "20260101000000-00000004")
    unreadable.storage.write("operation.json", b"")
    empty = Path(unreadable.storage.root).with_name("20260101000000-00000005")
    empty.mkdir()
    would = call(root, "operations", "prune", "--older-than", "90d", "--dry-run")
    assert would.splitlines() == [unreadable.id, old.id, "2 operations would be deleted"]
    assert all(folder.exists() for folder in (old, young, running, unreadable))
    assert empty.exists()
    call(root, "operations", "prune", "--older-than", "90d")
    left = {listed.folder.id for listed in list_operations(root, PARENT)}
    assert left == {young.id, running.id}
    assert not Path(old.storage.root).exists()
    assert not empty.exists()


def test_a_list_of_operations_asks_storage_once_for_each_and_once_for_their_names(
    root, monkeypatch
):
    record = json.loads(WHOLE)
    calls = Counter()
    base = Path(root.root) / PARENT.folder / "operations"
    for number in range(1000):
        folder = base / f"20260101000000-{number:08x}"
        folder.mkdir(parents=True)
        (folder / "operation.json").write_text(json.dumps(record))
    for name in ("read", "open", "chunks", "head", "list", "folders", "partial_files"):
        monkeypatch.setattr(LocalStorage, name, counted(getattr(LocalStorage, name), calls))
    assert len(list(list_operations(root, PARENT))) == 1000
    assert calls == {"read": 1000, "folders": 1}


def counted(method, calls):
    def call(*args):
        calls[method.__name__] += 1
        return method(*args)

    return call
