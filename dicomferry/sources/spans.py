"""Spans: parts of a listing in the order of names, which divide further while they are listed.

Nobody knows how many names a bucket has, nor where they lie, before it is listed. So a worker lists
some pages of a span and divides the rest where names may begin to differ from the last one that it
saw: after `img/0000123` at `img/0000124` … `img/0000129`, `img/000013` … `img/00009` and so on up
to `img/9`. However many names there are, and however many characters they have in common, some
rounds of that leave spans of some pages. A cut need not be a name: every name is in one span.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple, Self

from dicomferry.sources.pattern import SourcePattern
from dicomferry.sources.source import Source

# A division goes deeper until it has so many spans, and has at most so many.
_ENOUGH = 64
_MAX_SPANS = 1000
# Names that tell which characters to expect.
_SAMPLE = 500
_DIGITS = frozenset("0123456789")
_UPPER = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz")
_SURROGATES = range(0xD800, 0xE000)


class Span(NamedTuple):
    """Names of objects that one worker lists.

    Attributes:
        path: all of them start with it.
        start: the first name that is in it, in the order of code points, which is that of UTF-8.
        end: the first name behind it; '' if there is no end.
        depth: number of the segment of the pattern that follows `path`; 0 for recursive patterns.
    """

    path: str = ""
    start: str = ""
    end: str = ""
    depth: int = 0

    @classmethod
    def of(cls, pattern: SourcePattern) -> Self:
        """Return the span of all that a pattern can match."""
        return cls(pattern.prefix if pattern.is_recursive else "")


class Step(NamedTuple):
    """Sources that one request found, in the order of their names, and what is left to list."""

    sources: list[Source]
    following: Sequence[Span] = ()


def divide(span: Span, names: Sequence[str]) -> list[Span]:
    """Divide what is left of a span after its first names.

    Args:
        span: the span.
        names: its first names, sorted; at least one.

    Returns:
        Spans without gaps, in order: from the last name, which is in the first of them, to the end.
    """
    starts = [names[-1], *cuts(names, span.end, len(span.path))]
    ends = [*starts[1:], span.end]
    return [span._replace(start=start, end=end) for start, end in zip(starts, ends, strict=True)]


def cuts(names: Sequence[str], end: str, common: int) -> list[str]:
    """Return where to divide what comes after some names.

    Args:
        names: sorted; at least one.
        end: what comes is before this; '' if there is no end.
        common: number of characters that all names start with.

    Returns:
        Strings after the last name and before `end`, sorted, each once.
    """
    last = names[-1]
    top = max(common, _common(last, end)) if end else common
    bottom = min(_common(names[0], last), len(last) - 1)
    seen = _characters_at(names, bottom)
    alphabets = {depth: _alphabet(last[depth], seen) for depth in range(top, bottom + 1)}
    blocks = {
        depth: [last[:depth] + each for each in alphabet if each > last[depth]]
        for depth, alphabet in alphabets.items()
    }
    for depth in range(top, bottom):  # the larger blocks first
        if sum(map(len, blocks.values())) >= _ENOUGH:
            break
        larger = blocks.pop(depth)
        blocks[depth + 1] += [block + each for block in larger for each in alphabets[depth + 1]]
    found = {cut for cut in chain(*blocks.values()) if cut > last and (not end or cut < end)}
    step = -(-len(found) // _MAX_SPANS) or 1
    return sorted(found)[::step]


def _common(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    shorter = min(len(one), len(other))
    return next((at for at, (this, that) in enumerate(pairs) if this != that), shorter)


def _characters_at(names: Sequence[str], first: int) -> list[set[str]]:
    """Return the characters at each position from the first one on."""
    sample = names[:: -(-len(names) // _SAMPLE)]
    ends = [name[first:] for name in sample]
    longest = max(map(len, ends), default=0)
    return [{end[at] for end in ends if len(end) > at} for at in range(longest)]


def _alphabet(character: str, seen: Sequence[set[str]]) -> list[str]:
    """Return which characters to expect where one has been seen, sorted.

    Args:
        character: the one.
        seen: sets of characters that were seen at one position.
    """
    kind = next((kind for kind in (_DIGITS, _UPPER, _LOWER) if character in kind), {character})
    # Hexadecimal digits and the like: what comes with characters of this kind comes here too.
    found = set(chain(*(each for each in seen if each & kind)))
    if kind is _DIGITS or not found:
        found |= kind
    if len(kind) == 1:
        found.update(_following(character))
    return sorted(each for each in found if ord(each) not in _SURROGATES)


def _following(character: str) -> Iterator[str]:
    """Yield characters at growing distances: nothing is known of other scripts."""
    distance = 1
    while ord(character) + distance <= 0x10FFFF:
        yield chr(ord(character) + distance)
        distance *= 2
