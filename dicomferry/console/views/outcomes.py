"""View of the outcome of every file: filters, and a page of the list."""

from collections.abc import Sequence
from typing import Any

from dicomferry.console.queries.outcomes import OutcomesFilter, OutcomesPage
from dicomferry.console.views import formatting
from dicomferry.console.views.forms import field, filters
from dicomferry.console.views.markup import Html, html, join, link
from dicomferry.console.views.operations import operation_path
from dicomferry.console.views.progress import SHOWN
from dicomferry.operations.record import OperationRecord

_SECTION = """<section id="outcomes"><h2>Outcome of every {noun}</h2>
<nav aria-label="Outcomes">{chips}</nav>
{form}{table}{more}
<p class="links"><a href="{download}" download>Download as JSON Lines</a></p></section>"""
_TABLE = """<table class="outcomes"><thead><tr><th>{noun}</th><th>Outcome</th><th>Why</th>
<th class="number">Size</th></tr></thead><tbody>{rows}</tbody></table>"""
_LINE = """<tr><td class="uri">{source}{uid}{derived}{other}</td>
<td><span class="outcome {outcome}">{outcome}</span></td>
<td>{why}</td><td class="number">{size}</td></tr>"""


def outcomes_section(
    record: OperationRecord, page: OutcomesPage, wanted: OutcomesFilter, *, is_first: bool
) -> Html:
    """Show a page of outcomes, with a form that limits them."""
    path, query = operation_path(record), wanted._asdict()
    noun = record.metadata.method.noun
    following = link(path, **query, after=page.after) + "#outcomes"
    words = "More" if page.lines else "No matches so far: search further"
    links = []
    if not is_first:
        first = link(path, **query) + "#outcomes"
        links.append(html('<a href="{href}">First page</a>', href=first))
    if page.after:
        links.append(html('<a rel="next" href="{href}">{words}</a>', href=following, words=words))
    table = html(_TABLE, noun=noun.capitalize(), rows=join(map(_line, page.lines)))
    if not page.lines:
        nothing = "No results yet; they appear as each part finishes"
        if record.done:
            nothing = "No results" if wanted == OutcomesFilter() else "No results match."
        table = html('<p class="empty">{text}</p>', text=nothing)
    return html(
        _SECTION,
        noun=noun,
        chips=join(_chips(record, wanted)),
        form=_form(record, wanted) if page.lines or wanted != OutcomesFilter() else Html(),
        table=table,
        more=html('<p class="more">{links}</p>', links=join(links)) if links else Html(),
        download=link(f"{path}/outcomes.jsonl", **query),
    )


def _form(record: OperationRecord, wanted: OutcomesFilter) -> Html:
    fields = [
        field("Code", "code", wanted.code),
        field("Text in the name", "text", wanted.text),
    ]
    return filters(
        fields,
        f"{operation_path(record)}#outcomes",
        {"outcome": wanted.outcome},
        is_limited=bool(wanted.code or wanted.text),
    )


def _chips(record: OperationRecord, wanted: OutcomesFilter) -> Sequence[Html]:
    path, chosen = operation_path(record), wanted.outcome
    counts = record.outcome_counts
    known = {str(outcome): counts.of(outcome) for outcome in SHOWN if counts.of(outcome)}
    if chosen:
        known.setdefault(chosen, 0)  # shown even if no file has it yet
    chips = [("", "all", counts.done), *((name, name, number) for name, number in known.items())]
    return [
        html(
            '<a href="{href}"{current}>{words}</a>',
            href=link(path, **wanted._replace(outcome=value)._asdict()) + "#outcomes",
            current=Html(' aria-current="page"' if value == chosen else ""),
            words=f"{words} {number:,}" if number else words,
        )
        for value, words, number in chips
    ]


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
