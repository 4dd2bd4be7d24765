"""Views of the studies, series and instances of a store: UIDs and counts, no patient data."""

from collections.abc import Sequence

from pydicom.uid import UID

from dicomferry.console.queries.walk import Page, StoredRow, Study, StudySeries
from dicomferry.console.views import formatting
from dicomferry.console.views.layout import definitions
from dicomferry.console.views.markup import Html, html, join, link
from dicomferry.console.views.stores import store_path
from dicomferry.store.dicom_store import DicomStore

_NO_MORE = Html()
_BODY = """<nav class="crumbs" aria-label="Breadcrumb">{crumbs}</nav>
<h1>{title}{uid}</h1>
{content}{more}"""
_TABLE = """<table class="outcomes"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"""
_STUDY = """<tr><td class="uri"><a class="uid" href="{href}">{uid}</a></td><td>{modalities}</td>
<td class="number">{series}</td><td class="number">{instances}</td>
<td class="number">{size}</td></tr>"""
_SERIES = """<figure><a href="{href}"><img src="{source}" alt="{modality}, middle frame"
loading="lazy" width="192" height="192"></a>
<figcaption><b>{modality}</b> {instances}{frames} <small>{size}</small>
<small class="uid"><a href="{href}">{uid}</a></small></figcaption></figure>"""
_INSTANCE = """<tr><td class="uri"><a class="uid" href="{href}">{uid}</a></td><td>{sop_class}</td>
<td>{syntax}</td>{frames}<td class="number">{size}</td></tr>"""
_FRAMES = '<td class="number">{frames}</td>'
_ONE = """<div class="instance"><figure><img src="{source}" alt="Middle frame of the instance"
width="192" height="192"></figure>{facts}</div>{actions}"""


def studies_body(store: DicomStore, page: Page, *, is_first: bool) -> Html:
    """Show a page of a store's studies."""
    path = f"{store_path(store)}/studies"
    heads = ("Study", "Modalities", "*Series", "*Instances", "*Size")
    rows = join(_study(path, study) for study in page.rows)
    nothing = "No studies yet." if is_first else "No more studies."
    return _body(
        [(store_path(store), store.name.id)],
        ("Studies", ""),
        _table(heads, rows) if rows else _nothing(nothing),
        _more(path, page.after, "More studies", is_first=is_first),
    )


def study_body(store: DicomStore, study: str, page: Page, *, is_first: bool) -> Html:
    """Show a page of a study's series, with a picture each."""
    studies = f"{store_path(store)}/studies"
    path = f"{studies}/{study}"
    figures = join(_series(store, path, series) for series in page.rows)
    return _body(
        [(store_path(store), store.name.id), (studies, "Studies")],
        ("Study", study),
        html('<div class="pictures">{figures}</div>', figures=figures)
        if figures
        else _nothing("No more series."),
        _more(path, page.after, "More series", is_first=is_first),
    )


def series_body(
    store: DicomStore, uids: Sequence[str], page: Page, actions: Html, *, is_first: bool
) -> Html:
    """Show a page of a series' instances."""
    study, series = uids
    path = f"{store_path(store)}/studies/{study}/series/{series}"
    frames = ["*Frames"] if any(row.frames > 1 for row in page.rows) else []
    heads = ["Instance", "SOP class", "Transfer syntax", *frames, "*Size"]
    rows = join(_instance(path, row, with_frames=bool(frames)) for row in page.rows)
    table = _table(heads, rows) if rows else _nothing("No more instances.")
    return _body(
        _crumbs(store, study),
        ("Series", series),
        html("{table}{actions}", table=table, actions=actions),
        _more(path, page.after, "More instances", is_first=is_first),
    )


def instance_body(store: DicomStore, uids: Sequence[str], row: StoredRow, actions: Html) -> Html:
    """Show one instance; by the index, one without pixels has one frame, so that is not shown."""
    study, series, uid = uids
    facts: list[tuple[str, str | Html]] = [
        ("SOP class", UID(row.sop_class).name),
        ("Stored as", UID(row.transfer_syntax).name),
        *([("Frames", formatting.number(row.frames))] if row.frames > 1 else []),
        ("Size", formatting.size(row.size)),
    ]
    content = html(
        _ONE,
        source=picture_path(store, row.blob),
        facts=definitions(facts),
        actions=actions,
    )
    return _body(_crumbs(store, study, series), ("Instance", uid), content)


def instance_crumbs(store: DicomStore, uids: Sequence[str]) -> list[tuple[str, str]]:
    """Return what leads to a page of an instance."""
    study, series, uid = uids
    path = f"{store_path(store)}/studies/{study}/series/{series}/instances/{uid}"
    return [*_crumbs(store, study, series), (path, "Instance")]


def walk_body(crumbs: Sequence[tuple[str, str]], title: tuple[str, str], content: Html) -> Html:
    """Show content with what leads to it; a title is words and a UID."""
    return _body(crumbs, title, content)


def picture_path(store: DicomStore, blob: str) -> str:
    """Return the link to the picture of a blob, whose path has the UIDs and the checksum."""
    return link(f"{store_path(store)}/pictures/{blob.partition('/')[2].removesuffix('.dcm')}")


def _crumbs(store: DicomStore, study: str, series: str = "") -> list[tuple[str, str]]:
    path = store_path(store)
    crumbs = [
        (path, store.name.id),
        (f"{path}/studies", "Studies"),
        (f"{path}/studies/{study}", "Study"),
    ]
    return [*crumbs, (f"{path}/studies/{study}/series/{series}", "Series")] if series else crumbs


def _body(
    crumbs: Sequence[tuple[str, str]], title: tuple[str, str], content: Html, more: Html = _NO_MORE
) -> Html:
    links = [
        html('<a href="{href}">{words}</a>', href=link(at), words=words) for at, words in crumbs
    ]
    uid = html(' <small class="uid">{uid}</small>', uid=title[1])
    return html(
        _BODY,
        crumbs=join(links),
        title=title[0],
        uid=uid if title[1] else Html(),
        content=content,
        more=more,
    )


def _table(heads: Sequence[str], rows: Html) -> Html:
    cells = (
        html(
            '<th scope="col"{kind}>{head}</th>',
            kind=Html(' class="number"') if head.startswith("*") else Html(),
            head=head.removeprefix("*"),
        )
        for head in heads
    )
    return html(_TABLE, heads=join(cells), rows=rows)


def _nothing(text: str) -> Html:
    return html('<p class="empty">{text}</p>', text=text)


def _more(path: str, after: str, words: str, *, is_first: bool) -> Html:
    links = []
    if not is_first:
        links.append(html('<a href="{href}">First page</a>', href=link(path)))
    if after:
        following = link(path, after=after)
        links.append(html('<a rel="next" href="{href}">{words}</a>', href=following, words=words))
    return html('<p class="more">{links}</p>', links=join(links)) if links else Html()


def _study(path: str, study: Study) -> Html:
    return html(
        _STUDY,
        href=link(f"{path}/{study.uid}"),
        uid=study.uid,
        modalities=", ".join(modality or "no modality" for modality in study.modalities),
        series=formatting.count(study.series, "series").replace("seriess", "series"),
        instances=formatting.count(study.instances, "instance"),
        size=formatting.size(study.size),
    )


def _series(store: DicomStore, path: str, series: StudySeries) -> Html:
    frames = f", {formatting.count(series.frames, 'frame')}"
    return html(
        _SERIES,
        href=link(f"{path}/series/{series.uid}"),
        source=picture_path(store, series.blob),
        modality=series.modality or "no modality",
        instances=formatting.count(series.instances, "instance"),
        frames=frames if series.frames not in (0, series.instances) else "",
        size=formatting.size(series.size),
        uid=series.uid,
    )


def _instance(path: str, row: StoredRow, *, with_frames: bool) -> Html:
    frames = html(_FRAMES, frames=formatting.count(row.frames, "frame") if row.frames > 1 else "")
    return html(
        _INSTANCE,
        href=link(f"{path}/instances/{row.uid}"),
        uid=row.uid,
        sop_class=UID(row.sop_class).name,
        syntax=UID(row.transfer_syntax).name,
        frames=frames if with_frames else Html(),
        size=formatting.size(row.size),
    )
