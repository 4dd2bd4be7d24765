"""Outcomes of files, page by page: no whole shard is held in memory."""

import re
from collections import Counter
from collections.abc import Iterator
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
_POSITION = re.compile(r"([A-Za-z0-9-]{1,64}):([0-9]{1,15})")


class OutcomesPage(NamedTuple):
    """Some outcomes, and the position where the next page starts; '' at the end."""

    lines: list[dict[str, Any]]
    after: str


class Reasons(NamedTuple):
    """How often files failed for which code, reason and fault, and whether all were counted."""

    counts: Counter[tuple[str, str, str]]
    is_complete: bool


def check_outcome(outcome: str) -> str:
    """Return the outcome to filter by; '' is all.

    Raises:
        ApiError: there is no such outcome.
    """
    if outcome and outcome not in list(Outcome):
        raise ApiError(INVALID_ARGUMENT, f"{outcome!r} is not an outcome: use {', '.join(Outcome)}")
    return outcome


def page_of_outcomes(folder: OperationFolder, outcome: str, after: str) -> OutcomesPage:
    """Read a page, of one outcome or of all.

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
        if _is_of(line, outcome):
            page.append(parse_outcome(line))
    return OutcomesPage(page, "")


def stream(folder: OperationFolder, outcome: str) -> Iterator[bytes]:
    """Yield all outcomes, or those of one kind, as JSON Lines, in blocks."""
    block = bytearray()
    for line, _ in _lines(folder, ""):
        if _is_of(line, outcome):
            block += line
        if len(block) >= _BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def reasons(folder: OperationFolder, outcome: str) -> Reasons:
    """Count why files failed, in at most `_SCAN_BYTES` of outcomes.

    Args:
        folder: the operation's.
        outcome: only failures of this kind; '' is all.
    """
    kinds = [kind for kind in PROBLEMS if outcome in ("", kind)]
    counts: Counter[tuple[str, str, str]] = Counter()
    scanned = 0
    for line, _ in _lines(folder, ""):
        scanned += len(line)
        if scanned > _SCAN_BYTES:
            return Reasons(counts, False)
        if any(_is_of(line, kind) for kind in kinds):
            record = parse_outcome(line)
            why = record.get("code", ""), record.get("reason", ""), record.get("fault", "")
            counts[why] += 1
    return Reasons(counts, True)


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
