"""Progress and results of an operation: a bar with a color for each outcome, and a line of text."""

from dicomferry.console.views import formatting
from dicomferry.console.views.markup import Html, html, join
from dicomferry.operations.outcomes import PROBLEMS, Outcome, ProgressCounts
from dicomferry.operations.record import OperationRecord
from dicomferry.operations.unreadable import is_unreadable

_WIDTH = 1000
# In the order in which they are shown: problems last.
SHOWN = sorted(Outcome, key=lambda outcome: outcome in PROBLEMS)
_BAR = """<svg class="bar{waits}" viewBox="0 0 1000 8" preserveAspectRatio="none"
{role}>{parts}</svg>"""
_PROGRESS = 'role="progressbar" aria-label="{label}" aria-valuenow="{done}" aria-valuemax="{total}"'
_WAITING = 'role="progressbar" aria-label="{label}"'
_RESULT = 'role="img" aria-label="{label}"'


def progress_bar(record: OperationRecord) -> Html:
    """Return a bar with one color per outcome, as long as the part that is done."""
    parts = _parts(record)
    done = sum(number for _, number in parts)
    total = max(record.total, done)
    if not total and record.done:
        return Html()
    label = f"{record.metadata.method.noun}s done"
    role = html(_WAITING, label=label)
    if record.done:
        role = html(_RESULT, label=", ".join(_counted(parts)) or label)
    elif total:
        role = html(_PROGRESS, label=label, done=done, total=total)
    return html(_BAR, waits="" if total else " waits", role=role, parts=_rectangles(parts, total))


def progress_line(record: OperationRecord) -> Html:
    """Return the result; of a running operation its progress, rate and time left."""
    if is_unreadable(record):
        return html("{text}", text="its record cannot be read")
    if not record.done:
        return html("{text}", text=" · ".join(_progress(record)))
    parts = [(name, number) for name, number in _parts(record) if number]
    words = [
        html('<span class="outcome {name}">{number:,} {name}</span>', name=name, number=number)
        for name, number in parts
    ] or [html("{text}", text="nothing done")]
    if record.counts.bytes:
        size = formatting.size(record.counts.bytes)
        words.append(html('<span class="whole">{size}</span>', size=size))
    return Html(" · ".join(words))


def _parts(record: OperationRecord) -> list[tuple[str, int]]:
    """Return names and numbers of the parts of a bar: outcomes, or progress."""
    counts = record.counts
    if isinstance(counts, ProgressCounts):
        # What was read and not committed is nothing once the job has ended.
        read = ("read", counts.read - counts.failed)
        return [("committed", counts.committed) if record.done else read, ("failed", counts.failed)]
    return [(outcome, counts.of(outcome)) for outcome in SHOWN]


def _counted(parts: list[tuple[str, int]]) -> list[str]:
    return [f"{number:,} {name}" for name, number in parts if number]


def _rectangles(parts: list[tuple[str, int]], total: int) -> Html:
    rectangles, at = [], 0.0
    for name, number in parts:
        width = _WIDTH * number / total if total else 0.0
        if number:
            # One file of a million is visible, too.
            shown = max(width, 6.0)
            rectangles.append(
                html(
                    '<rect class="{name}" x="{x:.1f}" width="{width:.1f}" height="8"/>',
                    name=name,
                    x=min(at, _WIDTH - shown),
                    width=shown,
                )
            )
        at += width
    return join(rectangles)


def _progress(record: OperationRecord) -> list[str]:
    counts, noun = record.counts, record.metadata.method.noun
    if record.queued:
        place = f", position {record.place}" if record.place else ""
        return [f"Queued{place}: the job limit has been reached"]
    if not record.total:
        return [f"looking for {noun}s …"]
    seconds = max(formatting.seconds_between(record.metadata.create_time, None), 1.0)
    words = [
        f"{counts.done:,} of {formatting.count(record.total, noun)}",
        formatting.size(counts.bytes),
    ]
    if counts.done:
        rate = counts.done / seconds
        words.append(f"{rate:,.0f} {noun}s/s" if rate >= 10 else f"{rate:.1f} {noun}s/s")
        words.append(f"{formatting.size(counts.bytes / seconds)}/s")
        words.append(f"about {formatting.duration((record.total - counts.done) / rate)} left")
    if counts.failures:
        words.append(f"{counts.failures:,} failed")
    return words
