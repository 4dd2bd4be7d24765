"""View of what a person has to look at: why files failed, how many, and which."""

from dicomferry.console.queries.outcomes import EXAMPLES, Problems, Why
from dicomferry.console.views import formatting
from dicomferry.console.views.markup import Html, html, join, link
from dicomferry.console.views.operations import operation_path
from dicomferry.operations.outcomes import Outcome
from dicomferry.operations.record import OperationRecord

_SECTION = """<section class="problems"><h2>{heading}</h2>
<ul class="reasons">{items}</ul></section>"""
_ITEM = """<li><b>{number}</b><div>
<p><span class="outcome {outcome}">{outcome}</span> <code>{code}</code> {reason}{fault}</p>
<ul>{examples}</ul>{more}</div></li>"""


def problems_section(record: OperationRecord, problems: Problems | None) -> Html:
    """Show why files failed, each reason with its first files."""
    if not problems or not problems.counts:
        return Html()
    noun = record.metadata.method.noun
    heading = f"Why {noun}s failed"
    if not problems.is_complete:
        heading += ", in the part that was searched"
    # Failures come before conflicts, and the most frequent ones first.
    ordered = sorted(
        problems.counts.items(), key=lambda item: (item[0].outcome != Outcome.FAILED, -item[1])
    )
    items = (_item(record, why, number, problems.examples[why]) for why, number in ordered)
    return html(_SECTION, heading=heading, items=join(items))


def _item(record: OperationRecord, why: Why, number: int, examples: list[str]) -> Html:
    href = link(operation_path(record), outcome=why.outcome, code=why.code) + "#outcomes"
    words = f"All {formatting.count(number, record.metadata.method.noun)}"
    more = html('<p class="links"><a href="{href}">{words}</a></p>', href=href, words=words)
    return html(
        _ITEM,
        number=f"{number:,} ×",
        outcome=why.outcome,
        code=why.code,
        reason=why.reason,
        fault=html(" <small>{text}</small>", text=why.fault) if why.fault else Html(),
        examples=join(html("<li><bdi>{uri}</bdi></li>", uri=uri) for uri in examples),
        more=more if number > EXAMPLES else Html(),
    )
