"""Records of operations read and write the JSON that they always had."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from dicomferry.operations.outcomes import Outcome, OutcomeCounts, ProgressCounter, ProgressCounts
from dicomferry.operations.owner import DataflowJob, Owner
from dicomferry.operations.record import Method, OperationRecord
from dicomferry.operations.state import State, state_of
from dicomferry.resource_names import parse_store

# Written by the first release, before records were typed.
RECORDS = {
    path.stem: json.loads(path.read_text()) for path in Path(__file__).parent.glob("*/*.json")
}


def record(name):
    return OperationRecord.from_json(RECORDS[name])


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_is_read_and_written_is_the_same(name):
    assert record(name).to_json() == RECORDS[name]


@pytest.mark.parametrize("name", RECORDS)
def test_fields_of_a_later_version_are_kept(name):
    later = RECORDS[name] | {"shards": [1, 2]}
    later["metadata"] = RECORDS[name]["metadata"] | {"warnings": ["new"]}
    assert OperationRecord.from_json(later).to_json() == later


def test_there_are_records_of_every_kind():
    assert {state_of(record(name)) for name in RECORDS} == {
        State.QUEUED,
        State.RUNNING,
        State.DONE,
        State.DONE_WITH_FAILURES,
        State.CANCELLED,
        State.FAILED,
    }


def test_fields_have_types():
    running = record("running")
    assert running.store == parse_store("trial")
    assert running.metadata.method is Method.IMPORT
    assert isinstance(running.owner, Owner)
    assert running.ended.counts == ProgressCounts(read=6, failed=1, bytes=200)
    done = record("done_with_failures")
    assert done.counts.of(Outcome.IMPORTED) == 5
    assert done.metadata.counter == ProgressCounter(pending=0, success=8, failure=2)
    assert done.metadata.end_time - done.metadata.create_time < timedelta(seconds=1)
    assert done.error.code == 3
    assert record("dataflow").owner == DataflowJob("p", "europe-west4", "dicomferry-1")
    assert record("dataflow").logs == "/tmp/x.log"
    assert record("interrupted").counts == ProgressCounts(read=2, failed=1, bytes=7)


def test_the_api_sees_its_own_fields_alone():
    names = {"name", "metadata", "done"}
    assert set(record("queued").api_fields()) == names
    assert set(record("exported").api_fields()) == names | {"response"}
    assert set(record("not_found").api_fields()) == names | {"error"}


def test_a_summary_is_one_line_for_logs():
    summary = record("not_found").summary()
    assert "\n" not in summary
    assert list(json.loads(summary)) == ["name", "store", "total", "counts", "error"]


@pytest.mark.parametrize(
    ("method", "verb", "noun"),
    [(Method.IMPORT, "Import", "file"), (Method.EXPORT, "Export", "instance")],
)
def test_a_method_has_a_verb_and_a_noun(method, verb, noun):
    assert (method.verb, method.noun) == (verb, noun)


def test_states_follow_from_the_record():
    running = record("started")
    assert state_of(running) is State.RUNNING
    running.metadata.cancel_requested = True
    assert state_of(running) is State.CANCELLING
    running.finish(10, "gone")
    assert state_of(running) is State.ABORTED


def test_counts_add_up_and_leave_out_zeros():
    counts = OutcomeCounts(imported=2, failed=1) + OutcomeCounts(conflict=1, conflict_failed=1)
    assert (counts.done, counts.failures) == (4, 2)
    assert counts.to_json() == {"imported": 2, "conflict": 1, "failed": 1, "conflict_failed": 1}
    assert counts.as_progress() == ProgressCounts(read=4, failed=2, committed=2)
    assert not OutcomeCounts()
    assert OutcomeCounts.from_json({"imported": 1, "anonymized": 2}) == OutcomeCounts(imported=1)
