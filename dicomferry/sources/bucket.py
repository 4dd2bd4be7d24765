"""Listing of objects in Cloud Storage, in spans that are listed at the same time.

A span is listed page by page, and what is left of it after some pages is divided (`spans.divide`).
Under `**` it is listed flat: one request per thousand objects, however small the folders are. Under
`*` and `?` a level is listed with the delimiter '/', and only the folders that match are listed
further.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

from dicomferry.errors import Reason
from dicomferry.sources.pattern import SourceError, SourcePattern
from dicomferry.sources.source import Source
from dicomferry.sources.spans import Span, Step, divide
from dicomferry.storage import gs_clients

_PAGE = 5000  # requested; the service returns at most 1,000 today
_FIELDS = "items(name,size,generation,crc32c),prefixes,nextPageToken"
# Pages of a span that one thread lists before others help.
_PAGES = 5


def list_objects(pattern: SourcePattern) -> Iterator[Source]:
    """List the objects that a pattern matches, by many threads; see `listing.list_sources`.

    Raises:
        SourceError: there is no such bucket, or its listing is not permitted.
    """
    todo = deque([Span.of(pattern)])
    running: set[Future[list[Step]]] = set()
    with ThreadPoolExecutor(gs_clients.MAX_THREADS, "list") as threads:
        try:
            while todo or running:
                while todo and len(running) < gs_clients.MAX_THREADS:
                    span = todo.pop()
                    running.add(threads.submit(lambda s: list(list_span(pattern, s, _PAGES)), span))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                steps = [step for future in done for step in future.result()]
                for step in steps:
                    todo.extend(step.following)
                for step in steps:
                    yield from step.sources
        finally:
            for future in running:
                future.cancel()


def list_span(pattern: SourcePattern, span: Span, pages: int | None = None) -> Iterator[Step]:
    """List a span.

    Args:
        pattern: of the sources; objects that it does not match are left out.
        span: that of a pattern, or one that follows from it.
        pages: requests to make; default: as many as the span has.

    Yields:
        What each request found: together with the spans that follow, each object once.

    Raises:
        SourceError: there is no such bucket, or its listing is not permitted.
    """
    from google.api_core.exceptions import Forbidden, NotFound

    try:
        yield from _list_pages(pattern, span, pages)
    except NotFound:
        raise SourceError(
            f"source {pattern.uri!r}: there is no bucket {pattern.bucket!r}"
        ) from None
    except Forbidden:
        raise SourceError(
            f"source {pattern.uri!r}: bucket {pattern.bucket!r} cannot be listed with these"
            " credentials: grant them the role Storage Object Viewer on it"
        ) from None


def describe_object(uri: str) -> Source | None:
    """Describe one object by its exact URI; None if it is gone."""
    bucket, name = gs_clients.split_uri(uri)
    blob = gs_clients.client().bucket(bucket).get_blob(name)
    if blob is None:
        return None
    return Source(uri, blob.size, str(blob.generation), crc32c=blob.crc32c or "")


def hint(pattern: SourcePattern) -> str:
    """Return a hint for a pattern that matches nothing, to end a sentence."""
    root = pattern.root
    if not pattern.has_wildcards:
        if _has_any(pattern, f"{pattern.prefix}/"):
            return f", it is a folder: did you mean {f'{root}{pattern.prefix}/**'!r}?"
    elif not pattern.is_recursive and _has_any(pattern, pattern.prefix):
        return f" on this level: did you mean {f'{root}{pattern.prefix}**'!r}?"
    folder = there = pattern.prefix.rpartition("/")[0]
    while there and not _has_any(pattern, f"{there}/"):
        there = there.rpartition("/")[0]
    if there != folder:
        return f": there is nothing in {f'{root}{folder}'!r}, only in {f'{root}{there}'!r}"
    return f": look into {f'{root}{folder}'!r} for what is there"


def _has_any(pattern: SourcePattern, prefix: str) -> bool:
    page = _request(pattern, {"prefix": prefix}, page_size=1)
    return bool(page.blobs)


class _Page(NamedTuple):
    blobs: list[Any]
    prefixes: list[str]
    next_token: str | None


def _request(
    pattern: SourcePattern,
    query: Mapping[str, str],
    token: str | None = None,
    page_size: int | None = None,
) -> _Page:
    iterator = gs_clients.client().list_blobs(
        pattern.bucket, page_token=token, page_size=page_size or _PAGE, fields=_FIELDS, **query
    )
    page = next(iterator.pages, ())
    return _Page(list(page), sorted(iterator.prefixes), iterator.next_page_token)


def _list_pages(pattern: SourcePattern, span: Span, pages: int | None) -> Iterator[Step]:
    depth, query = span.depth, {"prefix": span.path}
    if not pattern.is_recursive:
        path = span.path
        while depth < len(pattern.segments) - 1 and pattern.segments[depth].regex is None:
            path, depth = f"{path}{pattern.segments[depth].head}/", depth + 1
        span = span._replace(path=path, depth=depth)
        query = {"prefix": path + pattern.segments[depth].head, "delimiter": "/"}
        if pattern.segments[depth].regex is None:
            # One object: it sorts first among the names that start with its name.
            page = _request(pattern, {"prefix": query["prefix"]}, page_size=1)
            yield Step(_matching(pattern, page.blobs))
            return
    query |= {"start_offset": span.start} if span.start else {}
    query |= {"end_offset": span.end} if span.end else {}
    names: list[str] = []
    waiting: list[str] = []
    token, made, is_last, newest = None, 0, False, ""
    while not is_last:
        page = _request(pattern, query, token)
        token, made, is_last = page.next_token, made + 1, not page.next_token
        waiting += [prefix for prefix in page.prefixes if prefix > newest]
        newest = max(newest, *page.prefixes, "")
        # Emulators name folders that lie behind objects of later pages, and name them again there.
        bound = page.blobs[-1].name if page.blobs and not is_last else newest
        folders = [prefix for prefix in waiting if prefix <= bound or is_last]
        waiting = waiting[len(folders) :]
        blobs = page.blobs
        names += sorted([*(blob.name for blob in blobs), *folders]) if pages else []
        rest: list[Span] = []
        if pages and not is_last and made >= pages and names and names[-1] > names[0]:
            rest, is_last = divide(span, names), True
            # The last name is the first one of the rest.
            blobs = [blob for blob in blobs if blob.name != names[-1]]
            folders = [prefix for prefix in folders if prefix != names[-1]]
        yield Step(_matching(pattern, blobs), [*_folders(pattern, span, folders), *rest])


def _folders(pattern: SourcePattern, span: Span, prefixes: Sequence[str]) -> list[Span]:
    """Return the folders of a level that match and whose objects can match."""
    if pattern.is_recursive or span.depth == len(pattern.segments) - 1:
        return []
    segment = pattern.segments[span.depth]
    return [
        Span(prefix, depth=span.depth + 1)
        for prefix in prefixes
        if segment.matches(prefix[len(span.path) : -1])
    ]


def _matching(pattern: SourcePattern, blobs: list[Any]) -> list[Source]:
    return [
        Source(
            f"{pattern.root}{blob.name}",
            blob.size,
            str(blob.generation),
            _code(blob),
            blob.crc32c or "",
        )
        for blob in blobs
        if pattern.matches(blob.name)
    ]


def _code(blob: Any) -> str:
    # Consoles and file systems on buckets create these for empty folders.
    is_marker = blob.size == 0 and blob.name.endswith(("/", "_$folder$"))
    return Reason.FOLDER_MARKER if is_marker else ""
