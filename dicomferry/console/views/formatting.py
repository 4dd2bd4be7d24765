"""How counts, sizes, times and states are written for people."""

from datetime import UTC, datetime
from typing import Any

from dicomferry.console.views.markup import Html, html

_STATES = {
    1: ("cancelled", "quiet"),
    3: ("done, with failures", "warn"),
    10: ("aborted", "bad"),
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def number(value: int | str) -> str:
    """A count, such as 1,234."""
    return f"{int(value):,}"


def count(value: int, noun: str) -> str:
    """A count with its noun, in the plural if need be."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def size(value: float) -> str:
    """Bytes, in the unit that suits."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def duration(seconds: float) -> str:
    """A length of time: 42 s, 3 min 5 s, 2 h 10 min, 3 d 4 h."""
    whole = max(round(seconds), 0)
    for large, small, names in ((_DAY, _HOUR, "d h"), (_HOUR, _MINUTE, "h min")):
        if whole >= large:
            first, second = names.split()
            return f"{whole // large} {first} {whole % large // small} {second}"
    if whole >= _MINUTE:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole} s"


def moment(text: str) -> Html:
    """A time of the API as people read it, in UTC."""
    at = datetime.fromisoformat(text).astimezone(UTC)
    return html(
        '<time datetime="{text}">{date} {clock}</time>',
        text=text,
        date=f"{at.day} {at:%b %Y},",
        clock=f"{at:%H:%M} UTC",
    )


def seconds_between(start: str, end: str | None) -> float:
    """Seconds between two times of the API; no end is now."""
    until = datetime.fromisoformat(end) if end else datetime.now(UTC)
    return (until - datetime.fromisoformat(start)).total_seconds()


def state(operation: dict[str, Any]) -> Html:
    """What an operation is at, as a coloured word."""
    if not operation["done"]:
        cancelling = operation["metadata"].get("cancelRequested")
        word = "queued" if operation.get("queued") else "running"
        word, kind = ("cancelling" if cancelling else word), "live"
    elif "error" not in operation:
        word, kind = "done", "good"
    else:
        word, kind = _STATES.get(operation["error"]["code"], ("failed", "bad"))
    return html('<span class="state {kind}">{word}</span>', kind=kind, word=word)


def verb(operation: dict[str, Any]) -> str:
    """What an operation does: Import, Export."""
    method = str(operation["metadata"]["apiMethodName"]).rpartition(".")[2]
    return method.removesuffix("DicomData")
