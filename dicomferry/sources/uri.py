"""Source URIs: the patterns that users write, and the URIs of listed files.

A path is a `str`; bytes of a local name that are not UTF-8 are surrogate escapes in it (PEP 383)
and percent-encoded in its URI. Local paths follow the same rules as object names.
"""

import os
import re
from collections.abc import Sequence
from urllib.parse import quote, unquote

from dicomferry.sources.pattern import (
    WILDCARDS,
    SourceError,
    SourcePattern,
    folder_error,
    parse_path,
    unquote_path,
)
from dicomferry.storage.registry import is_registered

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_STORAGE_HOSTS = ("storage.googleapis.com/", "storage.cloud.google.com/")


def parse_source(uri: str) -> SourcePattern:
    """Parse a source URI.

    Args:
        uri: gs://bucket/object, or one of another registered scheme; an absolute or relative local
            path; or file:///path, where %XX is a byte, so that %2A is an asterisk and not a
            wildcard.

    Raises:
        SourceError: it breaks a rule.
    """
    if not uri:
        raise SourceError("the source is empty: name files as '/data/**' or 'gs://bucket/dir/**'")
    if "\0" in uri or (uri.startswith("file://") and "%00" in uri):
        raise SourceError(f"source {uri!r} has a NUL character, which no file name can have")
    scheme = _SCHEME.match(uri)
    if scheme is None and re.match(r"(?i)(gs|file):", uri):
        name, _, rest = uri.partition(":")
        right = f"{name.lower()}://{'/' if name.lower() == 'file' else ''}{rest.lstrip('/')}"
        raise SourceError(f"source {uri!r} lacks '//': did you mean {right!r}?")
    if scheme is None:
        return _parse_local(uri, uri, quoted=False)
    if scheme[1] == "file":
        host, slash, path = uri[scheme.end() :].partition("/")
        if host not in {"", "localhost"} or not slash:
            raise SourceError(
                f"source {uri!r} is not a local file: file:// is followed by an absolute path,"
                " as in 'file:///data/**'"
            )
        return _parse_local(uri, "/" + re.sub("(?i)%2f", "/", path), quoted=True)
    if is_registered(scheme[1]):
        return _parse_objects(uri)
    raise SourceError(_unsupported(uri, scheme[1]))


def check_arguments(sources: Sequence[str]) -> str:
    """Return the one source among the arguments of a command.

    Raises:
        SourceError: there is no source, or several, as when a shell expands a bare pattern.
    """
    if len(sources) == 1:
        return sources[0]
    if not sources:
        raise SourceError("no source: name files as '/data/**' or 'gs://bucket/dir/**'")
    raise SourceError(
        f"{len(sources)} sources in place of one, the first {sources[0]!r}: the shell has expanded"
        f" the pattern; put it in quotes, as in '{_pattern_of(sources)}'"
    )


def _pattern_of(paths: Sequence[str]) -> str:
    """Return a pattern that a shell may have expanded to the paths."""
    extensions = {os.path.splitext(path)[1] for path in paths}
    extension = extensions.pop() if len(extensions) == 1 else ""
    folders = {os.path.dirname(path) for path in paths}
    if len(folders) == 1:
        return os.path.join(folders.pop(), f"*{extension}")
    common = os.path.commonpath([os.path.abspath(folder) for folder in folders])
    return os.path.join(common, f"**{extension}")


def local_uri(path: str) -> str:
    """Return the URI of an absolute local path: the path itself, unless it is not UTF-8."""
    if path.isascii():
        return path
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "file://" + quote(os.fsencode(path))
    return path


def local_path(uri: str) -> str:
    """Return the path of a URI that `local_uri` returned."""
    if uri.startswith("file://"):
        return unquote_path(uri.removeprefix("file://"))
    return uri


def _parse_objects(uri: str) -> SourcePattern:
    scheme, _, rest = uri.partition("://")
    bucket, _, path = rest.partition("/")
    if WILDCARDS.search(bucket):
        raise SourceError(f"source {uri!r} has a wildcard in the bucket: name one bucket")
    if not _BUCKET.fullmatch(bucket):
        raise SourceError(
            f"source {uri!r}: {bucket!r} is not a bucket name: use {scheme}://bucket/object, with 3"
            " and more lower-case letters, digits, '-', '_' and '.'"
        )
    root = f"{scheme}://{bucket}/"
    if not path:
        raise SourceError(
            f"source {uri!r} names a bucket, not its objects: did you mean '{root}**'?"
        )
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise SourceError(f"source {uri!r} is not UTF-8, as object names are") from None
    pattern = quote(path, safe="/*?")
    return parse_path(uri, root, pattern, lambda text: f"{root}{unquote(text)}")


def _parse_local(uri: str, path: str, *, quoted: bool) -> SourcePattern:
    """Parse a local path; one that is quoted has its bytes percent-encoded."""
    pattern = path if quoted else quote(os.fsencode(path), safe="/*?")
    folders = pattern.split("/")
    if ".." in folders:
        # The parent of a link is that of its target, so the names before cannot just be dropped.
        last = len(folders) - folders[::-1].index("..")
        before, folders = "/".join(folders[:last]), folders[last:]
        if WILDCARDS.search(before):
            raise SourceError(f"source {uri!r} has '..' after a wildcard: leave it out")
        folders = [*_quoted_folders(os.path.realpath(unquote_path(before))), *folders]
    elif not pattern.startswith("/"):
        folders = [*_quoted_folders(os.getcwd()), *folders]
    ends_in_slash = folders[-1] in {"", "."}
    pattern = "/".join(["", *(each for each in folders if each not in {"", "."})])
    pattern += "/" if ends_in_slash and pattern != "/" else ""
    shown = (lambda text: f"file://{text}") if quoted else unquote_path
    parsed = parse_path(uri, "", pattern, shown)
    if not parsed.has_wildcards and os.path.isdir(parsed.prefix or "/"):
        raise folder_error(uri)
    return parsed


def _quoted_folders(path: str) -> list[str]:
    return quote(os.fsencode(path)).split("/")


def _unsupported(uri: str, scheme: str) -> str:
    if scheme.lower() in {"gs", "file"}:
        return f"source {uri!r}: write the scheme in lower case, {scheme.lower()}://"
    rest = uri.partition("://")[2]
    for host in _STORAGE_HOSTS:
        if rest.startswith(host):
            return (
                f"source {uri!r} is a web address: did you mean 'gs://{rest.removeprefix(host)}'?"
            )
    return (
        f"source {uri!r}: {scheme}:// is not supported; copy the files to a folder or to a Cloud"
        " Storage bucket and name them as '/data/**' or 'gs://bucket/dir/**'"
    )
