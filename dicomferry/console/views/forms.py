"""Forms that limit what a page lists: they ask for the page again, and change nothing."""

from collections.abc import Iterable, Mapping

from dicomferry.console.views.markup import Html, html, join, link

_FORM = """<form class="filters" method="get" action="{action}" role="search">
{hidden}{fields}<button>Filter</button>{clear}</form>"""
_HIDDEN = '<input type="hidden" name="{name}" value="{value}">'
_FIELD = '<label>{title}<input type="{kind}" name="{name}" value="{value}"></label>'
_CHOICE = (
    '<label>{title}<select name="{name}"><option value="">any</option>{options}</select></label>'
)
_OPTION = '<option value="{value}"{selected}>{words}</option>'


def filters(
    fields: Iterable[Html], path: str, kept: Mapping[str, str], *, is_limited: bool
) -> Html:
    """Return a form.

    Args:
        fields: what can be limited.
        path: of the page, with an anchor in it, if any.
        kept: parameters of the page that stay as they are.
        is_limited: whether something is limited now, so that a link to all is needed.
    """
    hidden = (html(_HIDDEN, name=name, value=value) for name, value in kept.items() if value)
    page, _, anchor = path.partition("#")
    at = f"#{anchor}" if anchor else ""
    return html(
        _FORM,
        action=link(page) + at,
        hidden=join(hidden),
        fields=join(fields),
        clear=html('<a href="{href}">Show all</a>', href=link(page, **kept) + at)
        if is_limited
        else Html(),
    )


def field(title: str, name: str, value: str, *, kind: str = "text") -> Html:
    """Return a field for text, or for a day."""
    return html(_FIELD, title=title, kind=kind, name=name, value=value)


def choice(title: str, name: str, words: Mapping[str, str], chosen: str) -> Html:
    """Return a choice of some values, or any; `words` shows each."""
    options = (
        html(
            _OPTION,
            value=value,
            selected=Html(" selected" if value == chosen else ""),
            words=shown,
        )
        for value, shown in words.items()
    )
    return html(_CHOICE, title=title, name=name, options=join(options))
