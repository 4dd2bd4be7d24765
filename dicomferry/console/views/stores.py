"""Views of stores: those of a dataset, one store, and its pictures."""

from collections.abc import Mapping, Sequence

from pydicom.uid import UID

from dicomferry.console.metrics_cache import Metrics
from dicomferry.console.queries.series import Series, SeriesPage
from dicomferry.console.queries.stores import StoresPage
from dicomferry.console.views import formatting
from dicomferry.console.views.layout import definitions
from dicomferry.console.views.markup import Html, html, join, link
from dicomferry.resource_names import DatasetName
from dicomferry.store.dicom_store import DicomStore

_SECTION = """<section{live}><h2>DICOM stores</h2>
{cards}{more}</section>"""
_CARD = """<article class="store"><h3><a href="{href}">{id}</a></h3>
{labels}{numbers}
<p class="links"><a href="{pictures}">Pictures</a></p></article>"""
_NO_STORES = """<p class="empty">No stores that you have access to.
Create one with <code>dicomferry stores create trial</code>.</p>"""
_LIVE = ' data-live="{href}" data-seconds="{seconds}"'
_STORE = """<p class="path">{parent}</p>
<h1>{id}</h1>
{labels}{numbers}
<p class="links"><a href="{studies}">Studies</a> <a href="{pictures}">Pictures</a>
{changes}</p>
{configuration}"""
_PICTURES = """<p class="path"><a href="{store}">{name}</a></p>
<h1>Pictures</h1>
<p class="about">{about}</p>
{pictures}{more}"""
_FIGURE = """<figure><a href="{href}"><img src="{source}" alt="{modality}, middle frame"
loading="lazy" width="192" height="192"></a>
<figcaption><b>{modality}</b> {instances}{frames}
<small>{size}, {syntax}</small>
<small class="uid" title="{study}">study {study}</small>
<small class="uid" title="{uid}">series {uid}</small></figcaption></figure>"""


def store_path(store: DicomStore) -> str:
    """Return the path of a store's page."""
    return f"/console/{store.name}"


def datasets_nav(names: Sequence[DatasetName], chosen: DatasetName) -> Html:
    """Return links to the datasets, if there are several."""
    if len(names) < 2:
        return Html()
    links = (
        html(
            '<a href="{href}"{current}>{name}</a>',
            href=link("/", dataset=str(name)),
            current=Html(' aria-current="page"' if name == chosen else ""),
            name=name,
        )
        for name in names
    )
    return html('<nav aria-label="Datasets">{links}</nav>', links=join(links))


def stores_section(
    parent: DatasetName, page: StoresPage, metrics: Mapping[str, Metrics | None], after: str
) -> Html:
    """Show the stores of a dataset as cards; the script reloads it while some are being counted."""
    href = link("/", dataset=str(parent), after=after, part="stores")
    is_counting = any(metrics[str(store.name)] is None for store in page.stores)
    following = link("/", dataset=str(parent), after=page.after)
    more = html('<p class="more"><a href="{href}">More stores</a></p>', href=following)
    cards = join(_card(store, metrics[str(store.name)]) for store in page.stores)
    return html(
        _SECTION,
        live=html(_LIVE, href=href, seconds=2) if is_counting else Html(),
        cards=html('<div class="stores">{cards}</div>', cards=cards) if cards else Html(_NO_STORES),
        more=more if page.after else Html(),
    )


def store_body(store: DicomStore, metrics: Metrics | None, changes: Sequence[str]) -> Html:
    """Show a store with its metrics, and the topics and tables that get its new instances.

    Args:
        store: which one.
        metrics: of it; None: being counted.
        changes: that may be started: import, export.
    """
    resource = store.resource
    configs = [*resource.get("notificationConfigs", [])]
    configs += [resource["notificationConfig"]] if "notificationConfig" in resource else []
    pairs: list[tuple[str, str | Html]] = [
        ("Publishes to", config["pubsubTopic"]) for config in configs if config.get("pubsubTopic")
    ]
    pairs += [
        ("Streams to", config.get("bigqueryDestination", {}).get("tableUri", ""))
        for config in resource.get("streamConfigs", [])
    ]
    return html(
        _STORE,
        parent=store.name.parent,
        id=store.name.id,
        labels=_labels(store),
        numbers=_numbers(metrics),
        changes=join(
            html(
                '<a href="{href}">{words}</a>',
                href=link(f"{store_path(store)}/{verb}"),
                words=verb.capitalize(),
            )
            for verb in changes
        ),
        studies=link(f"{store_path(store)}/studies"),
        pictures=link(f"{store_path(store)}/preview"),
        configuration=definitions(pairs) if pairs else Html(),
    )


def pictures_body(
    store: DicomStore, page: SeriesPage, metrics: Metrics | None, is_first: bool
) -> Html:
    """Show a page of a store's series, ordered by study."""
    path = f"{store_path(store)}/preview"
    links = []
    if not is_first:
        links.append(html('<a href="{href}">First page</a>', href=link(path)))
    if page.after:
        following = link(path, after=page.after)
        links.append(html('<a rel="next" href="{href}">More series</a>', href=following))
    about = "Each picture is the middle frame of the middle instance of a series."
    if metrics and page.series:
        about = f"{formatting.number(metrics['seriesCount'])} series in total. {about}"
    figures = join(_figure(store, series) for series in page.series)
    nothing = html('<p class="empty">{text}</p>', text="No instances yet.")
    return html(
        _PICTURES,
        store=link(store_path(store)),
        name=store.name.id,
        about=about,
        pictures=html('<div class="pictures">{figures}</div>', figures=figures)
        if figures
        else nothing,
        more=html('<p class="more">{links}</p>', links=join(links)) if links else Html(),
    )


def _card(store: DicomStore, metrics: Metrics | None) -> Html:
    return html(
        _CARD,
        href=link(store_path(store)),
        id=store.name.id,
        labels=_labels(store),
        numbers=_numbers(metrics),
        pictures=link(f"{store_path(store)}/preview"),
    )


def _labels(store: DicomStore) -> Html:
    labels = store.resource.get("labels", {})
    if not labels:
        return Html()
    items = (
        html("<li>{key}<b>{value}</b></li>", key=key, value=value)
        for key, value in sorted(labels.items())
    )
    return html('<ul class="labels">{items}</ul>', items=join(items))


def _numbers(metrics: Metrics | None) -> Html:
    if metrics is None:
        return html('<p class="counting">{text}</p>', text="counting …")
    pairs = [
        ("studies", formatting.number(metrics["studyCount"])),
        ("series", formatting.number(metrics["seriesCount"])),
        ("instances", formatting.number(metrics["instanceCount"])),
        ("stored", formatting.size(int(metrics["blobStorageSizeBytes"]))),
    ]
    items = (html("<div><dd>{n}</dd><dt>{what}</dt></div>", n=n, what=what) for what, n in pairs)
    return html('<dl class="numbers">{items}</dl>', items=join(items))


def _figure(store: DicomStore, series: Series) -> Html:
    # The path of a blob has the UIDs and the checksum, so it serves as a link, too.
    place = series.blob.partition("/")[2].removesuffix(".dcm")
    frames = (
        f", {formatting.count(series.frames, 'frame')}" if series.frames != series.instances else ""
    )
    return html(
        _FIGURE,
        href=link(f"{store_path(store)}/studies/{series.study}/series/{series.uid}"),
        source=link(f"{store_path(store)}/pictures/{place}"),
        modality=series.modality or "no modality",
        instances=formatting.count(series.instances, "instance"),
        frames=frames,
        size=formatting.size(series.size),
        syntax=UID(series.transfer_syntax).name,
        study=series.study,
        uid=series.uid,
    )
