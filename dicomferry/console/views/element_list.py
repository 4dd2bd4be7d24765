"""View of the elements of one instance, which is patient data."""

from dicomferry.console.queries.element_list import ElementList, ElementText
from dicomferry.console.views.markup import Html, html, join

_TABLE = """<p class="problem warn">{warning}</p>
<table class="elements"><thead><tr><th scope="col">Tag</th><th scope="col">Name</th>
<th scope="col">VR</th><th scope="col">Value</th></tr></thead><tbody>{rows}</tbody></table>{rest}"""
_ROW = """<tr><td class="tag depth-{depth}">{tag}</td><td>{keyword}</td><td>{vr}</td>
<td><bdi>{text}</bdi></td></tr>"""
_WARNING = "This is patient data. Long values are shortened; binary values appear as their size."


def elements_table(listed: ElementList) -> Html:
    """Show elements in a table, those of items indented."""
    rest = html(
        '<p class="about">{text}</p>',
        text="There are more elements: download the instance.",
    )
    return html(
        _TABLE,
        warning=_WARNING,
        rows=join(map(_row, listed.elements)),
        rest=Html() if listed.is_complete else rest,
    )


def _row(element: ElementText) -> Html:
    tag = element.tag
    is_tag = len(tag) == 8 and " " not in tag
    return html(
        _ROW,
        depth=min(element.depth, 5),
        tag=f"({tag[:4]},{tag[4:]})" if is_tag else tag,
        keyword=element.keyword,
        vr=element.vr,
        text=element.text,
    )
