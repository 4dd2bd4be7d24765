"""Leave out the sources that the store has taken in already."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from stores.known_sources import known_sources
from stores.listing import Source
from stores.storage import Storage
from transforms.cut import cut
from transforms.records import SKIPPED, Outcome

# A worker's share is small enough to spread, big enough to be worth handing over.
_SHARE_FILES = 1024
_SHARE_BYTES = 1 << 30


@dataclasses.dataclass
class SkipKnown(beam.PTransform):
    """Split listings of sources into shares of what is left to read.

    Elements in are lists of sources, one lookup each. Outputs: shares (main) and, under
    "outcomes", one `skipped` outcome a known source.
    """

    data: Storage

    def expand(self, listings: beam.PCollection[list[Source]]) -> Any:
        """Wire it."""
        return listings | "Skip" >> beam.ParDo(_SkipFn(self.data)).with_outputs(
            "outcomes", main="shares"
        )


def shares(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """Cut a listing into shares of at most 1,024 files and, if more than one, 1 GiB."""
    return cut(sources, lambda source: source.size, _SHARE_FILES, _SHARE_BYTES)


class _SkipFn(beam.DoFn):
    def __init__(self, data: Storage) -> None:
        self._data = data

    def process(self, listing: list[Source]) -> Iterator[Any]:
        known = known_sources(self._data, listing)
        for source in listing:
            if source in known:
                outcome = Outcome(source.uri, SKIPPED, "ALREADY_IMPORTED", size=source.size)
                yield TaggedOutput("outcomes", outcome)
        yield from shares([source for source in listing if source not in known])
