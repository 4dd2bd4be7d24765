"""Views of one operation: its state and progress, what comes next, and what was asked."""

from collections.abc import Sequence

from dicomferry.console.views import formatting
from dicomferry.console.views.layout import definitions
from dicomferry.console.views.markup import Html, html, join, link, prose
from dicomferry.console.views.operations import LIVE, operation_path
from dicomferry.console.views.progress import progress_bar, progress_line
from dicomferry.jobs.next_steps import NextStep
from dicomferry.operations.record import OperationRecord
from dicomferry.operations.state import has_reached_end

_TOP = """<section class="operation"{live}>
{path}
<h1>{verb} {state}</h1>
{bar}<p class="progress">{progress}</p>
{problems}<p class="about">{about}</p></section>"""
_NEXT = """<section class="next"><h2>Next</h2>
<ul>{steps}</ul></section>"""
_STEP = """<li><p>{purpose}</p><p><code class="command">{command}</code></p></li>"""
_REQUEST = """<section><h2>Request</h2>
{facts}</section>"""


def operation_section(record: OperationRecord) -> Html:
    """Show one operation and its progress; the script reloads it while it runs."""
    href = link(operation_path(record), part="operation")
    return html(
        _TOP,
        live=Html() if record.done else html(LIVE, href=href, seconds=2),
        path=_store_link(record),
        verb=record.metadata.method.verb,
        state=formatting.state(record),
        bar=progress_bar(record),
        progress=progress_line(record),
        problems=join(_problems(record)),
        about=_about(record),
    )


def cancel_link(record: OperationRecord) -> Html:
    """Return a link to the page that asks whether to cancel an operation."""
    return html(
        '<p class="links"><a href="{href}">Cancel</a></p>',
        href=link(f"{operation_path(record)}/cancel"),
    )


def next_section(steps: Sequence[NextStep]) -> Html:
    """Show the commands that make sense now; the script adds a button that copies each."""
    if not steps:
        return Html()
    items = (html(_STEP, purpose=step.purpose, command=step.command) for step in steps)
    return html(_NEXT, steps=join(items))


def request_section(record: OperationRecord) -> Html:
    """Show what was asked for, and where its record is."""
    facts: list[tuple[str, str | Html]] = []
    if record.asked:
        flags = record.asked.flags.items()
        facts += [(name.replace("_", " ").capitalize(), value) for name, value in flags]
    facts += [("Operation", record.name), ("Results", record.metadata.logs_url)]
    if record.asked:
        facts.append(("Version", record.asked.version))
    return html(_REQUEST, facts=definitions(facts))


def _about(record: OperationRecord) -> Html:
    """Return who asked for it, when it started and how long it took."""
    metadata = record.metadata
    seconds = formatting.seconds_between(metadata.create_time, metadata.end_time)
    took = f"took {formatting.duration(seconds)}"
    if not record.done:
        took = f"for {formatting.duration(seconds)} so far"
    who = record.asked.principal if record.asked else ""
    return html(
        "{who} {time}, {took}",
        who=html("Requested by <b><bdi>{name}</bdi></b>, started", name=who)
        if who
        else Html("Started"),
        time=formatting.moment(metadata.create_time),
        took=took,
    )


def _problems(record: OperationRecord) -> list[Html]:
    """Return why it ended early, and what follows the store and did not get all of it."""
    error = Html()
    if record.error:
        error = html(
            '<p class="problem{kind}">{text}</p>',
            kind=" warn" if has_reached_end(record) else "",
            text=prose(record.error.message),
        )
    behind = (
        html('<p class="problem warn">{text}</p>', text=f"{each.resource}: {each.message}")
        for each in record.metadata.lagging
    )
    return [error, *behind]


def _store_link(record: OperationRecord) -> Html:
    if not record.store.id:
        return Html()
    return html(
        '<p class="path"><a href="{href}">{store}</a></p>',
        href=link(f"/console/{record.store}"),
        store=record.store.id,
    )
