"""List the sources of an import on the workers of a distributed runner.

A local job lists before it starts, to run part by part; see pipelines/import_dicom.py.
"""

import itertools
from collections.abc import Iterator, Sequence

import apache_beam as beam

from dicomferry.sources.listing import describe_sources, list_sources
from dicomferry.sources.source import Source
from dicomferry.sources.uri import parse_source

# Sources of a listing: one lookup of known sources is made per listing.
LISTING_FILES = 10_000


class ListSources(beam.PTransform):
    """Turn source URIs into listings: lists of up to 10,000 sources."""

    def expand(self, uris: beam.PCollection[str]) -> beam.PCollection[list[Source]]:
        """List each URI, and spread its sources over the workers."""
        return (
            uris
            | "List" >> beam.FlatMap(listings)
            | "Reshuffle" >> beam.Reshuffle()  # one URI fans out to many files
        )


class DescribeSources(beam.PTransform):
    """Turn lists of source URIs, as an earlier import listed them, into listings."""

    def expand(self, uris: beam.PCollection[list[str]]) -> beam.PCollection[list[Source]]:
        """Look up each URI of a list."""
        return uris | "Describe" >> beam.Map(describe)


def describe(uris: Sequence[str]) -> list[Source]:
    """Return the sources of exact URIs."""
    return list(describe_sources(uris))


def listings(uri: str) -> Iterator[list[Source]]:
    """Yield the sources that a URI matches, in lists of at most `LISTING_FILES`."""
    sources = list_sources(parse_source(uri))
    while listing := list(itertools.islice(sources, LISTING_FILES)):
        yield listing
