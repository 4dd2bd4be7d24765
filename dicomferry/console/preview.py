"""Self-contained page with a thumbnail of each series of a store, without patient data."""

import functools
import html
from collections.abc import Iterator, Sequence

from pydicom.uid import UID

from dicomferry.console.queries.contents import Contents
from dicomferry.console.queries.series import Series
from dicomferry.console.views import formatting
from dicomferry.errors import InstanceError, Reason
from dicomferry.operations.faults import fails_alone
from dicomferry.pixels.render.thumbnail import Thumbnail, thumbnail
from dicomferry.storage.base import Storage
from dicomferry.transforms.worker_pool import WorkerPool

_PIXELS = 192
_SECONDS = 60.0
_STYLE = """
:root { color-scheme: light dark; --ground: #f5f7f8; --card: #fff; --ink: #1b2429; --soft: #4f5d66;
  --line: #dce3e7 }
@media (prefers-color-scheme: dark) { :root { --ground: #13191d; --card: #1b2328; --ink: #e3e9ec;
  --soft: #a3b1b9; --line: #2c373d } }
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem; background: var(--ground);
  color: var(--ink) }
h1 { font-size: 1.4rem; margin: 0 0 .3rem; overflow-wrap: anywhere }
p { margin: 0 0 .3rem; color: var(--soft) }
main { display: grid; gap: 14px; margin-top: 1.2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(216px, 100%), 1fr)) }
figure { margin: 0; padding: 12px; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; min-width: 0 }
figure > div { height: 192px; display: grid; place-items: center; background: #101316;
  border-radius: 4px; color: #aeb8c1; text-align: center; overflow: hidden }
figure > div span { padding: 0 1rem; max-width: 100%; overflow-wrap: anywhere }
img { max-width: 100%; max-height: 192px }
figcaption { margin-top: 9px } b { font-size: 1.05rem }
small { color: var(--soft); display: block; overflow-wrap: anywhere }
@media (max-width: 640px) { body { margin: 1rem } }
"""


def preview_page(data: Storage, title: str, contents: Contents, workers: int) -> Iterator[str]:
    """Yield the page in pieces, one per series; a pool of processes draws the pictures.

    Args:
        data: data folder of the store.
        title: of the page.
        contents: series to show.
        workers: processes.
    """
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
    yield f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>"
    yield f"<header><h1>{html.escape(title)}</h1>"
    yield "".join(f"<p>{line}</p>" for line in totals(contents)) + "</header><main>"
    pool = WorkerPool(workers)
    chunks = ([(series.blob, series.blob_size)] for series in contents.shown)
    draw = functools.partial(draw_all, data=data)
    pictures = pool.map(draw, chunks, on_worker_lost, lambda _: _SECONDS)
    for series, (picture,) in zip(contents.shown, pictures, strict=True):
        yield _figure(series, picture)
    pool.close()
    yield "</main></html>\n"


def totals(contents: Contents) -> list[str]:
    """Return what there is in all, and, if it is more, how much of it is shown."""
    if not contents.series:
        return ["No instances."]
    lines = [
        f"{contents.series:,} series, {_instances(contents.instances, contents.frames)}, "
        f"{formatting.size(contents.size)}"
    ]
    if len(contents.shown) < contents.series:
        lines.append(
            f"{len(contents.shown):,} of {contents.series:,} series are shown, some of every "
            "modality: --limit shows more, --filter others."
        )
    return lines


def draw_all(blobs: Sequence[tuple[str, int]], data: Storage) -> list[Thumbnail | InstanceError]:
    """Return the picture of each blob, or why it cannot be drawn.

    Args:
        blobs: paths and sizes in bytes.
        data: data folder of the store.
    """
    return [_draw(blob, size, data) for blob, size in blobs]


def _draw(blob: str, size: int, data: Storage) -> Thumbnail | InstanceError:
    try:
        with fails_alone(), data.open(blob, size) as file:
            return thumbnail(file, _PIXELS)
    except InstanceError as error:
        return error.with_traceback(None)


def on_worker_lost(_: tuple[str, int]) -> InstanceError:
    """Return why a blob cannot be drawn whose process ended or hung."""
    return InstanceError(Reason.WORKER_LOST)


def why_not(error: InstanceError) -> str:
    """Return in few words why there is no picture."""
    reason = error.reason.partition(":")[0].partition(";")[0]
    return f"{reason}: {error.fault}" if error.fault else reason


def _instances(instances: int, frames: int) -> str:
    """Return how many there are; frames only where there are more of them.

    An instance without pixels has one frame by the index, and none to see.
    """
    counted = formatting.count(instances, "instance")
    return counted if frames == instances else f"{counted}, {formatting.count(frames, 'frame')}"


def _figure(series: Series, picture: Thumbnail | InstanceError) -> str:
    modality = html.escape(series.modality or "no modality")
    if isinstance(picture, Thumbnail):
        source = f"data:image/jpeg;base64,{picture.jpeg}"
        shown = f"<img alt='{modality}, middle frame' src='{source}'>"
        size = f"{picture.columns} × {picture.rows}, "
    else:
        shown, size = f"<span>{html.escape(why_not(picture))}</span>", ""
    return (
        f"<figure><div>{shown}</div><figcaption><b>{modality}</b> "
        f"{_instances(series.instances, series.frames)}"
        f"<small>{size}{formatting.size(series.size)}, "
        f"{html.escape(UID(series.transfer_syntax).name)}</small>"
        f"<small>{html.escape(series.uid)}</small></figcaption></figure>"
    )
