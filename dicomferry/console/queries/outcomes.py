"""Outcomes of files, page by page: no whole shard is held in memory."""

import re
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from typing import Any, NamedTuple

from google.rpc.code_pb2 import INVALID_ARGUMENT

from dicomferry.api.errors import ApiError
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.outcomes import PROBLEMS, Outcome, parse_outcome
from dicomferry.storage.capabilities import Entry

PAGE = 100
_BLOCK_BYTES = 1 << 20
# Read for one page at most; a longer search goes on from a link.
_SCAN_BYTES = 256 << 20
EXAMPLES = 3
_MAX_TEXT = 1000
_CODE = re.compile(r"[A-Z0-9_]{1,64}")
_POSITION = re.compile(r"([A-Za-z0-9-]{1,64}):([0-9]{1,15})")


class OutcomesPage(NamedTuple):
    """Some outcomes, and the position where the next page starts; '' at the end."""

    lines: list[dict[str, Any]]
    after: str


class OutcomesFilter(NamedTuple):
    """Outcomes to show; '' is any.

    Attributes:
        outcome: an `Outcome`.
        code: of the reason.
        text: in the URI of the file, or the path of the instance; upper and lower case are alike.
    """

    outcome: str = ""
    code: str = ""
    text: str = ""


class Why(NamedTuple):
    """Why a file failed."""

    outcome: str
    code: str
    reason: str
    fault: str


class Problems(NamedTuple):
    """What a person has to look at.

    Attributes:
        counts: how often each happened.
        examples: the first sources of each.
        is_complete: whether all were counted.
    """

    counts: Counter[Why]
    examples: dict[Why, list[str]]
    is_complete: bool


def check_filter(query: Mapping[str, str]) -> OutcomesFilter:
    """Return the filter that the parameters of a page give.

    Raises:
        ApiError: there is no such outcome or code.
    """
    outcome, code = query.get("outcome", ""), query.get("code", "").strip().upper()
    if outcome and outcome not in list(Outcome):
        raise ApiError(INVALID_ARGUMENT, f"{outcome!r} is not an outcome: use {', '.join(Outcome)}")
    if code and not _CODE.fullmatch(code):
        raise ApiError(INVALID_ARGUMENT, "a code is a word in capitals, such as NOT_DICOM")
    return OutcomesFilter(outcome, code, query.get("text", "").strip()[:_MAX_TEXT])


def page_of_outcomes(folder: OperationFolder, wanted: OutcomesFilter, after: str) -> OutcomesPage:
    """Read a page.

    Raises:
        ApiError: `after` is not a position.
    """
    page: list[dict[str, Any]] = []
    scanned = 0
    for line, position in _lines(folder, after):
        if len(page) == PAGE or scanned > _SCAN_BYTES:
            return OutcomesPage(page, after)
        scanned += len(line)
        after = position
        if record := _matching(line, wanted):
            page.append(record)
    return OutcomesPage(page, "")


def stream(folder: OperationFolder, wanted: OutcomesFilter) -> Generator[bytes, None, None]:
    """Yield outcomes as JSON Lines, in blocks."""
    block = bytearray()
    for line, _ in _lines(folder, ""):
        if wanted == OutcomesFilter() or _matching(line, wanted):
            block += line
        if len(block) >= _BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def problems(folder: OperationFolder) -> Problems:
    """Count why files failed, in at most `_SCAN_BYTES` of outcomes."""
    found = Problems(Counter(), {}, True)
    scanned = 0
    for line, _ in _lines(folder, ""):
        scanned += len(line)
        if scanned > _SCAN_BYTES:
            return found._replace(is_complete=False)
        if any(_is_of(line, kind) for kind in PROBLEMS):
            record = parse_outcome(line)
            why = Why(*(record.get(field, "") for field in Why._fields))
            found.counts[why] += 1
            sources = found.examples.setdefault(why, [])
            if len(sources) < EXAMPLES:
                sources.append(record["source"])
    return found


def _matching(line: bytes, wanted: OutcomesFilter) -> dict[str, Any] | None:
    """Return the outcome of a line, if it is one of those that are wanted."""
    # Most lines of a long list are none of them, and need not be parsed.
    if not _is_of(line, wanted.outcome) or wanted.code.encode() not in line:
        return None
    text = wanted.text.casefold()
    # Without a backslash nothing in it is escaped.
    if text and b"\\" not in line and text not in line.decode("utf-8", "replace").casefold():
        return None
    record = parse_outcome(line)
    is_coded = wanted.code in ("", record.get("code", ""))
    has_text = text in record["source"].casefold()
    return record if is_coded and has_text else None


def _is_of(line: bytes, outcome: str) -> bool:
    """Whether a line has an outcome. Quotes in a name are escaped, so a name never matches."""
    return not outcome or f'"outcome": "{outcome}"'.encode() in line


def _lines(folder: OperationFolder, after: str) -> Iterator[tuple[bytes, str]]:
    """Yield every line after a position, each with the position behind it."""
    shard, offset = _parse(after) if after else ("", 0)
    for entry in _shards(folder):
        name = entry.path.removeprefix("outcomes-").removesuffix(".jsonl")
        if name >= shard:
            for line, end in _lines_of(folder, entry, offset if name == shard else 0):
                yield line, f"{name}:{end}"


def _shards(folder: OperationFolder) -> list[Entry]:
    entries = (entry for entry in folder.storage.list() if entry.path.startswith("outcomes-"))
    return sorted(entry for entry in entries if entry.path.endswith(".jsonl"))


def _lines_of(folder: OperationFolder, entry: Entry, offset: int) -> Iterator[tuple[bytes, int]]:
    # One byte earlier, so that a position within a line means the next one.
    position = max(offset - 1, 0)
    begun = b""
    skip = offset > 0
    while position < entry.size:
        length = min(_BLOCK_BYTES, entry.size - position)
        block = begun + folder.storage.read_range(entry.path, position, length)
        start = position - len(begun)
        position += length
        *lines, begun = block.split(b"\n")
        for line in lines:
            start += len(line) + 1
            if not skip:
                yield line + b"\n", start
            skip = False
    if begun and not skip:
        yield begun, entry.size  # a power cut can leave it without an end


def _parse(position: str) -> tuple[str, int]:
    match = _POSITION.fullmatch(position)
    if not match:
        raise ApiError(INVALID_ARGUMENT, f"{position!r} is not a position: follow the page's links")
    return match[1], int(match[2])
