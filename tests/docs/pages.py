"""The pages that people read, and what is in them."""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_IMAGE = re.compile(r"!\[[^\]]+\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")


class Block(NamedTuple):
    """A code block: the page that it is on, its language, its text."""

    page: Path
    language: str
    text: str


def pages() -> list[Path]:
    """Every Markdown page of the repository."""
    folders = [REPOSITORY.glob("*.md")]
    folders += [(REPOSITORY / each).rglob("*.md") for each in ("docs", "deploy", "tests")]
    return sorted(itertools.chain.from_iterable(folders))


def name(page: Path) -> str:
    """A page's path in the repository, for messages."""
    return str(page.relative_to(REPOSITORY))


def blocks(*languages: str) -> Iterator[Block]:
    """All code blocks of some languages."""
    for page in pages():
        for language, text in _FENCE.findall(page.read_text()):
            if language in languages:
                yield Block(page, language, text)


def links(page: Path) -> list[str]:
    """The targets of a page's links."""
    return _LINK.findall(_FENCE.sub("", page.read_text()))


def images(page: Path) -> list[Path]:
    """The files of a page's pictures."""
    return [page.parent / target for target in _IMAGE.findall(_FENCE.sub("", page.read_text()))]


def code_spans(page: Path) -> list[str]:
    """What stands between single backticks."""
    return _CODE.findall(_FENCE.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def command_lines(text: str) -> Iterator[list[str]]:
    """The commands of a shell text, each as its words."""
    for line in text.replace("\\\n", " ").splitlines():
        # Comments by hand: shlex also takes the # of duckdb:FILE#TABLE for one.
        command = re.sub(r"(^|\s)#.*", "", line)
        lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, ""
        words: list[str] = []
        for word in lexer:
            if set(word) <= set("();<>|&"):
                yield words
                words = []
            else:
                words.append(word)
        yield words
