"""Renew blobs that may be deleted before their rows are committed.

`stores vacuum` and `stores delete-instances` delete blobs until a cut-off that the index has
(`dicomferry.store.vacuum`). A row may be committed to a version of the index only if its blob was
written, or is renewed, after the cut-off of that version.
"""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from dicomferry.storage.base import Storage
from dicomferry.storage.clock import RESOLUTION_SECONDS


def safe_time(cutoff: float) -> float:
    """Return the time from which a blob is surely younger than a cut-off."""
    return cutoff + RESOLUTION_SECONDS


def renew(data: Storage, blobs: Sequence[str], cutoff: float) -> set[str]:
    """Give blobs a time after a cut-off; return those that are gone."""
    touch = functools.partial(data.touch, after=cutoff)
    with ThreadPoolExecutor(data.capabilities.concurrency) as threads:
        is_there = threads.map(touch, blobs)
        return {blob for blob, there in zip(blobs, is_there, strict=True) if not there}
