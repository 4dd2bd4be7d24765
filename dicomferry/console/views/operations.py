"""Pages about operations: the newest, and one with the outcome of every file."""

from collections.abc import Sequence
from typing import Any

from google.rpc.code_pb2 import INVALID_ARGUMENT

from dicomferry.console.queries.outcomes import OutcomesPage, Reasons
from dicomferry.console.queries.stores import OperationsPage
from dicomferry.console.views import formatting
from dicomferry.console.views.layout import definitions
from dicomferry.console.views.markup import Html, html, join, link
from dicomferry.operations.outcomes import PROBLEMS, Outcome, OutcomeCounts, ProgressCounts
from dicomferry.operations.record import OperationRecord

_SECTION = """<section class="operations"{live}><h2>Operations</h2>
{rows}{more}</section>"""
_LIVE = ' data-live="{href}" data-seconds="{seconds}"'
_ROW = """<li><div class="head"><a href="{href}">{verb} · {store}</a>{state}{time}</div>
{bar}<p class="progress">{progress}</p></li>"""
_NONE = """<p class="empty">Nothing was run yet.
<code>dicomferry import STORE '/data/**'</code> is a start.</p>"""
_TOP = """<section class="operation"{live}>
<p class="path"><a href="{store_href}">{store}</a></p>
<h1>{verb} {state}</h1>
{bar}<p class="progress">{progress}</p>
{error}{facts}</section>"""
_SECTION_OF_OUTCOMES = """<section id="outcomes"><h2>Outcome of every {noun}</h2>
<nav aria-label="Outcomes">{chips}</nav>
{reasons}{table}{more}
<p class="links"><a href="{download}" download>Download as JSON Lines</a></p></section>"""
_TABLE = """<table class="outcomes"><thead><tr><th>{noun}</th><th>Outcome</th><th>Why</th>
<th class="number">Size</th></tr></thead><tbody>{rows}</tbody></table>"""
_LINE = """<tr><td class="uri">{source}{uid}{other}</td>
<td><span class="outcome {outcome}">{outcome}</span></td>
<td>{why}</td><td class="number">{size}</td></tr>"""
_WIDTH = 1000
# As they are shown: what went well first.
_SHOWN = sorted(Outcome, key=lambda outcome: outcome in PROBLEMS)


def operation_path(record: OperationRecord) -> str:
    """Where the page of an operation is."""
    return f"/console/{record.name}"


def operations_section(found: OperationsPage, path: str, query: dict[str, str]) -> Html:
    """Operations as rows.

    Args:
        found: what to show.
        path: of the page that they are on.
        query: of that page; the newest ones are kept up to date.
    """
    running = any(not record.done for record in found.operations)
    asked = link(path, **query, part="operations")
    older = link(path, **{**query, "before": found.before})
    rows = join(_row(record) for record in found.operations)
    live = html(_LIVE, href=asked, seconds=2 if running else 10)
    return html(
        _SECTION,
        live=live if running or not query.get("before") else Html(),
        rows=html("<ul>{rows}</ul>", rows=rows) if rows else Html(_NONE),
        more=html('<p class="more"><a href="{href}">Older operations</a></p>', href=older)
        if found.before
        else Html(),
    )


def operation_section(record: OperationRecord) -> Html:
    """One operation and how far it is; it is loaded again while it runs."""
    metadata = record.metadata
    asked = link(operation_path(record), part="operation")
    seconds = formatting.seconds_between(metadata.create_time, metadata.end_time)
    facts: list[tuple[str, str | Html]] = [
        ("Started", formatting.moment(metadata.create_time)),
        ("Took" if record.done else "Running for", formatting.duration(seconds)),
        ("Operation", record.name),
        ("Results", metadata.logs_url),
    ]
    error = Html()
    if record.error:
        error = html(
            '<p class="problem{kind}">{text}</p>',
            kind=" warn" if record.error.code == INVALID_ARGUMENT else "",
            text=record.error.message,
        )
    return html(
        _TOP,
        live=Html() if record.done else html(_LIVE, href=asked, seconds=2),
        store_href=link(f"/console/{record.store}"),
        store=record.store.id,
        verb=record.metadata.method.verb,
        state=formatting.state(record),
        bar=_bar(record),
        progress=_progress(record),
        error=error,
        facts=definitions(facts),
    )


def outcomes_section(
    record: OperationRecord, found: OutcomesPage, why: Reasons | None, outcome: str, is_first: bool
) -> Html:
    """A page of outcomes with links to those of one kind."""
    path = operation_path(record)
    noun = record.metadata.method.noun
    following = link(path, outcome=outcome, after=found.after) + "#outcomes"
    words = "More" if found.lines else "None up to here: look further"
    links = []
    if not is_first:
        first = link(path, outcome=outcome) + "#outcomes"
        links.append(html('<a href="{href}">First page</a>', href=first))
    if found.after:
        links.append(html('<a rel="next" href="{href}">{words}</a>', href=following, words=words))
    table = html(_TABLE, noun=noun.capitalize(), rows=join(map(_line, found.lines)))
    if not found.lines:
        nothing = (
            "No results" if record.done else "No results yet; they appear as each part finishes"
        )
        table = html('<p class="empty">{text}</p>', text=nothing)
    return html(
        _SECTION_OF_OUTCOMES,
        noun=noun,
        chips=join(_chips(record, outcome)),
        reasons=_reasons(why, noun) if why and why.counts else Html(),
        table=table,
        more=html('<p class="more">{links}</p>', links=join(links)) if links else Html(),
        download=link(f"{path}/outcomes.jsonl", outcome=outcome),
    )


def _row(record: OperationRecord) -> Html:
    return html(
        _ROW,
        href=link(operation_path(record)),
        verb=record.metadata.method.verb,
        store=record.store.id,
        state=formatting.state(record),
        time=formatting.moment(record.metadata.create_time),
        bar=_bar(record),
        progress=_progress(record),
    )


def _parts(record: OperationRecord) -> list[tuple[str, int]]:
    """Return names and numbers of the parts of a bar: outcomes, or progress while it runs."""
    counts = record.counts
    if isinstance(counts, ProgressCounts):
        return [("read", counts.read - counts.failed), ("failed", counts.failed)]
    return [(outcome, counts.of(outcome)) for outcome in _SHOWN]


def _bar(record: OperationRecord) -> Html:
    """A bar of one colour an outcome, as long as what is done of all."""
    parts = _parts(record)
    done = sum(number for _, number in parts)
    total = max(record.total, done)
    if not total and record.done:
        return Html()
    rectangles, at = [], 0.0
    for name, number in parts:
        width = _WIDTH * number / total if total else 0.0
        if number:
            # One file of a million can be seen, too.
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
    if record.done:
        words = [f"{number:,} {name}" for name, number in parts] or ["nothing done"]
        return " · ".join([*words, formatting.size(counts.bytes)] if counts.bytes else words)
    if record.queued:
        return "Queued: the job limit has been reached"
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


def _chips(record: OperationRecord, chosen: str) -> Sequence[Html]:
    path = operation_path(record)
    counts = record.counts if isinstance(record.counts, OutcomeCounts) else OutcomeCounts()
    known = {str(outcome): counts.of(outcome) for outcome in _SHOWN if counts.of(outcome)}
    # The chosen outcome is shown even if no file has it yet.
    numbers = known if not chosen else {chosen: 0} | known
    chips = [("", "all", counts.done), *((name, name, number) for name, number in numbers.items())]
    return [
        html(
            '<a href="{href}"{current}>{words}</a>',
            href=link(path, outcome=value) + "#outcomes",
            current=Html(' aria-current="page"' if value == chosen else ""),
            words=f"{words} {number:,}" if number else words,
        )
        for value, words, number in chips
    ]


def _reasons(why: Reasons, noun: str) -> Html:
    items = (
        html(
            "<li><b>{number}</b><div><code>{code}</code> {reason}</div></li>",
            number=f"{number:,} ×",
            code=code,
            reason=reason,
        )
        for (code, reason), number in why.counts.most_common()
    )
    heading = f"Why {noun}s failed" + ("" if why.is_complete else ", as far as was looked")
    return html(
        '<h3>{heading}</h3><ul class="reasons">{items}</ul>', heading=heading, items=join(items)
    )


def _line(line: dict[str, Any]) -> Html:
    why = html(
        "<code>{code}</code> {reason}", code=line.get("code", ""), reason=line.get("reason", "")
    )
    uid = html('<small class="uid">{uid}</small>', uid=line.get("sopInstanceUid", ""))
    other = html("<small>the other: {uri}</small>", uri=line.get("other", ""))
    return html(
        _LINE,
        source=html("<bdi>{uri}</bdi>", uri=line["source"]),
        uid=uid if "sopInstanceUid" in line else Html(),
        other=other if "other" in line else Html(),
        outcome=line["outcome"],
        why=why if "code" in line else Html(),
        size=formatting.size(line.get("bytes", 0)),
    )
