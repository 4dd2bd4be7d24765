"""Where shards of outcomes begin: each has as many, and they are sorted as listings are."""

from collections.abc import Iterable

import apache_beam as beam

from dicomferry.sources.source import Source
from dicomferry.transforms.write_outcomes import SHARD_OUTCOMES


class OutcomeBounds(beam.PTransform):
    """Turn listings into the sources that the second shard of outcomes, and later ones, begin with.

    Memory: a URI for each listing.
    """

    def expand(self, listings: beam.PCollection[list[Source]]) -> beam.PCollection[list[str]]:
        """Return one element: the bounds, sorted."""
        return (
            listings
            | "FirstAndSize" >> beam.FlatMap(_first_and_size)
            | "Gather" >> beam.CombineGlobally(beam.combiners.ToListCombineFn())
            | "Bounds" >> beam.Map(bounds_of)
        )


def bounds_of(listings: Iterable[tuple[str, int]]) -> list[str]:
    """Return where to divide listings into shards of about `SHARD_OUTCOMES` sources.

    Args:
        listings: the first source and the number of sources of each, in any order.
    """
    bounds: list[str] = []
    size = 0
    for first, count in sorted(listings):
        if size and size + count > SHARD_OUTCOMES and first not in bounds[-1:]:
            bounds.append(first)
            size = 0
        size += count
    return bounds


def _first_and_size(listing: list[Source]) -> list[tuple[str, int]]:
    return [(min(listing).uri, len(listing))] if listing else []
