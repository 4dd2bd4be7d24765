"""Renew blobs that may be deleted before their rows are committed."""

import functools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from dicomferry.operations.outcomes import Outcome
from dicomferry.storage.base import Storage
from dicomferry.storage.clock import RESOLUTION_SECONDS
from dicomferry.transforms.dedupe import Verdict
from dicomferry.transforms.records import Instance


class Renewals:
    """The blobs of one batch that were renewed, and those that were gone.

    `stores vacuum` and `stores delete-instances` delete blobs until a cut-off that the index has
    (`dicomferry.store.vacuum`). A row may be committed to a version of the index only if its blob
    was written, or is renewed, after the cut-off of that version.
    """

    def __init__(self, data: Storage) -> None:
        """Begin a batch of a store's data folder."""
        self._data = data
        self._renewed: dict[str, float] = {}
        self._lost: set[str] = set()

    def lose(self, copies: Iterable[Instance], cutoff: float | None) -> bool:
        """Renew the blobs that are older than a cut-off.

        Args:
            copies: about to be committed.
            cutoff: of the version that they are committed to.

        Returns:
            Whether a blob was gone: then another copy of its UID may take its place.
        """
        if cutoff is None:
            return False
        safe = cutoff + RESOLUTION_SECONDS
        old = [
            copy.blob
            for copy in copies
            if max(copy.stored, self._renewed.get(copy.blob, 0.0)) < safe
        ]
        if not old:
            return False
        touch = functools.partial(self._data.touch, after=cutoff)
        with ThreadPoolExecutor(self._data.capabilities.concurrency) as threads:
            is_there = dict(zip(old, threads.map(touch, old), strict=True))
        self._renewed |= dict.fromkeys((blob for blob in old if is_there[blob]), safe)
        lost = {blob for blob in old if not is_there[blob]}
        self._lost |= lost
        return bool(lost)

    def left(self, batch: Sequence[Instance]) -> list[Instance]:
        """Return the copies of a batch whose blobs were not gone."""
        return [copy for copy in batch if copy.blob not in self._lost]

    def failed(self, batch: Sequence[Instance]) -> list[Verdict]:
        """Return the verdicts on the copies whose blobs were gone."""
        lost = [copy for copy in batch if copy.blob in self._lost]
        return [Verdict(copy, Outcome.FAILED, "", is_new=False) for copy in lost]
