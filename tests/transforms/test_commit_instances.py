"""Committing is harmless to repeat, and others that commit meanwhile are taken into account."""

import os
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

from dicomferry.storage import retries
from dicomferry.storage.clock import clock_of
from dicomferry.store import index_commit, index_rivals, index_writing
from dicomferry.store.commit_conflicts import CommitConflictError
from dicomferry.store.compaction import sort_index
from dicomferry.store.index import Index
from dicomferry.store.index_commit import commit_files
from dicomferry.store.index_files import log_path
from dicomferry.store.index_writing import IMPORTED
from dicomferry.store.vacuum import raise_cutoff
from dicomferry.transforms import commit_instances, prepare_instances
from dicomferry.transforms.commit_instances import CommitInstances, _ConfirmFn, commit, confirm
from dicomferry.transforms.prepare_instances import prepare, rows_of
from dicomferry.transforms.records import FileOutcome
from tests.factories import make_instance
from tests.pipelines.jobs import new_store
from tests.store.appending import append_rows


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


def confirmed(data, prepared, changed):
    """Return the verdicts after the commit."""
    every = prepared.judged()
    return [v for judged in every for v in confirm(lambda: Index(data), judged, changed, "op")]


def uids(data):
    return sorted(Index(data).dataset().to_table()["SOPInstanceUID"].to_pylist())


# Others commit meanwhile.


def test_a_commit_that_others_overtake_looks_into_nothing_again(data, naps, monkeypatch):
    append, rivals = Index.append, [instance(90), instance(91)]

    def overtaken(index, files):
        if rivals:
            commit(data, [rivals.pop()], "rival")
        return append(index, files)

    prepared = prepare(data, [instance(1)], "op")
    monkeypatch.setattr(Index, "append", overtaken)
    for module in (index_commit, index_rivals):  # bounds tell that none can have it
        monkeypatch.setattr(module, "read_column", None)
    committed = commit_files(data, prepared.files)
    assert committed.lost_races == 1
    assert len(naps) == 2, "a rival has lost one, too"
    assert uids(data) == ["1.2.1", "1.2.90", "1.2.91"]


def test_a_commit_that_is_refused_although_nobody_else_commits_says_so(data, naps, monkeypatch):
    tried = []

    def refused(index, files):
        tried.append(index.version)
        raise CommitConflictError

    monkeypatch.setattr(Index, "append", refused)
    with pytest.raises(CommitConflictError, match="refused 20 times although nobody else commits"):
        commit(data, [instance(1)], "op")
    assert uids(data) == []


@pytest.mark.parametrize(
    ("rival", "outcome"),
    [
        (instance(1, source_uri="/rival.dcm"), "duplicate"),
        (instance(1, source_uri="/rival.dcm", sha256="f" * 64), "conflict"),
    ],
)
def test_a_rival_that_commits_after_the_lookup_has_won(data, rival, outcome):
    prepared = prepare(data, [instance(1), instance(2)], "op")
    [file] = prepared.files
    commit(data, [rival], "rival")
    committed = commit_files(data, prepared.files)
    assert committed.changed == {file.file.path}
    assert [rows for rows, _ in committed.commits] == [1]
    verdicts = confirmed(data, prepared, committed.changed)
    assert [(v.outcome, v.other) for v in verdicts] == [(outcome, "/rival.dcm"), ("imported", "")]
    assert uids(data) == ["1.2.1", "1.2.2"]
    assert Index(data)._folder.head(file.file.path), "another attempt may look at it still"


def test_a_rival_that_was_compacted_away_meanwhile_has_won_too(data):
    prepared = prepare(data, [instance(1), instance(2)], "op")
    for number in (0, 1, 3):
        commit(data, [instance(number, source_uri=f"/rival/{number}")], "rival")
    sort_index(data)
    commit_files(data, prepared.files)
    assert uids(data) == ["1.2.0", "1.2.1", "1.2.2", "1.2.3"]


def test_a_compaction_of_what_was_looked_into_costs_no_second_look(data, monkeypatch):
    for number in range(3):
        commit(data, [instance(number + 1)], "earlier")
    prepared = prepare(data, [instance(3, source_uri="/again.dcm"), instance(4)], "op")
    sort_index(data)
    monkeypatch.setattr(Index, "lookup", None)
    committed = commit_files(data, prepared.files)
    assert not committed.changed
    [judged] = prepared.judged()
    assert outcomes(judged.verdicts) == ["duplicate", "imported"]
    assert len(uids(data)) == 4


def test_a_log_that_is_cut_short_meanwhile_is_made_up_for_by_a_whole_look(data):
    prepared = prepare(data, [instance(1), instance(2)], "op")
    for number in (1, 3):
        commit(data, [instance(number, source_uri="/rival.dcm")], "rival")
    index = Index(data)
    index._table.create_checkpoint()
    index._folder.delete([log_path(0), log_path(1)])
    commit_files(data, prepared.files)
    assert uids(data) == ["1.2.1", "1.2.2", "1.2.3"]


def test_an_index_that_was_loaded_before_another_commit_refuses(data):
    early, late = Index(data), Index(data)
    rows = rows_of([instance(1)], "op")
    append_rows(late, rows)
    with pytest.raises(CommitConflictError):
        append_rows(early, rows)
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


class _Any(set):
    """Every file has lost rows."""

    def isdisjoint(self, _):
        return False


ANY = _Any()
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


def test_a_step_that_is_tried_again_finds_what_it_has_committed(data):
    """Its worker died after the commit, or the answer was lost."""
    prepared = prepare(data, BATCH, "op")
    commit_files(data, prepared.files)
    version = Index(data).version
    again = commit_files(data, prepared.files)
    assert (again.changed, again.commits) == (set(), [])
    assert Index(data).version == version
    sort_index(data)
    commit(data, [instance(8)], "op")  # and compacted, and forgotten by the log
    Index(data)._table.create_checkpoint()
    Index(data)._folder.delete([log_path(number) for number in range(version + 1)])
    commit_files(data, prepared.files)
    assert uids(data) == ["1.2.1", "1.2.2", "1.2.3", "1.2.8"]
    verdicts = confirmed(data, prepared, ANY)
    assert outcomes(verdicts) == ["imported", "duplicate", "imported", "conflict", "imported"]


def test_a_bucket_that_is_prepared_again_after_its_commit_adds_nothing(data):
    first, second = prepare(data, BATCH, "op"), prepare(data, BATCH, "op")
    commit_files(data, first.files)
    committed = commit_files(data, second.files)
    assert committed.commits == [], "its rows are there by another name"
    verdicts = confirmed(data, second, committed.changed)
    assert Counter(outcomes(verdicts)) == Counter(ANSWERS)
    assert uids(data) == ["1.2.1", "1.2.2", "1.2.3"]


def test_a_prepared_file_that_is_gone_fails_what_was_in_it(data):
    prepared = prepare(data, [instance(1)], "op")
    Index(data)._folder.delete([each.file.path for each in prepared.files])
    committed = commit_files(data, prepared.files)
    assert outcomes(confirmed(data, prepared, committed.changed)) == ["failed"]
    assert uids(data) == []


def test_blobs_that_are_deleted_between_preparing_and_committing_fail_alone(data):
    now = clock_of(data).now()
    for number in (1, 2):
        data.write(f"{number}.dcm", b"x")
    copies = [instance(n, blob=f"{n}.dcm", stored=now) for n in (1, 2)]
    prepared = prepare(data, copies, "op")
    raise_cutoff(data, now + 1)
    data.delete(["1.dcm"])
    committed = commit_files(data, prepared.files)
    assert outcomes(confirmed(data, prepared, committed.changed)) == [
        "failed",
        "imported",
    ]
    assert uids(data) == ["1.2.2"]
    assert data.head("2.dcm").modified.timestamp() > now + 1


def test_an_attempt_that_died_before_its_commit_has_taken_nothing_from_the_next(data, monkeypatch):
    prepared = prepare(data, [instance(1), instance(2)], "op")
    commit(data, [instance(1, source_uri="/rival.dcm")], "rival")

    def die(index, files):
        raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(Index, "append", die)
        with pytest.raises(InterruptedError):
            commit_files(data, prepared.files)
    left = Index(data).uncommitted()
    assert len(left) == 2
    assert all(file.startswith(IMPORTED) for file in left), "an erasure finds what it wrote"
    committed = commit_files(data, prepared.files)
    assert outcomes(confirmed(data, prepared, committed.changed)) == [
        "duplicate",
        "imported",
    ]
    assert uids(data) == ["1.2.1", "1.2.2"]


def test_two_attempts_at_once_leave_one_row_a_uid_in_files_that_are_there(data, monkeypatch):
    """One finds that a blob is gone, the other that it was stored again."""
    now = clock_of(data).now()
    for number in (1, 2):
        data.write(f"{number}.dcm", b"x")
    copies = [instance(n, blob=f"{n}.dcm", stored=now) for n in (1, 2)]
    prepared = prepare(data, copies, "op")
    raise_cutoff(data, now + 1)
    data.delete(["1.dcm"])
    rewrite = index_commit.rewrite

    def overtaken(*arguments):
        written = rewrite(*arguments)
        monkeypatch.setattr(index_commit, "rewrite", rewrite)
        data.write("1.dcm", b"x")
        assert not commit_files(data, prepared.files).changed
        return written

    monkeypatch.setattr(index_commit, "rewrite", overtaken)
    committed = commit_files(data, prepared.files)
    assert uids(data) == ["1.2.1", "1.2.2"]
    assert outcomes(confirmed(data, prepared, committed.changed)) == [
        "imported",
        "imported",
    ]


def test_a_file_that_a_vacuum_may_soon_delete_is_not_committed(data, monkeypatch):
    """Its job was suspended for days."""
    copies = [instance(1), instance(2)]
    old, young = (prepare(data, [copy], "op") for copy in copies)
    for prepared, days in ((old, 3.1), (young, 2.9)):
        [file] = prepared.files
        then = time.time() - days * 24 * 3600
        os.utime(Index(data)._folder.uri(file.file.path), (then, then))
    committed = commit_files(data, old.files + young.files)
    assert committed.changed == {old.files[0].file.path}
    assert uids(data) == ["1.2.2"]
    assert outcomes(confirmed(data, old, committed.changed)) == ["failed"]
    commit(data, copies, "again")
    assert uids(data) == ["1.2.1", "1.2.2"]


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
    assert commits == [1, 0]
    assert uids(data) == ["1.2.1", "1.2.2", "1.2.3"]


# What the work grows with.


def test_many_files_that_lost_rows_take_one_look_at_the_bounds_of_the_index(data, monkeypatch):
    prepared = [prepare(data, [instance(n), instance(n + 100)], "op") for n in range(4)]
    commit(data, [instance(n, source_uri="/rival.dcm") for n in range(4)], "rival")
    looks, file_stats = [], Index.file_stats
    monkeypatch.setattr(Index, "file_stats", lambda index: looks.append(1) or file_stats(index))
    committed = commit_files(data, [file for each in prepared for file in each.files])
    assert (len(committed.changed), len(looks)) == (4, 1)
    assert len(uids(data)) == 8


def test_a_file_that_lost_all_rows_is_not_written_again(data, monkeypatch):
    prepared = prepare(data, BATCH, "op")
    commit(data, BATCH, "rival")
    monkeypatch.setattr(index_commit, "rewrite", None)
    committed = commit_files(data, prepared.files)
    assert (len(committed.changed), committed.commits) == (1, [])


def test_outcomes_of_a_bundle_are_confirmed_by_one_version_of_the_index(data, monkeypatch):
    monkeypatch.setattr(prepare_instances, "_CHUNK", 1)
    prepared = prepare(data, BATCH, "op")
    commit(data, [instance(1, source_uri="/rival.dcm")], "rival")
    changed = commit_files(data, prepared.files).changed
    loads = []
    monkeypatch.setattr(commit_instances, "Index", lambda data: loads.append(1) or Index(data))
    confirm_fn = _ConfirmFn(CommitInstances(data, "op"))
    for loaded in (1, 2):
        confirm_fn.start_bundle()
        found = [o for judged in prepared.judged() for o in confirm_fn.process(judged, changed)]
        assert (len(found), len(loads)) == (5, loaded)


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


def test_a_bucket_is_written_in_files_and_committed_at_once(data, monkeypatch):
    monkeypatch.setattr(index_writing, "_GROUP_ROWS", 2)
    monkeypatch.setattr(index_writing, "_FILE_BYTES", 1)
    prepared = prepare(data, [instance(number) for number in range(7)], "op")
    assert len(prepared.files) == 4
    committed = commit_files(data, prepared.files)
    assert [rows for rows, _ in committed.commits] == [7]
    bounds = sorted((file.first, file.last) for file in Index(data).file_stats())
    assert bounds == [("1.2.0", "1.2.1"), ("1.2.2", "1.2.3"), ("1.2.4", "1.2.5"), ("1.2.6",) * 2]


def test_many_files_are_committed_some_at_a_time(data, monkeypatch):
    monkeypatch.setattr(index_commit, "_MAX_FILES", 2)
    files = [file for n in range(5) for file in prepare(data, [instance(n)], "op").files]
    assert [rows for rows, _ in commit_files(data, files).commits] == [2, 2, 1]
    assert len(uids(data)) == 5
