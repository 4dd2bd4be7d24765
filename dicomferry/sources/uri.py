"""Source URIs: which files a pattern means.

The wildcards are those of the API reference (GcsSource.uri) and no others: `*` for any number of
characters but '/', `?` for one character but '/', `**` for any characters, at the end or before an
extension only, and then alone. '[', '{' and a backslash are ordinary characters. Local paths
follow the same rules. A path is a `str`; bytes of a local name that are no UTF-8 are surrogate
escapes in it (PEP 383) and percent-encoded in its URI.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, unquote_to_bytes

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_WILDCARDS = re.compile(r"(\*+|\?)")
_RECURSIVE_END = re.compile(r"\*\*(\.[^/*?]+)?")
_STORAGE_HOSTS = ("storage.googleapis.com/", "storage.cloud.google.com/")


class SourceError(ValueError):
    """A source that cannot be taken; the message names the rule and the remedy."""


@dataclass(frozen=True)
class Segment:
    """What stands between two '/' of a pattern.

    Attributes:
        head: the text before the first wildcard; all of it where there is none.
        regex: what the whole segment must match; None where there is no wildcard.
    """

    head: str
    regex: re.Pattern[str] | None

    def matches(self, name: str) -> bool:
        """Return whether a name, which holds no '/', is meant."""
        return name == self.head if self.regex is None else self.regex.fullmatch(name) is not None


@dataclass(frozen=True)
class SourcePattern:
    """A source URI that keeps the rules.

    Attributes:
        uri: as it was given.
        bucket: "" for a local path.
        prefix: the text before the first wildcard: a local path, or the start of object names.
        segments: the path, or object name, at its '/'; not used by a recursive pattern.
        is_recursive: whether it ends in `**`, or in `**` and an extension.
        extension: what names must end in, with its dot; "" for any.
    """

    uri: str
    bucket: str
    prefix: str
    segments: tuple[Segment, ...]
    is_recursive: bool
    extension: str

    @property
    def is_gcs(self) -> bool:
        """Whether it means objects of a bucket."""
        return self.bucket != ""

    def matches(self, path: str) -> bool:
        """Return whether a local path, absolute, or an object's name is meant."""
        if self.is_recursive:
            return (
                len(path) >= len(self.prefix) + len(self.extension)
                and path.startswith(self.prefix)
                and path.endswith(self.extension)
            )
        names = path.split("/")
        return len(names) == len(self.segments) and all(
            segment.matches(name) for segment, name in zip(self.segments, names, strict=True)
        )


def parse_source(uri: str) -> SourcePattern:
    """Return what a source URI means.

    Args:
        uri: gs://bucket/object, an absolute or relative local path, or file:///path, where %XX
            stands for a byte, so that %2A is an asterisk and no wildcard.

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
    if scheme[1] == "gs":
        return _parse_gcs(uri)
    if scheme[1] == "file":
        host, slash, path = uri[scheme.end() :].partition("/")
        if host not in {"", "localhost"} or not slash:
            raise SourceError(
                f"source {uri!r} is no local file: file:// is followed by an absolute path,"
                " as in 'file:///data/**'"
            )
        return _parse_local(uri, "/" + re.sub("(?i)%2f", "/", path), quoted=True)
    raise SourceError(_unsupported(uri, scheme[1]))


def check_arguments(sources: Sequence[str]) -> str:
    """Return the one source among the arguments of a command.

    Raises:
        SourceError: there are several, which is what a shell makes of a bare pattern, or none.
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
    """Return the path that `local_uri` made a URI of."""
    if uri.startswith("file://"):
        return _literal(uri.removeprefix("file://"))
    return uri


def split_gcs(uri: str) -> tuple[str, str]:
    """Return bucket and object name of the gs:// URI of one object."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name


def _parse_gcs(uri: str) -> SourcePattern:
    bucket, slash, path = uri.removeprefix("gs://").partition("/")
    if _WILDCARDS.search(bucket):
        raise SourceError(f"source {uri!r} has a wildcard in the bucket: name one bucket")
    if not _BUCKET.fullmatch(bucket):
        raise SourceError(
            f"source {uri!r}: {bucket!r} is no bucket name: use gs://bucket/object, with 3 and more"
            " lower-case letters, digits, '-', '_' and '.'"
        )
    if not path:
        raise SourceError(
            f"source {uri!r} names a bucket, not its objects: did you mean 'gs://{bucket}/**'?"
        )
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise SourceError(f"source {uri!r} is not UTF-8, as object names are") from None
    pattern = quote(path, safe="/*?")
    return _parse_path(uri, bucket, pattern, lambda text: f"gs://{bucket}{slash}{unquote(text)}")


def _parse_local(uri: str, path: str, *, quoted: bool) -> SourcePattern:
    """Parse a local path; one that is quoted has its bytes percent-encoded."""
    pattern = path if quoted else quote(os.fsencode(path), safe="/*?")
    folders = pattern.split("/")
    if ".." in folders:
        # The parent of a link is that of its target, so the names before cannot just be dropped.
        last = len(folders) - folders[::-1].index("..")
        before, folders = "/".join(folders[:last]), folders[last:]
        if _WILDCARDS.search(before):
            raise SourceError(f"source {uri!r} has '..' after a wildcard: leave it out")
        folders = [*_quoted_folders(os.path.realpath(_literal(before))), *folders]
    elif not pattern.startswith("/"):
        folders = [*_quoted_folders(os.getcwd()), *folders]
    ends_in_slash = folders[-1] in {"", "."}
    pattern = "/".join(["", *(each for each in folders if each not in {"", "."})])
    pattern += "/" if ends_in_slash and pattern != "/" else ""
    shown = (lambda text: f"file://{text}") if quoted else _literal
    parsed = _parse_path(uri, "", pattern, shown)
    has_wildcard = parsed.is_recursive or any(each.regex for each in parsed.segments)
    if not has_wildcard and os.path.isdir(parsed.prefix or "/"):
        raise SourceError(_folder(uri))
    return parsed


def _quoted_folders(path: str) -> list[str]:
    return quote(os.fsencode(path)).split("/")


def _literal(quoted: str) -> str:
    return os.fsdecode(unquote_to_bytes(quoted))


def _parse_path(uri: str, bucket: str, pattern: str, shown: Callable[[str], str]) -> SourcePattern:
    """Parse a path or object name whose literal text is percent-encoded.

    `shown` makes of such a pattern what a user would write.
    """
    recursive = pattern.find("**")
    if recursive >= 0:
        prefix, end = pattern[:recursive], pattern[recursive:]
        _check_recursive(uri, prefix, end, shown)
        return SourcePattern(uri, bucket, _literal(prefix), (), True, _literal(end[2:]))
    if pattern.endswith("/"):
        raise SourceError(_folder(uri))
    segments = []
    for text in pattern.split("/"):
        pieces = [_literal(piece) for piece in _WILDCARDS.split(text)]
        regex = re.compile(_regex(pieces)) if len(pieces) > 1 else None
        segments.append(Segment(pieces[0], regex))
    prefix = _literal(_WILDCARDS.split(pattern, maxsplit=1)[0])
    return SourcePattern(uri, bucket, prefix, tuple(segments), False, "")


def _regex(pieces: list[str]) -> str:
    """Return the regular expression of a segment: literal text and wildcards in turn.

    After each `*` the text up to the next is searched for once, leftmost, and never again (an
    atomic group): with plain `.*` a name that fails could take time of a high power of its length.
    """
    runs = [""]
    for index, piece in enumerate(pieces):
        if index % 2 == 0:
            runs[-1] += re.escape(piece)
        elif piece == "?":  # a wildcard: pieces and wildcards alternate
            runs[-1] += "."
        else:
            runs.append("")
    first, *between = runs
    if not between:
        return f"(?s:{first})"
    last = between.pop()
    middle = "".join(f"(?>.*?{run})" for run in between)
    return f"(?s:{first}{middle}.*{last})"


def _check_recursive(uri: str, prefix: str, end: str, shown: Callable[[str], str]) -> None:
    """Refuse a `**` in any place but the one it is allowed in."""
    problem = None
    if end.startswith("***"):
        problem = "has '***', which is no wildcard"
    elif _WILDCARDS.search(end[2:]) or _WILDCARDS.search(prefix):
        problem = "has another wildcard beside '**', which must be the only one"
    elif not _RECURSIVE_END.fullmatch(end):
        problem = "has '**' before the end, where only an extension such as .dcm may follow it"
    if problem is None:
        return
    # '/data/**/*.dcm' is what other tools call it.
    extension = re.search(r"\.[^/*?]+$", end)
    folder = _WILDCARDS.split(prefix, maxsplit=1)[0]
    meant = shown(f"{folder}**{extension[0] if extension else ''}")
    raise SourceError(f"source {uri!r} {problem}: did you mean {meant!r}?")


def _folder(uri: str) -> str:
    inside = "*" if _WILDCARDS.search(uri) else "**"
    return (
        f"source {uri!r} names a folder, not files:"
        f" did you mean {uri.rstrip('/') + '/' + inside!r}?"
    )


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
