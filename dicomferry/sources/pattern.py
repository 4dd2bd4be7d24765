"""Patterns of sources: the wildcards of the API reference (GcsSource.uri).

`*` matches any number of characters but '/', `?` one character but '/', `**` any characters, at the
end or before an extension only, and then it must be the only wildcard. '[', '{' and a backslash are
ordinary characters.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

WILDCARDS = re.compile(r"(\*+|\?)")
_RECURSIVE_END = re.compile(r"\*\*(\.[^/*?]+)?")


class SourceError(ValueError):
    """A source that breaks a rule; the message names the rule and the remedy."""


@dataclass(frozen=True)
class Segment:
    """The part of a pattern between two '/'.

    Attributes:
        head: the text before the first wildcard, or all text without one.
        regex: matches the whole segment; None without a wildcard.
    """

    head: str
    regex: re.Pattern[str] | None

    def matches(self, name: str) -> bool:
        """Return whether a name, which has no '/', matches."""
        return name == self.head if self.regex is None else self.regex.fullmatch(name) is not None


@dataclass(frozen=True)
class SourcePattern:
    """A source URI that keeps the rules.

    Attributes:
        uri: as it was given.
        root: scheme://bucket/ of objects; "" for a local path.
        prefix: the text before the first wildcard: a local path, or the start of object names.
        segments: the path, or object name, at its '/'; not used by a recursive pattern.
        is_recursive: whether it ends in `**`, or in `**` and an extension.
        extension: what names must end in, with its dot; "" for any.
    """

    uri: str
    root: str
    prefix: str
    segments: tuple[Segment, ...]
    is_recursive: bool
    extension: str

    @property
    def bucket(self) -> str:
        """The bucket of objects; "" for a local path."""
        return self.root.partition("://")[2].rstrip("/")

    @property
    def has_wildcards(self) -> bool:
        """Whether it can match more than one file."""
        return self.is_recursive or any(segment.regex for segment in self.segments)

    def matches(self, path: str) -> bool:
        """Return whether a local path, absolute, or an object's name matches."""
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


def parse_path(uri: str, root: str, pattern: str, shown: Callable[[str], str]) -> SourcePattern:
    """Parse a path or object name whose literal text is percent-encoded.

    Args:
        uri: as it was given.
        root: scheme://bucket/ of objects; "" for a local path.
        pattern: the path.
        shown: turns such a pattern into what a user would write.

    Raises:
        SourceError: the pattern breaks a rule.
    """
    recursive = pattern.find("**")
    if recursive >= 0:
        prefix, end = pattern[:recursive], pattern[recursive:]
        _check_recursive(uri, prefix, end, shown)
        return SourcePattern(uri, root, unquote_path(prefix), (), True, unquote_path(end[2:]))
    if pattern.endswith("/"):
        raise folder_error(uri)
    segments = []
    for text in pattern.split("/"):
        pieces = [unquote_path(piece) for piece in WILDCARDS.split(text)]
        regex = re.compile(_regex(pieces)) if len(pieces) > 1 else None
        segments.append(Segment(pieces[0], regex))
    prefix = unquote_path(WILDCARDS.split(pattern, maxsplit=1)[0])
    return SourcePattern(uri, root, prefix, tuple(segments), False, "")


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
        problem = "has '***', which is not a wildcard"
    elif WILDCARDS.search(end[2:]) or WILDCARDS.search(prefix):
        problem = "has another wildcard beside '**', which must be the only one"
    elif not _RECURSIVE_END.fullmatch(end):
        problem = "has '**' before the end, where only an extension such as .dcm may follow it"
    if problem is None:
        return
    # '/data/**/*.dcm' is what other tools call it.
    extension = re.search(r"\.[^/*?]+$", end)
    folder = WILDCARDS.split(prefix, maxsplit=1)[0]
    meant = shown(f"{folder}**{extension[0] if extension else ''}")
    raise SourceError(f"source {uri!r} {problem}: did you mean {meant!r}?")


def folder_error(uri: str) -> SourceError:
    """Return the error of a URI that names a folder."""
    inside = "*" if WILDCARDS.search(uri) else "**"
    return SourceError(
        f"source {uri!r} names a folder, not files:"
        f" did you mean {uri.rstrip('/') + '/' + inside!r}?"
    )


def unquote_path(quoted: str) -> str:
    """Return the path that percent-encoded bytes stand for."""
    return os.fsdecode(unquote_to_bytes(quoted))
