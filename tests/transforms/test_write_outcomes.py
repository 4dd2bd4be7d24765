"""What became of every file is listed and counted, the same however often it is written."""

import json
import logging

import apache_beam as beam
import pytest
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to
from google.rpc.code_pb2 import INTERNAL, INVALID_ARGUMENT
from hypothesis import given
from hypothesis import strategies as st

from dicomferry.errors import Reason
from dicomferry.operations.folder import start_operation
from dicomferry.operations.outcomes import Outcome
from dicomferry.sources.source import Source
from dicomferry.store.known_sources import known_sources
from dicomferry.transforms.records import FileOutcome, to_line
from dicomferry.transforms.write_outcomes import WriteOutcomes, count, report_unmatched
from tests.pipelines.jobs import STORE, new_store

ALL = [
    FileOutcome("/in/imported", "imported", "", "1.2.1", "", 10, "1"),
    FileOutcome("/in/duplicate", "duplicate", "", "1.2.1", "/in/imported", 10, "1"),
    FileOutcome("/in/conflict", "conflict", "ALREADY_EXISTS", "1.2.1", "/in/imported", 11, "1"),
    FileOutcome("/in/known", "skipped", "ALREADY_IMPORTED", "", "", 5),
    FileOutcome("/in/directory", "skipped", "DICOMDIR", "", "", 6, "1"),
    FileOutcome("/in/failed", "failed", "NOT_DICOM", "", "", 7, "1"),
    FileOutcome("/in/broken", "failed", "INTERNAL_ERROR", fault="IndexError at dicomferry/x.py:1"),
]

outcomes = st.builds(
    FileOutcome,
    st.text(min_size=1),
    st.sampled_from(list(Outcome)),
    st.sampled_from(["", *Reason]),
    st.sampled_from(["", "1.2.3"]),
    st.text(),
    st.integers(0, 2**50),
    fault=st.sampled_from(["", "IndexError at dicomferry/pixels/frames.py:61"]),
)


@pytest.fixture
def folder(root):
    """The folder of a new operation."""
    return start_operation(root, STORE, "ImportDicomData")


def write(folder, shards=1, remember=None, part="00000", fail_conflicts=True):
    """Write all outcomes; returns what lies in the folder then."""
    with test_pipeline.TestPipeline() as pipeline:
        found = (
            pipeline
            | beam.Create(ALL)
            | WriteOutcomes(folder, part, shards, fail_conflicts, remember)
        )
        assert_that(found, equal_to([count(ALL, fail_conflicts=fail_conflicts)]))
    return {
        entry.path: folder.storage.read(entry.path)
        for entry in folder.storage.list()
        if entry.path.startswith(("outcomes-", "counts-"))
    }


@given(outcomes)
def test_a_line_is_one_line_of_json_with_a_fixed_reason(outcome):
    line = to_line(outcome)
    assert "\n" not in line
    record = json.loads(line)
    assert (record["source"], record["outcome"], record["bytes"]) == (
        outcome.source,
        outcome.outcome,
        outcome.size,
    )
    assert record.get("reason") == (Reason(outcome.code).sentence if outcome.code else None)
    assert record.get("code", "") == outcome.code
    assert record.get("other", "") == outcome.other
    assert record.get("fault", "") == outcome.fault


@given(st.lists(outcomes), st.lists(outcomes))
def test_counts_of_shards_add_up(some, others):
    for fail_conflicts in (True, False):
        parts = [count(each, fail_conflicts=fail_conflicts) for each in (some, others)]
        whole = count(some + others, fail_conflicts=fail_conflicts)
        assert parts[0] + parts[1] == whole
        assert sum(whole.of(outcome) for outcome in Outcome) == whole.done == len(some + others)


@pytest.mark.parametrize(("fail_conflicts", "failed"), [(True, 3), (False, 2)])
def test_a_conflict_is_a_failure_as_asked(fail_conflicts, failed):
    assert count(ALL, fail_conflicts=fail_conflicts).failures == failed


@pytest.mark.parametrize("shards", [1, 3])
def test_outcomes_that_are_written_again_are_the_same_files(folder, shards):
    first = write(folder, shards)
    assert write(folder, shards) == first
    assert sorted(line["source"] for line in folder.outcomes()) == sorted(o.source for o in ALL)
    assert folder.counts() == count(ALL, fail_conflicts=True)


def test_parts_add_up(folder):
    write(folder, part="00000")
    write(folder, part="00001")
    assert len(list(folder.outcomes())) == 2 * len(ALL)
    assert folder.counts().imported == 2


def test_only_what_was_taken_in_is_remembered(root, folder):
    data = new_store(root).data
    write(folder, remember=data)
    listed = [Source(o.source, o.size, o.version) for o in ALL]
    assert {source.uri for source in known_sources(data, listed)} == {
        "/in/imported",
        "/in/duplicate",
    }


def test_paths_of_a_filter_that_match_nothing_are_failures(folder):
    report_unmatched([], folder)
    assert list(folder.outcomes()) == []
    report_unmatched(["/studies/1.2"], folder)
    [line] = folder.outcomes()
    assert (line["source"], line["code"]) == ("/studies/1.2", "NO_SUCH_RESOURCE")
    assert folder.counts().failures == 1


@pytest.mark.parametrize("is_remote", [False, True])
def test_lines_of_workers_elsewhere_are_errors_that_name_the_operation(folder, caplog, is_remote):
    caplog.set_level(logging.INFO)
    with test_pipeline.TestPipeline() as pipeline:
        _ = pipeline | beam.Create(ALL) | WriteOutcomes(folder, "00000", is_remote=is_remote)
    records = [r for r in caplog.records if r.name == "dicomferry.transforms.write_outcomes"]
    [failed] = [record for record in records if "NOT_DICOM" in record.getMessage()]
    assert failed.levelno == (logging.ERROR if is_remote else logging.INFO)
    assert failed.getMessage().startswith("/in/failed: NOT_DICOM: ")
    assert (folder.name in failed.getMessage()) == is_remote
    assert failed.severity == "ERROR"
    assert failed.operation == folder.name
    assert failed.payload["error"]["code"] == INVALID_ARGUMENT
    [ours] = [record for record in records if "INTERNAL_ERROR" in record.getMessage()]
    assert "(IndexError at dicomferry/x.py:1)" in ours.getMessage()
    assert ours.payload["error"]["code"] == INTERNAL
