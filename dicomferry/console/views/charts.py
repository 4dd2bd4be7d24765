"""Charts of counts as inline SVG, each with a table of the same numbers."""

from collections.abc import Sequence

from dicomferry.console.queries.survey import Bar, Survey
from dicomferry.console.views.markup import Html, html, join

_WIDTH, _ROW = 320, 36
_LABEL_CHARACTERS = 34
_SECTION = """<section id="charts"{live}><h2>Contents</h2>
{content}</section>"""
_LIVE = ' data-live="{href}" data-seconds="2"'
_CHART = """<figure class="chart"><figcaption><h3>{title}</h3></figcaption>
<svg viewBox="0 0 320 {height}" role="img" aria-labelledby="{id}-title {id}-desc">
<title id="{id}-title">{title}</title><desc id="{id}-desc">{words}</desc>
{bars}</svg>
<details><summary>{title} as a table</summary><table><thead><tr><th scope="col">{title}</th>
<th scope="col" class="number">{unit}</th></tr></thead><tbody>{rows}</tbody></table></details>
</figure>"""
_BAR = """<text x="0" y="{top}">{label}</text>
<text x="320" y="{top}" text-anchor="end">{count:,}</text>
<rect class="track" x="0" y="{below}" width="320" height="8" rx="2"/>
<rect class="part" x="0" y="{below}" width="{width:.1f}" height="8" rx="2"/>"""
_ROW_OF_TABLE = '<tr><th scope="row">{label}</th><td class="number">{count:,}</td></tr>'


def charts_section(counted: Survey | None, *, is_known: bool, count: int, href: str) -> Html:
    """Show what a store has.

    Args:
        counted: the counts; None: too large to count.
        is_known: whether they were counted, or tried to be.
        count: of instances, by the log.
        href: of this section, for the script that reloads it until it is known.
    """
    if not is_known:
        content = html('<p class="counting">{text}</p>', text="counting …")
    elif counted is None:
        text = f"{count:,} instances are too many to be counted for charts."
        content = html('<p class="empty">{text}</p>', text=text)
    elif not count:
        content = html('<p class="empty">{text}</p>', text="No instances yet.")
    else:
        content = _charts(counted)
    live = Html() if is_known else html(_LIVE, href=href)
    return html(_SECTION, live=live, content=content)


def chart(name: str, title: str, unit: str, bars: Sequence[Bar]) -> Html:
    """Draw a chart.

    Args:
        name: of the chart, for ids on the page.
        title: what it is about.
        unit: what is counted.
        bars: in their order.
    """
    largest = max((bar.number for bar in bars), default=0) or 1
    drawn = (
        html(
            _BAR,
            top=_ROW * row + 14,
            below=_ROW * row + 20,
            label=_shortened(bar.label),
            count=bar.number,
            # One of a million is visible, too.
            width=max(_WIDTH * bar.number / largest, 2.0),
        )
        for row, bar in enumerate(bars)
    )
    return html(
        _CHART,
        id=f"chart-{name}",
        title=title,
        unit=unit,
        height=_ROW * len(bars),
        words="; ".join(f"{bar.label}: {bar.number:,} {unit}" for bar in bars),
        bars=join(drawn),
        rows=join(html(_ROW_OF_TABLE, label=bar.label, count=bar.number) for bar in bars),
    )


def _charts(counted: Survey) -> Html:
    charts = [
        chart("modalities", "Modalities", "instances", counted.modalities),
        chart("syntaxes", "Transfer syntaxes", "instances", counted.syntaxes),
        chart("sizes", "Sizes", "instances", counted.sizes),
    ]
    if counted.dates is not None:
        charts.append(chart("dates", "Study dates", "studies", counted.dates))
    note = html(
        '<p class="about">{text}</p>', text="Study dates are not counted in a store of this size."
    )
    return html(
        '<div class="charts">{charts}</div>{note}',
        charts=join(charts),
        note=note if counted.dates is None else Html(),
    )


def _shortened(label: str) -> str:
    return label if len(label) <= _LABEL_CHARACTERS else f"{label[: _LABEL_CHARACTERS - 1]}…"
