"""Views of operations: the newest as rows, and one with its progress."""

from dicomferry.console.queries.stores import OperationsPage
from dicomferry.console.views import formatting
from dicomferry.console.views.layout import definitions
from dicomferry.console.views.markup import Html, html, join, link
from dicomferry.operations.outcomes import PROBLEMS, Outcome, ProgressCounts
from dicomferry.operations.record import OperationRecord
from dicomferry.operations.state import has_reached_end
from dicomferry.operations.unreadable import is_unreadable

_SECTION = """<section class="operations"{live}><h2>Operations</h2>
{rows}{more}</section>"""
_LIVE = ' data-live="{href}" data-seconds="{seconds}"'
_ROW = """<li><div class="head"><a href="{href}">{verb} · {store}</a>{state}{time}</div>
{bar}<p class="progress">{progress}</p></li>"""
_NONE = """<p class="empty">No operations yet.
Start with <code>dicomferry import STORE '/data/**'</code>.</p>"""
_TOP = """<section class="operation"{live}>
{path}
<h1>{verb} {state}</h1>
{bar}<p class="progress">{progress}</p>
{error}{facts}</section>"""
_WIDTH = 1000
# In the order in which they are shown: problems last.
SHOWN = sorted(Outcome, key=lambda outcome: outcome in PROBLEMS)


def operation_path(record: OperationRecord) -> str:
    """Return the path of an operation's page."""
    return f"/console/{record.name}"


def operations_section(page: OperationsPage, path: str, query: dict[str, str]) -> Html:
    """Show operations as rows.

    Args:
        page: operations to show.
        path: of the page that they are on.
        query: of that page; the script reloads the newest ones.
    """
    running = page.is_running
    href = link(path, **query, part="operations")
    older = link(path, **{**query, "before": page.before})
    rows = join(_row(record) for record in page.operations)
    live = html(_LIVE, href=href, seconds=2 if running else 10)
    return html(
        _SECTION,
        live=live if running or not query.get("before") else Html(),
        rows=html("<ul>{rows}</ul>", rows=rows) if rows else Html(_NONE),
        more=html('<p class="more"><a href="{href}">Older operations</a></p>', href=older)
        if page.before
        else Html(),
    )


def operation_section(record: OperationRecord) -> Html:
    """Show one operation and its progress; the script reloads it while it runs."""
    metadata = record.metadata
    href = link(operation_path(record), part="operation")
    seconds = formatting.seconds_between(metadata.create_time, metadata.end_time)
    facts: list[tuple[str, str | Html]] = [
        ("Started", formatting.moment(metadata.create_time)),
        ("Took" if record.done else "Running for", formatting.duration(seconds)),
        ("Operation", record.name),
        ("Results", metadata.logs_url),
    ]
    if record.asked:
        flags = record.asked.flags.items()
        facts += [(name.replace("_", " ").capitalize(), value) for name, value in flags]
        facts += [("Asked by", record.asked.principal), ("Version", record.asked.version)]
    error = Html()
    if record.error:
        error = html(
            '<p class="problem{kind}">{text}</p>',
            kind=" warn" if has_reached_end(record) else "",
            text=record.error.message,
        )
    behind = [
        html('<p class="problem warn">{text}</p>', text=f"{each.resource}: {each.message}")
        for each in metadata.lagging
    ]
    return html(
        _TOP,
        live=Html() if record.done else html(_LIVE, href=href, seconds=2),
        path=_store_link(record),
        verb=record.metadata.method.verb,
        state=formatting.state(record),
        bar=_bar(record),
        progress=_progress(record),
        error=join([error, *behind]),
        facts=definitions(facts),
    )


def _row(record: OperationRecord) -> Html:
    return html(
        _ROW,
        href=link(operation_path(record)),
        verb=record.metadata.method.verb,
        store=record.store.id or record.id,
        state=formatting.state(record),
        time=formatting.moment(record.metadata.create_time),
        bar=_bar(record),
        progress=_progress(record),
    )


def _store_link(record: OperationRecord) -> Html:
    if not record.store.id:
        return Html()
    return html(
        '<p class="path"><a href="{href}">{store}</a></p>',
        href=link(f"/console/{record.store}"),
        store=record.store.id,
    )


def _parts(record: OperationRecord) -> list[tuple[str, int]]:
    """Return names and numbers of the parts of a bar: outcomes, or progress."""
    counts = record.counts
    if isinstance(counts, ProgressCounts):
        # What was read and not committed is nothing once the job has ended.
        read = ("read", counts.read - counts.failed)
        return [("committed", counts.committed) if record.done else read, ("failed", counts.failed)]
    return [(outcome, counts.of(outcome)) for outcome in SHOWN]


def _bar(record: OperationRecord) -> Html:
    """Return a bar with one color per outcome, as long as the part that is done."""
    parts = _parts(record)
    done = sum(number for _, number in parts)
    total = max(record.total, done)
    if not total and record.done:
        return Html()
    rectangles, at = [], 0.0
    for name, number in parts:
        width = _WIDTH * number / total if total else 0.0
        if number:
            # One file of a million is visible, too.
            shown = max(width, 2.0)
            rectangles.append(
                html(
                    '<rect class="{name}" x="{x:.1f}" width="{width:.1f}" height="8"/>',
                    name=name,
                    x=min(at, _WIDTH - shown),
                    width=shown,
                )
            )
        at += width
    return html(
        '<svg class="bar{waits}" viewBox="0 0 1000 8" preserveAspectRatio="none" role="progressbar"'
        ' aria-label="files done" aria-valuenow="{done}" aria-valuemax="{total}">{parts}</svg>',
        waits="" if total else " waits",
        done=done,
        total=total,
        parts=join(rectangles),
    )


def _progress(record: OperationRecord) -> str:
    """Return the result; of a running operation its progress, rate and time left."""
    counts, noun = record.counts, record.metadata.method.noun
    parts = [(name, number) for name, number in _parts(record) if number]
    if is_unreadable(record):
        return "its record cannot be read"
    if record.done:
        words = [f"{number:,} {name}" for name, number in parts] or ["nothing done"]
        return " · ".join([*words, formatting.size(counts.bytes)] if counts.bytes else words)
    if record.queued:
        place = f", at place {record.place}" if record.place else ""
        return f"Queued{place}: the job limit has been reached"
    if not record.total:
        return f"looking for {noun}s …"
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
    return " · ".join(words)
