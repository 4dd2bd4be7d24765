"""List the sources of an import on the workers of a distributed runner.

A local job lists before it starts, to run part by part; see pipelines/import_dicom.py.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from dicomferry.sources.listing import describe_sources, list_span
from dicomferry.sources.source import Source
from dicomferry.sources.spans import Span
from dicomferry.sources.uri import parse_source

# Sources of a listing: one lookup of known sources is made per listing.
LISTING_FILES = 10_000
# Pages that a worker lists before it hands on what is left: some seconds at most.
_PAGES = 10
# Every round divides what is left by some dozens: these are enough for any number of sources, and
# what names in an odd order leave is listed by those workers that got it.
_ROUNDS = 5

_Share = tuple[str, Span]
"""A source URI, and a part of what it matches."""


class ListSources(beam.PTransform):
    """Turn source URIs into listings: sorted lists of up to 10,000 sources."""

    def expand(self, uris: beam.PCollection[str]) -> beam.PCollection[list[Source]]:
        """List each URI in rounds: workers list a part, and hand on what is left in many."""
        shares = uris | "Begin" >> beam.Map(whole)
        found = []
        for number in range(1, _ROUNDS + 1):
            listed = shares | f"List{number}" >> beam.FlatMap(list_share, _PAGES).with_outputs(
                "listings", main="shares"
            )
            found.append(listed.listings)
            shares = listed.shares | f"Spread{number}" >> beam.Reshuffle()
        rest = shares | "ListRest" >> beam.FlatMap(list_share).with_outputs(
            "listings", main="shares"
        )
        return (
            (*found, rest.listings)
            | "AllListings" >> beam.Flatten()
            | "Reshuffle" >> beam.Reshuffle()  # one part fans out to many files
        )


class DescribeSources(beam.PTransform):
    """Turn lists of source URIs, as an earlier import listed them, into listings."""

    def expand(self, uris: beam.PCollection[list[str]]) -> beam.PCollection[list[Source]]:
        """Look up each URI of a list."""
        return uris | "Describe" >> beam.Map(describe)


def describe(uris: Sequence[str]) -> list[Source]:
    """Return the sources of exact URIs."""
    return list(describe_sources(uris))


def whole(uri: str) -> _Share:
    """Return all that a URI matches, as one share."""
    return uri, Span.of(parse_source(uri))


def list_share(share: _Share, pages: int | None = None) -> Iterator[Any]:
    """List a share.

    Args:
        share: what to list.
        pages: of a listing to request at most; default: as many as there are.

    Yields:
        Lists of at most `LISTING_FILES` sources, as output "listings", and what is left as shares.
    """
    uri, span = share
    pattern, todo = parse_source(uri), [span]
    found: list[Source] = []
    made = 0
    while todo:
        left = None if pages is None else pages - made
        if left is not None and left <= 0:
            break
        for step in list_span(pattern, todo.pop(), left):
            made += 1
            found += step.sources
            todo += reversed(step.following)
            while len(found) >= LISTING_FILES:
                yield _listing(found[:LISTING_FILES])
                del found[:LISTING_FILES]
    if found:
        yield _listing(found)
    yield from ((uri, span) for span in todo)


def _listing(sources: list[Source]) -> TaggedOutput:
    return TaggedOutput("listings", sorted(sources))
