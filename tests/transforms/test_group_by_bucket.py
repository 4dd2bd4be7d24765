"""Buckets are ranges of UIDs: copies stay together, and what a bucket looks up lies together."""

import itertools
import random
from collections import Counter, defaultdict
from pathlib import Path

import apache_beam as beam
import pytest
import zstandard
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.counted_reads import CountedReads
from dicomferry.storage.local import LocalStorage
from dicomferry.store import index_writing
from dicomferry.store.index import Index
from dicomferry.transforms import group_by_bucket
from dicomferry.transforms.commit_instances import commit
from dicomferry.transforms.group_by_bucket import (
    GroupByBucket,
    bounds_of,
    key_by_bucket,
    sample,
)
from dicomferry.transforms.prepare_instances import prepare
from tests.factories import make_instance
from tests.pipelines.jobs import new_store


def instance(uid, number=0):
    return make_instance(
        sop_instance_uid=uid, source_uri=f"/in/{number}.dcm", metadata=zstandard.compress(b"{}")
    )


@pytest.fixture
def small(monkeypatch):
    """Every instance is a sample, and ten make a bucket."""
    monkeypatch.setattr(group_by_bucket, "_INSTANCES_PER_SAMPLE", 1)
    monkeypatch.setattr(group_by_bucket, "BUCKET_ROWS", 10)


def buckets_of(instances):
    """The UIDs of each bucket."""
    bounds = bounds_of([uid for each in instances for uid in sample(each)])
    buckets = defaultdict(list)
    for each in instances:
        number, same = key_by_bucket(each, bounds)
        assert same is each
        buckets[number].append(each.sop_instance_uid)
    return [buckets[number] for number in sorted(buckets)]


UIDS = st.lists(st.integers(0, 400).map("1.2.840.{}".format), max_size=120)


@given(UIDS)
def test_buckets_are_ranges_with_as_many_instances_but_for_copies(uids):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group_by_bucket, "_INSTANCES_PER_SAMPLE", 1)
        patch.setattr(group_by_bucket, "BUCKET_ROWS", 10)
        buckets = buckets_of([instance(uid, number) for number, uid in enumerate(uids)])
    assert Counter(itertools.chain(*buckets)) == Counter(uids)
    for one, next_one in itertools.pairwise(buckets):
        assert max(one) < min(next_one)
    for bucket in buckets:
        assert len(bucket) < 10 + max(Counter(bucket).values())
    assert len(buckets) <= len(uids) / 10 + 1


def test_one_uid_many_times_shares_its_bucket_with_no_more_than_others_have(small):
    uids = [f"1.2.{number:04}" for number in range(100)]
    uids += ["1.2.0050"] * 1000
    buckets = buckets_of([instance(uid, number) for number, uid in enumerate(uids)])
    assert max(len(set(bucket)) for bucket in buckets) <= 20
    assert sum("1.2.0050" in bucket for bucket in buckets) == 1


def test_about_one_of_a_thousand_instances_is_a_sample_each_time_the_same():
    first = instance("1.2.3")
    copies = [first._replace(source_uri=f"/in/{number:06}.dcm") for number in range(20_000)]
    chosen = [each.source_uri for each in copies if list(sample(each))]
    assert 10 <= len(chosen) <= 30, "copies count, too"
    assert chosen == [each.source_uri for each in copies if list(sample(each))]


def test_names_that_are_no_text_are_sampled_as_well():
    assert list(sample(instance("1.2")._replace(source_uri="/\udcff"))) in ([], ["1.2"])


def test_grouping_loses_nothing(small):
    instances = [instance(f"1.2.{number % 20:02}", number) for number in range(100)]
    with test_pipeline.TestPipeline() as pipeline:
        grouped = (
            pipeline
            | beam.Create(instances)
            | GroupByBucket()
            | beam.Map(lambda bucket: sorted((i.sop_instance_uid, i.source_uri) for i in bucket[1]))
        )
        every = sorted((each.sop_instance_uid, each.source_uri) for each in instances)
        assert_that(grouped, equal_to([every[n : n + 10] for n in range(0, 100, 10)]))


def test_all_buckets_of_a_job_together_read_the_index_once(small, root, monkeypatch):
    monkeypatch.setattr(index_writing, "_GROUP_ROWS", 8)
    data = new_store(root).data
    numbers = iter(random.Random(0).sample(range(10**17, 10**18), 2000))
    for _ in range(3):  # each file has UIDs of the whole range
        commit(data, [instance(f"2.25.{next(numbers)}") for _ in range(400)], "earlier")
    new = [instance(f"2.25.{uid}", number) for number, uid in enumerate(numbers) if number < 150]
    counted = CountedReads(f"{data.root}/index")
    monkeypatch.setattr(LocalStorage, "arrow_filesystem", lambda _: counted.filesystem())
    files = [Path(data.root, "index", file) for file in Index(data).files]
    footers = sum(map(footer_bytes, files))
    Index(data).lookup([each.sop_instance_uid for each in new])
    column = counted.size - footers
    assert column > 1200 * 15
    counted.size = 0
    bounds = bounds_of([uid for each in new for uid in sample(each)])
    buckets = defaultdict(list)
    for each in new:
        buckets[key_by_bucket(each, bounds)[0]].append(each)
    for bucket in buckets.values():
        prepare(data, bucket, "op")
    assert len(buckets) == 15
    assert counted.size - len(buckets) * footers < 2 * column


def footer_bytes(path):
    """The bytes that are read of a file to know its columns: its footer, or what it may be."""
    footer = int.from_bytes(path.read_bytes()[-8:-4], "little") + 8
    return max(footer, min(path.stat().st_size, 8192 + 300))
