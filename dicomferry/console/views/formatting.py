"""Counts, sizes, times and states as text for people."""

from datetime import UTC, datetime

from dicomferry.console.views.markup import Html, html
from dicomferry.operations.record import OperationRecord
from dicomferry.operations.state import State, state_of

# Classes of the style sheet.
_KINDS = {
    State.QUEUED: "live",
    State.RUNNING: "live",
    State.CANCELLING: "live",
    State.DONE: "good",
    State.DONE_WITH_FAILURES: "warn",
    State.CANCELLED: "quiet",
    State.ABORTED: "bad",
    State.FAILED: "bad",
    State.UNREADABLE: "bad",
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def number(value: int | str) -> str:
    """A count, such as 1,234."""
    return f"{int(value):,}"


def count(value: int, noun: str) -> str:
    """A count with its noun, such as 2 files."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def size(value: float) -> str:
    """A size in bytes with a suitable unit, such as 1.5 kB."""
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


def moment(time: datetime) -> Html:
    """A time in UTC, to the second in its title; the script shows it in the reader's own zone."""
    at = time.astimezone(UTC)
    return html(
        '<time datetime="{text}" title="{title}">{shown}</time>',
        text=at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        title=f"{at:%Y-%m-%d %H:%M:%S} UTC",
        shown=f"{at.day} {at:%b %Y, %H:%M} UTC",
    )


def seconds_between(start: datetime, end: datetime | None) -> float:
    """Seconds between two times; `end` defaults to now."""
    return ((end or datetime.now(UTC)) - start).total_seconds()


def state(record: OperationRecord) -> Html:
    """Return an operation's state as a colored badge."""
    word = state_of(record)
    return html('<span class="state {kind}">{word}</span>', kind=_KINDS[word], word=word)
