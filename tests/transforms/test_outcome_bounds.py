"""Shards of outcomes hold a bounded number, and follow each other as listings do."""

from bisect import bisect_right
from collections import Counter

import apache_beam as beam
import pytest
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

from dicomferry.operations.folder import start_operation
from dicomferry.sources.source import Source
from dicomferry.transforms import outcome_bounds
from dicomferry.transforms.outcome_bounds import OutcomeBounds, bounds_of
from dicomferry.transforms.records import FileOutcome
from dicomferry.transforms.write_outcomes import WriteOutcomes
from tests.pipelines.jobs import STORE, new_store

SIZE = 10


@given(st.lists(st.integers(1, SIZE), max_size=30), st.randoms())
def test_each_shard_has_its_share_however_the_listings_come(sizes, random):
    names = iter(f"{n:04d}" for n in range(1000))
    listings = [[next(names) for _ in range(size)] for size in sizes]
    firsts = [(listing[0], len(listing)) for listing in listings]
    random.shuffle(firsts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcome_bounds, "SHARD_OUTCOMES", SIZE)
        bounds = bounds_of(firsts)
    assert bounds == sorted(set(bounds))
    shards = Counter(bisect_right(bounds, name) for listing in listings for name in listing)
    assert all(size <= SIZE for size in shards.values())
    assert len(shards) <= 2 * sum(sizes) / SIZE + 1
    for listing in listings:  # each is in one shard
        assert len({bisect_right(bounds, name) for name in listing}) == 1


def test_lists_of_outcomes_follow_each_other_in_the_order_of_the_listing(root, monkeypatch):
    monkeypatch.setattr(outcome_bounds, "SHARD_OUTCOMES", 20)
    data = new_store(root).data
    folder = start_operation(root, STORE, "ImportDicomData")
    sources = [Source(f"/in/{n:03d}", 1, "1") for n in range(50)]
    listings = [[], *(sources[start : start + 10] for start in range(40, -1, -10))]
    outcomes = [FileOutcome(s.uri, "imported", size=1, version="1") for s in sources]
    with test_pipeline.TestPipeline() as pipeline:
        bounds = pipeline | beam.Create(listings) | OutcomeBounds()
        one_by_one = pipeline | "Some" >> beam.Create(outcomes[::2])
        in_lists = pipeline | "Others" >> beam.Create([outcomes[1:30:2], outcomes[31::2]])
        found = (
            (one_by_one, in_lists)
            | beam.Flatten()
            | WriteOutcomes(folder, "00000", beam.pvalue.AsSingleton(bounds), remember=data)
        )
        assert_that(found | beam.Map(lambda counts: counts.imported), equal_to([50]))
    assert [len(shard.splitlines()) for shard in folder.outcome_shards()] == [20, 20, 10]
    assert [line["source"] for line in folder.outcomes()] == [source.uri for source in sources]
    # All files that a job remembers are in one commit.
    assert len([e for e in data.list("sources/_delta_log") if e.path.endswith(".json")]) == 2
