"""The form of a download."""

from collections.abc import Sequence

from dicomferry.console.views.markup import Html, html, join, link
from dicomferry.pixels.formats import Format

_FORM = """<section><h2>Download</h2><form class="filters download" method="get" action="{path}">
<label>Format <select name="format">{options}</select></label>
<button>Download</button></form>{note}</section>"""
_OPTION = '<option value="{value}">{name}</option>'
_NOTE = """<p class="about">DICOM files contain patient data: your token needs the permission
<code>{permission}</code>.</p>"""


def download_form(path: str, offered: Sequence[tuple[Format, str]], missing: str) -> Html:
    """Show a form.

    Args:
        path: of the download.
        offered: formats and their names.
        missing: permission that other formats take; '' if there are no others.
    """
    options = (html(_OPTION, value=form.mime_type, name=name) for form, name in offered)
    note = html(_NOTE, permission=missing) if missing else Html()
    return html(_FORM, path=link(path), options=join(options), note=note)
