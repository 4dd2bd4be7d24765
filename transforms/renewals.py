"""Renew blobs that may be deleted before their rows are committed."""

from collections.abc import Iterable

from dicomferry.storage.base import Storage
from dicomferry.store.renewal import renew, safe_time
from dicomferry.transforms.records import Instance


class Renewals:
    """The blobs of one bucket that were renewed, and those that were gone.

    Attributes:
        lost: those that were gone.
    """

    def __init__(self, data: Storage) -> None:
        """Begin a bucket of a store's data folder."""
        self.lost: set[str] = set()
        self._data = data
        self._renewed: dict[str, float] = {}

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
        safe = safe_time(cutoff)
        old = [copy.blob for copy in copies if self.time_of(copy) < safe]
        if not old:
            return False
        lost = renew(self._data, old, cutoff)
        self._renewed |= dict.fromkeys(set(old) - lost, safe)
        self.lost |= lost
        return bool(lost)

    def time_of(self, copy: Instance) -> float:
        """Return when the blob of a copy was written or renewed at the earliest."""
        return max(copy.stored, self._renewed.get(copy.blob, 0.0))
