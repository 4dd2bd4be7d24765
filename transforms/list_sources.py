"""List what a source pattern matches, on the workers of a distributed runner.

A local job lists before it starts, to go part by part; see pipelines/import_dicom.py.
"""

import itertools
from collections.abc import Iterator, Sequence

import apache_beam as beam

from dicomferry.sources.listing import describe_sources, list_sources
from dicomferry.sources.source import Source
from dicomferry.sources.uri import parse_source

# One lookup of known sources each.
LISTING_FILES = 10_000


class ListSources(beam.PTransform):
    """Turn source URIs into listings: lists of up to 10,000 sources."""

    def expand(self, uris: beam.PCollection[str]) -> beam.PCollection[list[Source]]:
        """Wire it."""
        return (
            uris
            | "List" >> beam.FlatMap(listings)
            | "Spread" >> beam.Reshuffle()  # one URI fans out to many files
        )


class DescribeSources(beam.PTransform):
    """Turn lists of source URIs, as an earlier import listed them, into listings."""

    def expand(self, uris: beam.PCollection[list[str]]) -> beam.PCollection[list[Source]]:
        """Wire it."""
        return uris | "Describe" >> beam.Map(described)


def described(uris: Sequence[str]) -> list[Source]:
    """The sources of these very URIs."""
    return list(describe_sources(uris))


def listings(uri: str) -> Iterator[list[Source]]:
    """The sources that a URI matches, in lists."""
    sources = list_sources(parse_source(uri))
    while listing := list(itertools.islice(sources, LISTING_FILES)):
        yield listing
