"""Forms that start an import or an export, and pages that ask whether to go on."""

from collections.abc import Mapping, Sequence

from dicomferry.console.views.layout import definitions
from dicomferry.console.views.markup import Html, html, join, link

_FORM = """<nav class="crumbs" aria-label="Breadcrumb"><a href="{back}">{where}</a></nav>
<h1>{title}</h1><p class="about">{about}</p>
<form class="change" method="post" action="{action}">{fields}<button>Continue</button></form>"""
_CONFIRM = """<nav class="crumbs" aria-label="Breadcrumb"><a href="{back}">{where}</a></nav>
<h1>{title}</h1>{facts}
<form class="change" method="post" action="{action}">{hidden}<button>{yes}</button>
<a href="{back}">No, go back</a></form>"""
_HIDDEN = '<input type="hidden" name="{name}" value="{value}">'
_TEXT = """<label>{title}<input name="{name}" type="text" maxlength="4096" placeholder="{example}"
spellcheck="false" autocomplete="off"{required}></label>"""
_SELECT = '<label>{title}<select name="{name}">{options}</select></label>'
_OPTION = '<option value="{value}">{words}</option>'


def change_form(title: str, about: str, paths: Sequence[str], fields: Sequence[Html]) -> Html:
    """Show a form whose next page asks whether to go on.

    Args:
        title: of the page.
        about: what it does.
        paths: of the form, of what it belongs to, and the name of that.
        fields: to fill in.
    """
    action, back, where = paths
    return html(
        _FORM,
        title=title,
        about=about,
        action=link(action),
        back=link(back),
        where=where,
        fields=join(fields),
    )


def confirm_form(
    title: str,
    facts: Sequence[tuple[str, str]],
    paths: Sequence[str],
    hidden: Mapping[str, str],
    yes: str,
) -> Html:
    """Ask whether to go on.

    Args:
        title: of the page.
        facts: what will be done.
        paths: as for `change_form`.
        hidden: fields of the form.
        yes: words of the button.
    """
    action, back, where = paths
    return html(
        _CONFIRM,
        title=title,
        facts=definitions([(term, value) for term, value in facts if value]),
        action=link(action),
        back=link(back),
        where=where,
        hidden=join(html(_HIDDEN, name=name, value=value) for name, value in hidden.items()),
        yes=yes,
    )


def text_field(title: str, name: str, example: str, *, required: bool = True) -> Html:
    """Return a field for text."""
    mark = Html(" required") if required else Html()
    return html(_TEXT, title=title, name=name, example=example, required=mark)


def choice_field(title: str, name: str, choices: Sequence[tuple[str, str]]) -> Html:
    """Return a choice of values, each with its words."""
    options = (html(_OPTION, value=value, words=words) for value, words in choices)
    return html(_SELECT, title=title, name=name, options=join(options))
