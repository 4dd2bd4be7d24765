"""Pages about operations: the newest, and one with what became of every file."""

from collections.abc import Sequence
from typing import Any

from dicomferry.console.queries.outcomes import OutcomesPage, Reasons
from dicomferry.console.queries.stores import OperationsPage
from dicomferry.console.views import formatting
from dicomferry.console.views.layout import definitions
from dicomferry.console.views.markup import Html, html, join, link
from dicomferry.operations.operations import INVALID_ARGUMENT, OUTCOMES, Operation
from dicomferry.resource_names import parse_store

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
_SECTION_OF_OUTCOMES = """<section id="outcomes"><h2>What became of every {noun}</h2>
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
_SHOWN = sorted(OUTCOMES, key=lambda name: name in ("conflict", "failed"))


def operation_path(operation: Operation) -> str:
    """Where the page of an operation is."""
    return f"/console/{operation['name']}"


def operations_section(found: OperationsPage, path: str, query: dict[str, str]) -> Html:
    """Operations as rows.

    Args:
        found: what to show.
        path: of the page that they are on.
        query: of that page; the newest ones are kept up to date.
    """
    running = any(not operation["done"] for operation in found.operations)
    asked = link(path, **query, part="operations")
    older = link(path, **{**query, "before": found.before})
    rows = join(_row(operation) for operation in found.operations)
    live = html(_LIVE, href=asked, seconds=2 if running else 10)
    return html(
        _SECTION,
        live=live if running or not query.get("before") else Html(),
        rows=html("<ul>{rows}</ul>", rows=rows) if rows else Html(_NONE),
        more=html('<p class="more"><a href="{href}">Older operations</a></p>', href=older)
        if found.before
        else Html(),
    )


def operation_section(operation: Operation) -> Html:
    """One operation and how far it is; it is loaded again while it runs."""
    metadata = operation["metadata"]
    asked = link(operation_path(operation), part="operation")
    seconds = formatting.seconds_between(metadata["createTime"], metadata.get("endTime"))
    facts: list[tuple[str, str | Html]] = [
        ("Started", formatting.moment(metadata["createTime"])),
        ("Took" if operation["done"] else "Running for", formatting.duration(seconds)),
        ("Operation", operation["name"]),
        ("Its lists", metadata["logsUrl"]),
    ]
    problem = operation.get("error", {"code": 0, "message": ""})
    error = html(
        '<p class="problem{kind}">{text}</p>',
        kind=" warn" if problem["code"] == INVALID_ARGUMENT else "",
        text=problem["message"],
    )
    return html(
        _TOP,
        live=Html() if operation["done"] else html(_LIVE, href=asked, seconds=2),
        store_href=link(f"/console/{operation['store']}"),
        store=parse_store(operation["store"]).id,
        verb=formatting.verb(operation),
        state=formatting.state(operation),
        bar=_bar(operation),
        progress=_progress(operation),
        error=error if "error" in operation else Html(),
        facts=definitions(facts),
    )


def outcomes_section(
    operation: Operation, found: OutcomesPage, why: Reasons | None, outcome: str, is_first: bool
) -> Html:
    """A page of outcomes with links to those of one kind."""
    path = operation_path(operation)
    noun = _noun(operation)
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
        nothing = "None." if operation["done"] else "None yet: they come part by part."
        table = html('<p class="empty">{text}</p>', text=nothing)
    return html(
        _SECTION_OF_OUTCOMES,
        noun=noun,
        chips=join(_chips(operation, outcome)),
        reasons=_reasons(why, noun) if why and why.counts else Html(),
        table=table,
        more=html('<p class="more">{links}</p>', links=join(links)) if links else Html(),
        download=link(f"{path}/outcomes.jsonl", outcome=outcome),
    )


def _row(operation: Operation) -> Html:
    return html(
        _ROW,
        href=link(operation_path(operation)),
        verb=formatting.verb(operation),
        store=parse_store(operation["store"]).id,
        state=formatting.state(operation),
        time=formatting.moment(operation["metadata"]["createTime"]),
        bar=_bar(operation),
        progress=_progress(operation),
    )


def _noun(operation: Operation) -> str:
    return "file" if formatting.verb(operation) == "Import" else "instance"


def _parts(operation: Operation) -> list[tuple[str, int]]:
    """What has become of how many: outcomes, or while it runs what was read."""
    counts = operation["counts"]
    if "read" in counts:
        failed = counts.get("failed", 0)
        return [("read", counts["read"] - failed), ("failed", failed)]
    return [(outcome, counts.get(outcome, 0)) for outcome in _SHOWN]


def _bar(operation: Operation) -> Html:
    """A bar of one colour an outcome, as long as what is done of all."""
    parts = _parts(operation)
    done = sum(number for _, number in parts)
    total = max(operation["total"], done)
    if not total and operation["done"]:
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


def _progress(operation: Operation) -> str:
    """How far it is, how fast, and how long still; or how it ended."""
    counts, total, noun = operation["counts"], operation["total"], _noun(operation)
    parts = [(name, number) for name, number in _parts(operation) if number]
    if operation["done"]:
        said = [f"{number:,} {name}" for name, number in parts] or ["nothing done"]
        return " · ".join([*said, formatting.size(counts["bytes"])] if "bytes" in counts else said)
    if operation.get("queued"):
        return "waits for its turn: as many jobs run as may"
    if not total:
        return f"looking for {noun}s …"
    done = sum(number for _, number in parts)
    seconds = max(formatting.seconds_between(operation["metadata"]["createTime"], None), 1.0)
    said = [
        f"{done:,} of {formatting.count(total, noun)}",
        f"{formatting.size(counts.get('bytes', 0))}",
    ]
    if done:
        rate = done / seconds
        said.append(f"{rate:,.0f} {noun}s/s" if rate >= 10 else f"{rate:.1f} {noun}s/s")
        said.append(f"{formatting.size(counts.get('bytes', 0) / seconds)}/s")
        said.append(f"about {formatting.duration((total - done) / rate)} left")
    if failed := counts.get("failed", 0):
        said.append(f"{failed:,} failed")
    return " · ".join(said)


def _chips(operation: Operation, chosen: str) -> Sequence[Html]:
    path = operation_path(operation)
    counts = operation["counts"] if "read" not in operation["counts"] else {}
    known = [(name, counts[name]) for name in _SHOWN if counts.get(name)]
    # An outcome that was asked for is shown though none is counted yet.
    if chosen and chosen not in dict(known):
        known.append((chosen, 0))
    chips = [
        ("", "all", sum(counts.get(name, 0) for name in OUTCOMES)),
        *((n, n, c) for n, c in known),
    ]
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
