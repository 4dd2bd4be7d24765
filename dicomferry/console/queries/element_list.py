"""The elements of one instance as text of bounded length, from the Metadata of its row."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from pydicom.datadict import keyword_for_tag

from dicomferry.console.queries.slow import connect
from dicomferry.storage.base import Storage
from dicomferry.store.index import Index

MAX_ELEMENTS = 2000
MAX_CHARACTERS = 200
MAX_METADATA_BYTES = 16 << 20
_MAX_DEPTH = 16
_LENGTH = re.compile(r"\?offset=[0-9]+&length=([0-9]+)")


class ElementText(NamedTuple):
    """One element.

    Attributes:
        depth: 0 for the data set's own, 1 for those of its items, and so on.
        tag: eight hexadecimal digits, or the number of an item.
        keyword: of the Standard; '' if it has none.
        vr: value representation.
        text: the value, at most `MAX_CHARACTERS` of it.
    """

    depth: int
    tag: str
    keyword: str
    vr: str
    text: str


class ElementList(NamedTuple):
    """Elements of an instance, and whether these are all.

    Attributes:
        elements: in order, at most `MAX_ELEMENTS`.
        is_complete: whether there are no others.
    """

    elements: list[ElementText]
    is_complete: bool


def elements_of(data: Storage, study: str, series: str, uid: str) -> list[ElementList]:
    """Return the elements of an instance; none if there is no such instance."""
    row = (
        connect(Index(data).dataset())
        .execute(
            "SELECT CASE WHEN StructuredStorageSize <= ? THEN Metadata ELSE '' END FROM instances "
            "WHERE SOPInstanceUID = ? AND StudyInstanceUID = ? AND SeriesInstanceUID = ? LIMIT 1",
            [MAX_METADATA_BYTES, uid, study, series],
        )
        .fetchone()
    )
    if row is None:
        return []
    try:
        content = json.loads(row[0] or "null")
    except RecursionError:
        content = None
    return [listed(content) if content is not None else ElementList([], is_complete=False)]


def listed(content: dict[str, Any]) -> ElementList:
    """Return the elements of a data set in the DICOM JSON model."""
    elements = list(islice(_walk(content, 0), MAX_ELEMENTS + 1))
    return ElementList(elements[:MAX_ELEMENTS], len(elements) <= MAX_ELEMENTS)


def _walk(content: dict[str, Any], depth: int) -> Iterator[ElementText]:
    for tag, element in content.items():
        vr, values = element.get("vr", ""), element.get("Value", [])
        keyword = keyword_for_tag(int(tag, 16))
        if vr != "SQ":
            yield ElementText(depth, tag, keyword, vr, _text(element, values))
            continue
        if depth == _MAX_DEPTH:
            yield ElementText(depth, tag, keyword, vr, f"items: {len(values)}, not shown")
            continue
        yield ElementText(depth, tag, keyword, vr, f"items: {len(values)}")
        for number, item in enumerate(values, 1):
            yield ElementText(depth + 1, f"item {number}", "", "", "")
            yield from _walk(item or {}, depth + 1)


def _text(element: dict[str, Any], values: list[Any]) -> str:
    if "BulkDataURI" in element:
        match = _LENGTH.fullmatch(element["BulkDataURI"])
        return f"{int(match[1]):,} bytes" if match else "encapsulated"
    if "InlineBinary" in element:
        return f"{len(element['InlineBinary']) * 3 // 4:,} bytes"
    # Of many values only as many as can be seen.
    shown = " \\ ".join(map(_one, values[:MAX_CHARACTERS]))
    return shown if len(shown) <= MAX_CHARACTERS else f"{shown[:MAX_CHARACTERS]}…"


def _one(value: Any) -> str:
    if isinstance(value, dict):  # PN: its component groups
        return "=".join(str(value.get(group, "")) for group in value)
    return "" if value is None else str(value)
