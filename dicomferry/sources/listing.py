"""Listing: every file or object that a source pattern matches.

Wildcards are matched here, since Beam's globs differ from the reference's wildcards, and since
obstore's local listing hides names that it cannot hold. What cannot be read as a file is listed
too, with the code of the reason: it neither vanishes nor stops a job.
"""

import itertools
from collections.abc import Iterable, Iterator

from dicomferry.errors import Reason
from dicomferry.sources.allowed_folders import AllowedFolders
from dicomferry.sources.pattern import SourcePattern
from dicomferry.sources.registry import kind_of
from dicomferry.sources.source import EXPORT_MARKER, Source
from dicomferry.sources.spans import Span, Step

_PAGE = 1000


def list_sources(
    pattern: SourcePattern, allowed_folders: AllowedFolders | None = None
) -> Iterator[Source]:
    """List what a pattern matches, in no order, each file once.

    Args:
        pattern: what to list.
        allowed_folders: local folders that must not be left; a link out of them has the code
            LINK_LEADS_OUT.

    Raises:
        SourceError: there is no such bucket, or its listing is not permitted.
        OSError: a folder cannot be listed for another reason than its permissions.
        google.api_core.exceptions.GoogleAPIError, obstore.exceptions.BaseError: the bucket cannot
            be listed.
    """
    listed = kind_of(pattern.uri).list_sources(pattern, allowed_folders)
    return (source for source in listed if _is_source(source))


def list_span(pattern: SourcePattern, span: Span, pages: int | None = None) -> Iterator[Step]:
    """List a part of what a pattern matches, in the order of names where the storage has one.

    Args:
        pattern: what to list.
        span: `Span.of` the pattern, or one that follows from it.
        pages: of a listing to request; default: as many as the span has.

    Yields:
        What each request found: together with the spans that follow, each source once.

    Raises:
        SourceError and the others of `list_sources`.
    """
    kind = kind_of(pattern.uri)
    if kind.list_span:
        for step in kind.list_span(pattern, span, pages):
            yield step._replace(sources=list(filter(_is_source, step.sources)))
        return
    sources = list_sources(pattern)
    while page := list(itertools.islice(sources, _PAGE)):
        yield Step(page)


def _is_source(source: Source) -> bool:
    return not source.uri.endswith(f"/{EXPORT_MARKER}")


def describe_sources(uris: Iterable[str]) -> Iterator[Source]:
    """List files and objects by their exact URIs, in which a wildcard is an ordinary character.

    A file that is gone has the code SOURCE_GONE.
    """
    for uri in uris:
        yield kind_of(uri).describe(uri) or Source(uri, 0, "", Reason.SOURCE_GONE)


def no_match_message(pattern: SourcePattern) -> str:
    """Return the message for a user whose source matches nothing."""
    return f"source {pattern.uri!r} matches no files{kind_of(pattern.uri).hint(pattern)}"
