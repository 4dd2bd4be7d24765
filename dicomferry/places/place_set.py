"""Sets of places: all that is in some folders, buckets, tables and topics."""

import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dicomferry.sources.allowed_folders import is_below
from dicomferry.storage.registry import in_bucket
from dicomferry.tables.bigquery_table import BigQueryTable, part_of_bigquery

FORMS = "a folder, gs://bucket/prefix, bq://project.dataset.table or projects/P/topics/T"
_TOPICS = re.compile(r"projects/[^/]+/topics(?:/[^/]+)?")
_WILDCARD = re.compile(r"[*?]")


class Places(NamedTuple):
    """Places, with all that is below them.

    Attributes:
        folders: real paths of local folders.
        remote: prefixes of buckets, bq://project/dataset/table or the beginning of one, and
            projects/P/topics/T or projects/P/topics; None: all that is not local.
    """

    folders: tuple[str, ...] = ()
    remote: tuple[str, ...] | None = None

    def has_local(self, path: str) -> bool:
        """Whether a local path, after following all links, is in the folders."""
        real = os.path.realpath(path)
        return any(is_below(real, folder) for folder in self.folders)

    def has_remote(self, location: str) -> bool:
        """Whether a location, spelled as in `remote`, is in these places."""
        return self.remote is None or any(is_below(location, place) for place in self.remote)

    def both(self, other: "Places") -> "Places":
        """Return what is in these places and in others."""
        if self.remote is None or other.remote is None:
            remote = self.remote if other.remote is None else other.remote
        else:
            remote = _common(self.remote, other.remote)
        return Places(_common(self.folders, other.folders), remote)


def parse_places(texts: Sequence[str], option: str) -> Places:
    """Return exactly the places that texts name.

    Args:
        texts: each a folder, gs://bucket[/prefix], bq://project[.dataset[.table]],
            projects/P/topics or projects/P/topics/T.
        option: that they were given by, for messages.

    Raises:
        ValueError: one names no place, with the forms.
    """
    folders, remote = [], []
    for text in texts:
        if in_bucket(text) or text.startswith((BigQueryTable.prefix, "projects/")):
            remote.append(_parse_remote(text, option))
        elif not text or "://" in text.removeprefix("file://") or "\0" in text:
            raise ValueError(f"{option} {text} is not a place: name {FORMS}")
        else:
            folders.append(os.path.realpath(text.removeprefix("file://")))
    return Places(tuple(folders), tuple(remote))


def _parse_remote(text: str, option: str) -> str:
    if text.startswith(BigQueryTable.prefix):
        try:
            return part_of_bigquery(text)
        except ValueError as error:
            raise ValueError(f"{option} {text}: {error}") from None
    if in_bucket(text):
        bucket = text.partition("://")[2].partition("/")[0]
        if bucket and not _WILDCARD.search(text):
            return text.rstrip("/")
        raise ValueError(f"{option} {text} is not a prefix: use gs://bucket or gs://bucket/prefix")
    if _TOPICS.fullmatch(text):
        return text
    raise ValueError(
        f"{option} {text} is not a topic: use projects/P/topics/T or projects/P/topics"
    )


def _common(some: Iterable[str], others: Sequence[str]) -> tuple[str, ...]:
    """Return the deeper of each two places of which one is in the other."""
    pairs = [(one, other) for one in some for other in others]
    deeper = [one for one, other in pairs if is_below(one, other)]
    deeper += [other for one, other in pairs if is_below(other, one)]
    return tuple(dict.fromkeys(deeper))
