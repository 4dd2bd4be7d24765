"""Skip the sources that the store has imported already."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from dicomferry.errors import Reason
from dicomferry.operations.outcomes import Outcome
from dicomferry.sources.source import Source
from dicomferry.storage.base import Storage
from dicomferry.store.known_sources import known_sources
from dicomferry.transforms.batch_by_size import batch_by_size
from dicomferry.transforms.records import FileOutcome

# A share is small enough to divide the work evenly, and large enough to be worth a hand-over.
_SHARE_FILES = 1024
_SHARE_BYTES = 1 << 30


@dataclasses.dataclass
class SkipKnown(beam.PTransform):
    """Split listings of sources into shares of those that are left to read.

    Input: lists of sources; one lookup per list. Outputs: shares (main), which are lists of
    sources, and, under "outcomes", one `skipped` FileOutcome per known source.
    """

    data: Storage

    def expand(self, listings: beam.PCollection[list[Source]]) -> Any:
        """Look up each listing, and divide the rest of it into shares."""
        return listings | "Skip" >> beam.ParDo(_SkipFn(self.data)).with_outputs(
            "outcomes", main="shares"
        )


def shares(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """Divide a listing into shares of at most 1,024 files and, if more than one, 1 GiB."""
    return batch_by_size(sources, lambda source: source.size, _SHARE_FILES, _SHARE_BYTES)


class _SkipFn(beam.DoFn):
    def __init__(self, data: Storage) -> None:
        self._data = data

    def process(self, listing: list[Source]) -> Iterator[Any]:
        known = known_sources(self._data, listing)
        for source in listing:
            if source in known:
                outcome = FileOutcome(
                    source.uri, Outcome.SKIPPED, Reason.ALREADY_IMPORTED, size=source.size
                )
                yield TaggedOutput("outcomes", outcome)
        yield from shares([source for source in listing if source not in known])
