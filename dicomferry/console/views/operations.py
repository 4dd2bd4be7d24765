"""Views of operations: the newest as rows, and one with its progress."""

from dicomferry.console.queries.stores import OperationsPage
from dicomferry.console.views import formatting
from dicomferry.console.views.layout import definitions
from dicomferry.console.views.markup import Html, html, join, link
from dicomferry.console.views.progress import progress_bar, progress_line
from dicomferry.operations.record import OperationRecord
from dicomferry.operations.state import has_reached_end

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
        bar=progress_bar(record),
        progress=progress_line(record),
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
        bar=progress_bar(record),
        progress=progress_line(record),
    )


def _store_link(record: OperationRecord) -> Html:
    if not record.store.id:
        return Html()
    return html(
        '<p class="path"><a href="{href}">{store}</a></p>',
        href=link(f"/console/{record.store}"),
        store=record.store.id,
    )
