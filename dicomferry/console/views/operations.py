"""View of operations: the newest as rows, with a form that limits them."""

from dicomferry.console.queries.operations import OperationsFilter, OperationsPage
from dicomferry.console.views import formatting
from dicomferry.console.views.forms import choice, field, filters
from dicomferry.console.views.markup import Html, html, join, link
from dicomferry.console.views.progress import progress_bar, progress_line
from dicomferry.operations.record import Method, OperationRecord
from dicomferry.operations.state import State

LIVE = ' data-live="{href}" data-seconds="{seconds}"'
_SECTION = """<section class="operations" aria-label="Operations"{live}>
{rows}{more}</section>"""
_HEAD = """<h2 id="operations">Operations</h2>
{form}"""
_ROW = """<li><div class="head"><a href="{href}">{verb} · {store}</a>{state}{time}</div>
{bar}<p class="progress">{progress}</p></li>"""
_NONE = """<p class="empty">No operations yet.
Start with <code>dicomferry import STORE '/data/**'</code>.</p>"""
_METHODS = {
    Method.IMPORT: "import",
    Method.EXPORT: "export",
    Method.DELETE_INSTANCES: "delete instances",
    Method.DELETE_STORE: "delete store",
    Method.CREATE_DATASET: "create dataset",
}


def operation_path(record: OperationRecord) -> str:
    """Return the path of an operation's page."""
    return f"/console/{record.name}"


def operations_filter(
    page: OperationsPage, wanted: OperationsFilter, path: str, kept: dict[str, str]
) -> Html:
    """Show the heading of operations, with the form that limits them.

    Args:
        page: of these operations; if there are none at all, there is no form.
        wanted: what they are limited to now.
        path: of the page that they are on.
        kept: what else that page asks for: its dataset; one of a store has no field for it.
    """
    methods = {str(method): name for method, name in _METHODS.items()}
    fields = [
        choice("Method", "method", methods, wanted.method),
        choice("State", "state", {str(state): str(state) for state in State}, wanted.state),
        field("From (UTC)", "first", str(wanted.first or ""), kind="date"),
        field("To (UTC)", "last", str(wanted.last or ""), kind="date"),
    ]
    if kept:
        fields.insert(1, field("Store", "store", wanted.store))
    is_limited = wanted != OperationsFilter()
    form = filters(fields, f"{path}#operations", kept, is_limited=is_limited)
    return html(_HEAD, form=form if page.operations or page.before or is_limited else Html())


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
    live = html(LIVE, href=href, seconds=2 if running else 10)
    words = "Older operations" if rows else "No matches so far: search further"
    return html(
        _SECTION,
        live=live if running or not query.get("before") else Html(),
        rows=html("<ul>{rows}</ul>", rows=rows) if rows else _nothing(query),
        more=html('<p class="more"><a href="{href}">{words}</a></p>', href=older, words=words)
        if page.before
        else Html(),
    )


def _nothing(query: dict[str, str]) -> Html:
    if not any(query.get(name) for name in OperationsFilter._fields):
        return Html(_NONE)
    return html('<p class="empty">{text}</p>', text="No operations match.")


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
