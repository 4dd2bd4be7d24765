"""Sources that are known unchanged are skipped; the rest is cut into shares."""

import pickle

import apache_beam as beam
import pytest
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

import dicomferry.transforms.skip_known
from dicomferry.operations.outcomes import ProgressCounts
from dicomferry.sources.source import Source
from dicomferry.store.known_sources import known_sources
from dicomferry.store.sources_table import remember_sources
from dicomferry.transforms.progress import ProgressReporter
from dicomferry.transforms.read_units import units
from dicomferry.transforms.records import FileOutcome
from dicomferry.transforms.skip_known import SkipKnown, shares
from tests.pipelines.jobs import new_store

A = Source("/in/a", 10, "1.1")
B = Source("/in/b", 20, "2.1")


@pytest.fixture
def data(root):
    """The data folder of a store that has taken A and B in."""
    data = new_store(root).data
    remember_sources(data, [(*A[:3], "imported")])
    remember_sources(data, [(*B[:3], "duplicate")])
    return data


@pytest.mark.parametrize(
    "changed",
    [
        A._replace(uri="/in/c"),
        A._replace(size=11),
        A._replace(version="1.2"),
        A._replace(version=""),
        A._replace(code="UNREADABLE"),
    ],
)
def test_a_source_that_differs_in_anything_is_not_known(data, changed):
    assert known_sources(data, [changed, B]) == {B}


def test_an_empty_listing_knows_nothing(data):
    assert known_sources(data, []) == set()


def test_remembering_nothing_writes_nothing(data):
    before = sorted(entry.path for entry in data.list("sources"))
    remember_sources(data, [])
    assert sorted(entry.path for entry in data.list("sources")) == before


def test_every_source_is_in_one_output(data):
    new = [Source(f"/new/{n}", 1, "1") for n in range(3)]
    with test_pipeline.TestPipeline() as pipeline:
        found = pipeline | beam.Create([[A, *new[:2]], [B, new[2]], []]) | SkipKnown(data)
        assert_that(found.shares, equal_to([new[:2], new[2:]]), label="Shares")
        assert_that(
            found.outcomes,
            equal_to(
                [
                    [FileOutcome("/in/a", "skipped", "ALREADY_IMPORTED", size=10)],
                    [FileOutcome("/in/b", "skipped", "ALREADY_IMPORTED", size=20)],
                ]
            ),
            label="Outcomes",
        )


@given(st.lists(st.integers(0, 60 << 20), max_size=50), st.booleans())
def test_shares_hold_all_sources_in_order_as_whole_units(sizes, is_remote):
    sources = [Source(f"/{n}", size, "1") for n, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dicomferry.transforms.skip_known, "_SHARE_FILES", 20)
        patch.setattr(dicomferry.transforms.read_units, "UNIT_FILES", 8)
        found = list(shares(sources, is_remote))
        whole = [unit for share in found for unit in units(share)]
        assert whole == list(units(sources))
    assert [source for share in found for source in share] == sources
    for share in found:
        assert 1 <= len(share) <= (8 if is_remote else 20)


def test_a_thousand_files_are_enough_for_eight_remote_workers():
    sources = [Source(f"gs://b/{n}", 1000, "1") for n in range(1024)]
    assert len(list(shares(sources))) <= 2
    assert len(list(shares(sources, is_remote=True))) >= 8
    large = [Source(f"gs://b/{n}", 100 << 20, "1") for n in range(8)]
    assert [len(share) for share in shares(large, is_remote=True)] == [1] * 8


class Folder:
    """Stands for an operation's folder."""

    def __init__(self):
        self.reports = {}

    def report_progress(self, worker, counts):
        self.reports[worker] = counts


def test_progress_sums_and_a_copy_in_another_process_starts_anew(monkeypatch):
    monkeypatch.setattr("dicomferry.transforms.progress._INTERVAL_SECONDS", 0)
    folder = Folder()
    progress = ProgressReporter(folder)
    progress.add(ProgressCounts(read=1))
    progress.add(ProgressCounts(read=2, failed=1))
    assert list(folder.reports.values()) == [ProgressCounts(read=3, failed=1)]
    copy = pickle.loads(pickle.dumps(progress))
    copy.add(ProgressCounts(read=5))
    assert list(copy._folder.reports.values()) == [
        ProgressCounts(read=3, failed=1),
        ProgressCounts(read=5),
    ]


def test_progress_without_a_folder_reports_nowhere():
    ProgressReporter(None).add(ProgressCounts(read=1))
