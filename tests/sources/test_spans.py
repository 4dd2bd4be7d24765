"""Spans divide a listing: every name is in exactly one, and many workers get as much."""

from bisect import bisect_left
from itertools import pairwise

import apache_beam as beam
import pytest
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

from dicomferry.sources import bucket
from dicomferry.sources.source import Source
from dicomferry.sources.spans import Span, divide
from dicomferry.sources.uri import parse_source
from dicomferry.transforms import list_sources

# Any name of an object, and names that share much and sort around the bounds of spans.
ANY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
ALIKE = st.text("01/9a:Az~\0é日\U0010ffff\ud7ff\ue000", min_size=1, max_size=8)


@given(st.sets(ANY | ALIKE, min_size=1), st.data())
def test_every_name_is_in_exactly_one_span(names, data):
    ordered = sorted(names)
    assert ordered == sorted(names, key=str.encode)  # the order of Cloud Storage
    seen = data.draw(st.integers(1, len(ordered)))
    end = data.draw(st.sampled_from(["", *ordered[seen:]]))
    spans = divide(Span(end=end), ordered[:seen])
    assert spans[0].start == ordered[seen - 1]
    assert spans[-1].end == end
    assert all(one.end == next_.start for one, next_ in pairwise(spans))
    assert all(one.start < one.end for one in spans if one.end)
    for span in spans:
        (span.start + span.end).encode()  # no name that cannot be requested
    for name in ordered[seen - 1 :]:
        if not end or name < end:
            holders = [s for s in spans if s.start <= name and (not s.end or name < s.end)]
            assert len(holders) == 1


def test_there_are_no_more_spans_than_a_runner_likes():
    names = ["".join(chr(0x4E00 + n) for n in range(1000)), "\U0010fff0" * 1000]
    assert len(divide(Span(), [f"{'b' * 500}{name}" for name in names])) <= 1001


class Names:
    """A sorted sequence of names that are made when they are asked for."""

    def __init__(self, count, name):
        self._count, self._name = count, name

    def __len__(self):
        return self._count

    def __getitem__(self, number):
        return self._name(number)


class Pages:
    """Answers as a bucket does, 1,000 names at once, and counts the requests."""

    def __init__(self, names):
        self._names = names
        self.requests = 0

    def list_span(self, _pattern, span, pages=None):
        """Stands for `bucket.list_span` of a recursive pattern."""
        return bucket._list_pages(PATTERN, span, pages)

    def request(self, _pattern, query, token=None, page_size=None):
        self.requests += 1
        first = int(token) if token else bisect_left(self._names, query.get("start_offset", ""))
        end = query.get("end_offset")
        stop = bisect_left(self._names, end) if end else len(self._names)
        last = min(first + 1000, stop)
        blobs = [Blob(self._names[number]) for number in range(first, last)]
        return bucket._Page(blobs, [], str(last) if last < stop else None)


class Blob:
    size, generation, crc32c = 1, 1, ""

    def __init__(self, name):
        self.name = name


PATTERN = parse_source("gs://bucket/**")
BUCKETS = {
    "numbers": lambda n: f"{n:09d}.dcm",
    "numbers without zeros": sorted(map(str, range(50_000))).__getitem__,
    "hexadecimal": lambda n: f"2026/{n * 21474:08x}.dcm",
    "UIDs": lambda n: f"1.2.840.113619.2.55.3.604688119.{971_000_000 + n}.dcm",
    "folders": lambda n: f"patient {n // 2000:06d}/series{n // 100 % 20:03d}/IM{n % 100:06d}",
    "two places": lambda n: f"{'a/b' if n < 25_000 else 'x/y/z'}/{n:08d}",
}


@pytest.mark.parametrize("name", BUCKETS.values(), ids=BUCKETS)
def test_a_bucket_is_divided_evenly_whatever_its_names_are(name, monkeypatch):
    count = 50_000
    bucket_ = Pages(Names(count, name))
    monkeypatch.setattr(bucket, "_request", bucket_.request)
    shares, found, rounds, most = [list_sources.whole("gs://bucket/**")], [], 0, 0
    while shares:
        rounds += 1
        following = []
        for share in shares:
            before = bucket_.requests
            for each in list_sources.list_share(share, 10):
                if isinstance(each, tuple):
                    following.append(each)
                else:
                    found += each.value
            most = max(most, bucket_.requests - before)
        shares = following
    assert len(found) == len({source.uri for source in found}) == count
    assert all(isinstance(source, Source) for source in found)
    assert rounds <= list_sources._ROUNDS
    assert most <= 10
    assert bucket_.requests < count / 1000 + 400


def test_all_rounds_together_list_each_object_once(gcs, monkeypatch):
    monkeypatch.setattr(bucket, "_PAGE", 3)
    monkeypatch.setattr(list_sources, "_PAGES", 1)
    monkeypatch.setattr(list_sources, "LISTING_FILES", 2)
    names = [*(f"flat/{n:03d}" for n in range(60)), *(f"nested/{n}/x/{n}" for n in range(40))]
    listed = gcs.bucket("spans")
    for name in names:
        listed.blob(name).upload_from_string(b"x")
    patterns = [f"gs://spans/{pattern}" for pattern in ("flat/**", "nested/*/x/*")]
    with test_pipeline.TestPipeline() as pipeline:
        found = pipeline | beam.Create(patterns) | list_sources.ListSources()
        uris = found | beam.FlatMap(lambda sources: [source.uri for source in sources])
        assert_that(uris, equal_to([f"gs://spans/{name}" for name in names]))
        in_order = found | beam.Map(lambda sources: sources == sorted(sources)[:2])
        assert_that(in_order | beam.Distinct(), equal_to([True]), label="Sorted")
