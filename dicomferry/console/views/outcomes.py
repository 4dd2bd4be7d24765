"""View of the outcome of every file: filters, why files failed, a page of the list."""

from collections.abc import Sequence
from typing import Any

from dicomferry.console.queries.outcomes import OutcomesPage, Reasons
from dicomferry.console.views import formatting
from dicomferry.console.views.markup import Html, html, join, link
from dicomferry.console.views.operations import operation_path
from dicomferry.console.views.progress import SHOWN
from dicomferry.operations.record import OperationRecord

_SECTION = """<section id="outcomes"><h2>Outcome of every {noun}</h2>
<nav aria-label="Outcomes">{chips}</nav>
{reasons}{table}{more}
<p class="links"><a href="{download}" download>Download as JSON Lines</a></p></section>"""
_TABLE = """<table class="outcomes"><thead><tr><th>{noun}</th><th>Outcome</th><th>Why</th>
<th class="number">Size</th></tr></thead><tbody>{rows}</tbody></table>"""
_LINE = """<tr><td class="uri">{source}{uid}{derived}{other}</td>
<td><span class="outcome {outcome}">{outcome}</span></td>
<td>{why}</td><td class="number">{size}</td></tr>"""


def outcomes_section(
    record: OperationRecord, page: OutcomesPage, why: Reasons | None, outcome: str, is_first: bool
) -> Html:
    """Show a page of outcomes, with links to those of one kind."""
    path = operation_path(record)
    noun = record.metadata.method.noun
    following = link(path, outcome=outcome, after=page.after) + "#outcomes"
    words = "More" if page.lines else "No matches so far: search further"
    links = []
    if not is_first:
        first = link(path, outcome=outcome) + "#outcomes"
        links.append(html('<a href="{href}">First page</a>', href=first))
    if page.after:
        links.append(html('<a rel="next" href="{href}">{words}</a>', href=following, words=words))
    table = html(_TABLE, noun=noun.capitalize(), rows=join(map(_line, page.lines)))
    if not page.lines:
        nothing = (
            "No results" if record.done else "No results yet; they appear as each part finishes"
        )
        table = html('<p class="empty">{text}</p>', text=nothing)
    return html(
        _SECTION,
        noun=noun,
        chips=join(_chips(record, outcome)),
        reasons=_reasons(why, noun) if why and why.counts else Html(),
        table=table,
        more=html('<p class="more">{links}</p>', links=join(links)) if links else Html(),
        download=link(f"{path}/outcomes.jsonl", outcome=outcome),
    )


def _chips(record: OperationRecord, chosen: str) -> Sequence[Html]:
    path = operation_path(record)
    counts = record.outcome_counts
    known = {str(outcome): counts.of(outcome) for outcome in SHOWN if counts.of(outcome)}
    if chosen:
        known.setdefault(chosen, 0)  # shown even if no file has it yet
    chips = [("", "all", counts.done), *((name, name, number) for name, number in known.items())]
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
            "<li><b>{number}</b><div><code>{code}</code> {reason}{fault}</div></li>",
            number=f"{number:,} ×",
            code=code,
            reason=reason,
            fault=_fault(fault),
        )
        for (code, reason, fault), number in why.counts.most_common()
    )
    heading = f"Why {noun}s failed" + ("" if why.is_complete else ", in the part that was searched")
    return html(
        '<h3>{heading}</h3><ul class="reasons">{items}</ul>', heading=heading, items=join(items)
    )


def _fault(text: str) -> Html:
    return html(" <small>{text}</small>", text=text) if text else Html()


def _line(line: dict[str, Any]) -> Html:
    why = html(
        "<code>{code}</code> {reason}{fault}",
        code=line.get("code", ""),
        reason=line.get("reason", ""),
        fault=_fault(line.get("fault", "")),
    )
    uid = html('<small class="uid">{uid}</small>', uid=line.get("sopInstanceUid", ""))
    derived = html(
        '<small class="uid">written as {uid}</small>', uid=line.get("derivedSopInstanceUid", "")
    )
    other = html("<small>the other: {uri}</small>", uri=line.get("other", ""))
    return html(
        _LINE,
        source=html("<bdi>{uri}</bdi>", uri=line["source"]),
        uid=uid if "sopInstanceUid" in line else Html(),
        derived=derived if "derivedSopInstanceUid" in line else Html(),
        other=other if "other" in line else Html(),
        outcome=line["outcome"],
        why=why if "code" in line else Html(),
        size=formatting.size(line.get("bytes", 0)),
    )
