"""Skip the sources that the store has imported already."""

import dataclasses
import functools
import itertools
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from dicomferry.errors import Reason
from dicomferry.operations.outcomes import Outcome
from dicomferry.sources.source import Source
from dicomferry.storage.base import Storage
from dicomferry.store.known_sources import KnownSources
from dicomferry.transforms.batch_by_size import batch_by_size
from dicomferry.transforms.read_units import units
from dicomferry.transforms.records import FileOutcome

# A share is small enough to divide the work evenly, and large enough to be worth a hand-over: a
# remote runner gives shares to many workers, our own pool divides a single one.
_SHARE_FILES = 1024
_SHARE_UNITS = 8


@dataclasses.dataclass
class SkipKnown(beam.PTransform):
    """Split listings of sources into shares of those that are left to read.

    Input: lists of sources; one lookup per list. Outputs: shares (main), which are lists of
    sources, and, under "outcomes", lists of one `skipped` FileOutcome per known source.

    Every worker process looks into the version of the table that it loads at first.
    """

    data: Storage
    is_remote: bool = False
    run: str = dataclasses.field(default_factory=lambda: secrets.token_hex(8))

    def expand(self, listings: beam.PCollection[list[Source]]) -> Any:
        """Look up each listing, and divide the rest of it into shares."""
        return listings | "Skip" >> beam.ParDo(_SkipFn(self)).with_outputs(
            "outcomes", main="shares"
        )


def shares(sources: Sequence[Source], is_remote: bool = False) -> Iterator[list[Source]]:
    """Divide a listing into shares of whole units: one for a remote worker, else up to eight."""
    if is_remote:
        yield from units(sources)
        return
    for some in batch_by_size(units(sources), len, _SHARE_UNITS, _SHARE_FILES):
        yield list(itertools.chain.from_iterable(some))


class _SkipFn(beam.DoFn):
    def __init__(self, options: SkipKnown) -> None:
        self._data = options.data
        self._is_remote = options.is_remote
        self._run = options.run

    def process(self, listing: list[Source]) -> Iterator[Any]:
        known = _known_sources(self._data, self._run).among(listing)
        pairs = list(zip(listing, known, strict=True))
        if skipped := [_skipped(source) for source, is_known in pairs if is_known]:
            yield TaggedOutput("outcomes", skipped)
        new = [source for source, is_known in pairs if not is_known]
        yield from shares(new, self._is_remote)


@functools.lru_cache(maxsize=1)
def _known_sources(data: Storage, _run: str) -> KnownSources:
    """Return the table as this process knows it: a run of the graph loads it once."""
    return KnownSources(data)


def _skipped(source: Source) -> FileOutcome:
    return FileOutcome(source.uri, Outcome.SKIPPED, Reason.ALREADY_IMPORTED, size=source.size)
