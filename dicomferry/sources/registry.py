"""How sources are listed and read, by URI scheme.

A scheme whose storage is registered (`dicomferry.storage.registry`) and that is not named here is
listed and read through its storage.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from dicomferry.sources import any_storage, bucket, local
from dicomferry.sources.allowed_folders import AllowedFolders
from dicomferry.sources.bucket_file import open_object
from dicomferry.sources.local_file import LocalSourceFile
from dicomferry.sources.pattern import SourcePattern
from dicomferry.sources.source import Source
from dicomferry.sources.spans import Span, Step
from dicomferry.sources.uri import local_path
from dicomferry.storage.range_file import StoredFile
from dicomferry.storage.registry import scheme_of


class SourceKind(NamedTuple):
    """The sources of one scheme.

    Attributes:
        list_sources: see `listing.list_sources`.
        describe: the source of an exact URI; None if it is gone.
        hint: how to end a sentence that says that a pattern matches no files.
        open: see `source_file.open_source`.
        list_span: see `listing.list_span`; None if a pattern is only listed as a whole.
    """

    list_sources: Callable[[SourcePattern, AllowedFolders | None], Iterator[Source]]
    describe: Callable[[str], Source | None]
    hint: Callable[[SourcePattern], str]
    open: Callable[[Source, AllowedFolders | None], StoredFile]
    list_span: Callable[[SourcePattern, Span, int | None], Iterator[Step]] | None = None


_ANY_STORAGE = SourceKind(
    lambda pattern, _: any_storage.list_objects(pattern),
    any_storage.describe_object,
    any_storage.hint,
    lambda source, _: any_storage.SourceObject(source),
)
_KINDS = {
    "file": SourceKind(
        local.list_files,
        lambda uri: local.describe_file(local_path(uri)),
        local.hint,
        LocalSourceFile,
    ),
    "gs": SourceKind(
        lambda pattern, _: bucket.list_objects(pattern),
        bucket.describe_object,
        bucket.hint,
        lambda source, _: open_object(source),
        bucket.list_span,
    ),
}


def kind_of(uri: str) -> SourceKind:
    """Return how the sources of a URI's scheme are listed and read."""
    return _KINDS.get(scheme_of(uri), _ANY_STORAGE)
