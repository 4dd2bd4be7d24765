"""Committing is harmless to repeat, and others that commit meanwhile are taken into account."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import apache_beam as beam
import pytest
import zstandard
from apache_beam.metrics import MetricsFilter
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import example, given
from hypothesis import strategies as st

import dicomferry.transforms.commit_instances
from dicomferry.storage import retries
from dicomferry.store.commit_conflicts import CommitConflictError
from dicomferry.store.compaction import sort_index
from dicomferry.store.index import Index
from dicomferry.transforms.commit_instances import CommitInstances, batches, commit
from dicomferry.transforms.records import FileOutcome
from tests.factories import make_instance
from tests.pipelines.jobs import new_store


def instance(number, **overrides):
    fields = {
        "sop_instance_uid": f"1.2.{number}",
        "source_uri": f"/in/{number}.dcm",
        "sha256": f"{number:064x}",
        "metadata": zstandard.compress(b"{}"),
    }
    return make_instance(**fields | overrides)


@pytest.fixture
def data(root):
    """The data folder of an empty store."""
    return new_store(root).data


@pytest.fixture
def naps(monkeypatch):
    """Seconds that commits have waited; none really does."""
    naps = []
    clock = SimpleNamespace(sleep=naps.append, monotonic=time.monotonic)
    monkeypatch.setattr(retries, "time", clock)
    return naps


def outcomes(verdicts):
    return [verdict.outcome for verdict in verdicts]


def uids(data):
    return sorted(Index(data).dataset().to_table()["SOPInstanceUID"].to_pylist())


# Others commit meanwhile.


def test_a_commit_that_others_overtake_looks_up_again(data, naps, monkeypatch):
    append, lookup = Index.append, Index.lookup
    tried, looked = [], []

    def overtaken(index, rows):
        tried.append(index.version)
        if len(tried) <= 3:
            raise CommitConflictError
        return append(index, rows)

    def counting(index, uids, files=None):
        looked.append(files)
        return lookup(index, uids, files)

    monkeypatch.setattr(Index, "append", overtaken)
    monkeypatch.setattr(Index, "lookup", counting)
    assert outcomes(commit(data, [instance(1)], "op")) == ["imported"]
    assert looked == [None, [], [], []], "what was looked into is not looked into again"
    assert len(tried) == 4
    assert len(naps) == 3
    assert uids(data) == ["1.2.1"]


def test_a_commit_gives_up_after_50_attempts_and_says_so(data, naps, monkeypatch):
    tried = []

    def overtaken(index, rows):
        tried.append(rows.read_all().num_rows)
        raise CommitConflictError

    monkeypatch.setattr(Index, "append", overtaken)
    with pytest.raises(CommitConflictError, match="50 attempts to commit were overtaken"):
        commit(data, [instance(1)], "op")
    assert tried == [1] * 50
    assert max(naps) <= 2
    assert uids(data) == []


@pytest.mark.parametrize(
    ("rival", "outcome"),
    [
        (instance(1, source_uri="/rival.dcm"), "duplicate"),
        (instance(1, source_uri="/rival.dcm", sha256="f" * 64), "conflict"),
    ],
)
def test_a_rival_that_commits_after_the_lookup_has_won(data, naps, monkeypatch, rival, outcome):
    lookup = Index.lookup
    rivals = [rival]

    def raced(index, uids, files=None):
        found = lookup(index, uids, files)
        if rivals:
            commit(data, [rivals.pop()], "rival")
        return found

    monkeypatch.setattr(Index, "lookup", raced)
    verdicts = commit(data, [instance(1), instance(2)], "op")
    assert [(v.outcome, v.other) for v in verdicts] == [(outcome, "/rival.dcm"), ("imported", "")]
    assert uids(data) == ["1.2.1", "1.2.2"]
    assert len(naps) == 1


def test_an_index_that_was_compacted_meanwhile_is_looked_into_anew(data, naps, monkeypatch):
    for number in range(3):
        commit(data, [instance(number + 1)], "earlier")
    append, lookup = Index.append, Index.lookup
    overtaken, looked = [], []

    def counting(index, uids, files=None):
        looked.append(files)
        return lookup(index, uids, files)

    def compacted(index, rows):
        if not overtaken:
            overtaken.append(True)
            sort_index(data)
            raise CommitConflictError
        return append(index, rows)

    monkeypatch.setattr(Index, "append", compacted)
    monkeypatch.setattr(Index, "lookup", counting)
    verdicts = commit(data, [instance(3, source_uri="/again.dcm"), instance(4)], "op")
    assert outcomes(verdicts) == ["duplicate", "imported"]
    assert looked == [None, None]
    assert len(uids(data)) == 4


def test_an_index_that_was_loaded_before_anothers_commit_refuses(data):
    early, late = Index(data), Index(data)
    rows = dicomferry.transforms.commit_instances.rows_of([instance(1)], "op")
    late.append(rows)
    with pytest.raises(CommitConflictError):
        early.append(rows)
    assert uids(data) == ["1.2.1"]


def test_many_commits_at_once_leave_one_row_a_uid(data):
    barrier = threading.Barrier(5)

    def import_(number):
        own = [instance(n, source_uri=f"/{number}/{n}") for n in range(10, 20)]
        barrier.wait()
        return [
            outcome
            for start in (0, 5)
            for outcome in outcomes(commit(data, own[start : start + 5], f"op{number}"))
        ]

    with ThreadPoolExecutor(5) as threads:
        found = Counter(o for each in threads.map(import_, range(5)) for o in each)
    assert found == {"imported": 10, "duplicate": 40}
    assert uids(data) == [f"1.2.{n}" for n in range(10, 20)]


# Retries.


BATCH = [
    instance(1),
    instance(1, source_uri="/in/1-copy.dcm"),
    instance(2),
    instance(2, source_uri="/in/2-other.dcm", sha256="f" * 64),
    instance(3, sha256=""),
]
ANSWERS = ["duplicate", "imported", "conflict", "imported", "imported"]


def test_a_batch_that_is_committed_again_is_answered_the_same(data):
    first = commit(data, BATCH, "op")
    version = Index(data).version
    again = commit(data, BATCH, "op")
    assert [v[:3] for v in again] == [v[:3] for v in first]
    assert Counter(outcomes(first)) == Counter(ANSWERS)
    assert Index(data).version == version


def test_another_operation_finds_duplicates_of_what_is_in(data):
    commit(data, BATCH, "op")
    again = commit(data, BATCH, "another")
    assert Counter(outcomes(again)) == {"duplicate": 4, "conflict": 1}


def test_a_dry_run_answers_the_same_and_commits_nothing(data):
    dry = commit(data, BATCH, "op", dry_run=True)
    assert uids(data) == []
    assert Index(data).version == 0
    assert dry == commit(data, BATCH, "op")


def run_twice(data):
    for _ in range(2):
        with test_pipeline.TestPipeline() as pipeline:
            found = (
                pipeline
                | beam.Create([(0, BATCH[:2]), (1, BATCH[2:])])
                | CommitInstances(data, "op", dry_run=False)
            )
            assert_that(
                found,
                equal_to(
                    [
                        outcome(BATCH[0], "duplicate", other="/in/1-copy.dcm"),
                        outcome(BATCH[1], "imported"),
                        outcome(BATCH[2], "conflict", "ALREADY_EXISTS", "/in/2-other.dcm"),
                        outcome(BATCH[3], "imported"),
                        outcome(BATCH[4], "imported"),
                    ]
                ),
            )
        yield pipeline.result


def outcome(copy, kind, code="", other=""):
    return FileOutcome(
        copy.source_uri,
        kind,
        code,
        copy.sop_instance_uid,
        other,
        copy.size,
        copy.source_version,
    )


def test_a_bundle_that_is_tried_again_answers_the_same_and_commits_nothing_more(data):
    commits = [
        sum(
            counter.committed
            for counter in result.metrics().query(MetricsFilter().with_name("commits"))["counters"]
        )
        for result in run_twice(data)
    ]
    assert commits == [2, 0]
    assert uids(data) == ["1.2.1", "1.2.2", "1.2.3"]


# Rows and batches.


def test_a_row_tells_all_of_its_instance(data):
    whole = instance(
        1,
        metadata=zstandard.compress('{"00100010":"é"}'.encode()),
        structured_size=17,
        crc32c=2**32 - 1,
        number_of_frames=7,
        size=2**40,
        modality="",
    )
    commit(data, [whole], "op")
    [row] = Index(data).dataset().to_table().to_pylist()
    assert row.pop("LastUpdated").tzinfo
    assert row == {
        "StudyInstanceUID": whole.study_instance_uid,
        "SeriesInstanceUID": whole.series_instance_uid,
        "SOPInstanceUID": "1.2.1",
        "SOPClassUID": whole.sop_class_uid,
        "TransferSyntaxUID": whole.transfer_syntax_uid,
        "Modality": "",
        "NumberOfFrames": 7,
        "Metadata": '{"00100010":"é"}',
        "StructuredStorageSize": 17,
        "BlobUri": whole.blob,
        "BlobStorageSize": 2**40,
        "Sha256": whole.sha256,
        "Crc32c": 2**32 - 1,
        "SourceUri": "/in/1.dcm",
        "Operation": "op",
    }


@example([(number, 1) for number in range(20)])
@example([(number // 5, 1) for number in range(20)])
@example([(number, 30) for number in range(20)])
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 30)), max_size=60))
def test_batches_hold_all_copies_of_a_uid_and_no_more_than_a_commit_can(pairs):
    instances = [
        instance(number, structured_size=size, source_uri=f"/{place}")
        for place, (number, size) in enumerate(pairs)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dicomferry.transforms.commit_instances, "BATCH_ROWS", 8)
        patch.setattr(dicomferry.transforms.commit_instances, "_BATCH_BYTES", 100)
        found = list(batches(iter(instances)))
    assert sorted(i for batch in found for i in batch) == sorted(instances)
    for batch in found:
        assert batch
        several = len({i.sop_instance_uid for i in batch}) > 1
        assert not several or (len(batch) <= 8 and sum(i.structured_size for i in batch) <= 100)
    seen = [uid for batch in found for uid in {i.sop_instance_uid for i in batch}]
    assert len(seen) == len(set(seen))
