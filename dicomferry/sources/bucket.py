"""Listing of objects in Cloud Storage, many prefixes at the same time.

A level of a bucket is listed with the delimiter '/'. Under `*` and `?` only the folders that match
are listed further. Under `**` the folders of a level are divided into runs of neighbors, and each
run is listed flat, by start and end offset: about one request per thousand objects, however small
the folders are.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, NamedTuple

from dicomferry.errors import Reason
from dicomferry.sources.pattern import SourceError, SourcePattern
from dicomferry.sources.source import Source
from dicomferry.storage import gs_clients

_PAGE = 5000  # requested; the service returns at most 1,000 today
_FIELDS = "items(name,size,generation,crc32c),prefixes,nextPageToken"
# Runs that a listing is divided into: several times the threads, since some are much longer.
_SHARES = 4 * gs_clients.MAX_THREADS


class _Step(NamedTuple):
    """Sources that one request found, and the requests that follow from it."""

    sources: list[Source]
    following: "list[Callable[[], _Step]]"


def list_objects(pattern: SourcePattern) -> Iterator[Source]:
    """List the objects that a pattern matches; see `listing.list_sources`.

    Raises:
        SourceError: there is no such bucket, or its listing is not permitted.
    """
    from google.api_core.exceptions import Forbidden, NotFound

    if pattern.is_recursive:
        first = partial(_list_level, pattern, pattern.prefix, _SHARES, None)
    else:
        first = partial(_list_segment, pattern, "", 0, None)
    try:
        yield from _work_off(first)
    except NotFound:
        raise SourceError(
            f"source {pattern.uri!r}: there is no bucket {pattern.bucket!r}"
        ) from None
    except Forbidden:
        raise SourceError(
            f"source {pattern.uri!r}: bucket {pattern.bucket!r} may not be listed with these"
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
    page = _request(pattern, None, prefix=prefix, page_size=1)
    return bool(page.blobs)


def _work_off(first: Callable[[], _Step]) -> Iterator[Source]:
    """Make requests, a few at a time, until no more follow; results are not kept."""
    todo = deque([first])
    running: set[Future[_Step]] = set()
    with ThreadPoolExecutor(gs_clients.MAX_THREADS, "list") as threads:
        try:
            while todo or running:
                while todo and len(running) < gs_clients.MAX_THREADS:
                    running.add(threads.submit(todo.pop()))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                steps = [future.result() for future in done]
                for step in steps:
                    todo.extend(step.following)
                for step in steps:
                    yield from step.sources
        finally:
            for future in running:
                future.cancel()


class _Page(NamedTuple):
    blobs: list[Any]
    prefixes: list[str]
    next_token: str | None


def _request(
    pattern: SourcePattern, token: str | None, *, page_size: int = _PAGE, **query: str
) -> _Page:
    iterator = gs_clients.client().list_blobs(
        pattern.bucket, page_token=token, page_size=page_size, fields=_FIELDS, **query
    )
    page = next(iterator.pages, ())
    return _Page(list(page), sorted(iterator.prefixes), iterator.next_page_token)


def _list_level(pattern: SourcePattern, prefix: str, shares: int, token: str | None) -> _Step:
    """List the objects of one level, and divide its folders into runs."""
    page = _request(pattern, token, prefix=prefix, delimiter="/")
    following: list[Callable[[], _Step]] = []
    folders = page.prefixes
    if folders and len(folders) <= shares // 2:
        # Too few to divide: the folders in them are divided instead.
        each = shares // len(folders)
        following += [partial(_list_level, pattern, folder, each, None) for folder in folders]
    elif folders:
        length = -(-len(folders) // shares)
        for start in range(0, len(folders), length):
            first, last = folders[start], folders[min(start + length, len(folders)) - 1]
            after_last = f"{last[:-1]}0"  # '0' comes after '/': behind all that starts with last
            following.append(partial(_list_run, pattern, prefix, first, after_last, None))
    if page.next_token:
        following.append(partial(_list_level, pattern, prefix, shares, page.next_token))
    return _Step(_matching(pattern, page.blobs), following)


def _list_run(pattern: SourcePattern, level: str, start: str, end: str, token: str | None) -> _Step:
    """List a run of neighboring folders of a level, in all depths."""
    page = _request(pattern, token, prefix=level, start_offset=start, end_offset=end)
    # Objects of the level itself that sort between its folders are listed with the level.
    deeper = [blob for blob in page.blobs if "/" in blob.name[len(level) :]]
    following: list[Callable[[], _Step]] = []
    if page.next_token:
        following = [partial(_list_run, pattern, level, start, end, page.next_token)]
    return _Step(_matching(pattern, deeper), following)


def _list_segment(pattern: SourcePattern, path: str, depth: int, token: str | None) -> _Step:
    """List the matches of one segment below a path that matches the segments before it."""
    segments = pattern.segments
    last = len(segments) - 1
    while depth < last and segments[depth].regex is None:
        path, depth = f"{path}{segments[depth].head}/", depth + 1
    segment = segments[depth]
    if segment.regex is None:
        # One object: it sorts first among the names that start with its name.
        page = _request(pattern, None, prefix=path + segment.head, page_size=1)
        return _Step(_matching(pattern, page.blobs), [])
    page = _request(pattern, token, prefix=path + segment.head, delimiter="/")
    following: list[Callable[[], _Step]] = []
    if depth < last:
        following += [
            partial(_list_segment, pattern, folder, depth + 1, None)
            for folder in page.prefixes
            if segment.matches(folder[len(path) : -1])
        ]
    if page.next_token:
        following.append(partial(_list_segment, pattern, path, depth, page.next_token))
    return _Step(_matching(pattern, page.blobs), following)


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
