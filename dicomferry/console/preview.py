"""Self-contained page with a thumbnail of each series of a store, without patient data."""

import functools
import html
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pydicom.uid import UID

from dicomferry.errors import InstanceError, Reason
from dicomferry.operations.faults import fails_alone
from dicomferry.pixels.render.thumbnail import Thumbnail, thumbnail
from dicomferry.storage.base import Storage
from dicomferry.store.index import Index
from dicomferry.store.instance_filter import InstanceFilter
from dicomferry.transforms.worker_pool import WorkerPool

_PIXELS = 192
_SECONDS = 60.0
_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem; background: #f6f7f8; color: #1c2126 }
h1 { font-size: 1.4rem; margin: 0 0 .3rem } p { margin: 0 0 1.2rem; color: #5a646e }
main { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(216px, 1fr)) }
figure { margin: 0; padding: 12px; background: #fff; border: 1px solid #dde2e6; border-radius: 8px }
figure > div { height: 192px; display: grid; place-items: center; background: #101316;
  border-radius: 4px; color: #aeb8c1; text-align: center; overflow: hidden }
figure > div span { padding: 0 1rem; max-width: 100%; overflow-wrap: anywhere }
img { max-width: 100%; max-height: 192px }
figcaption { margin-top: 9px } b { font-size: 1.05rem } small { color: #5a646e; display: block;
  overflow-wrap: anywhere }
"""


class Series(NamedTuple):
    """One series of a study and the instance that is shown for it.

    A Series Instance UID in two studies is a series of each: see docs/odd-files.md.

    Attributes:
        study: (0020,000D) Study Instance UID.
        uid: (0020,000E) Series Instance UID.
        modality: (0008,0060).
        instances: number of them.
        frames: of all instances.
        size: bytes of all blobs.
        transfer_syntax: of the instance shown.
        blob: of the instance shown.
        blob_size: bytes.
    """

    study: str
    uid: str
    modality: str
    instances: int
    frames: int
    size: int
    transfer_syntax: str
    blob: str
    blob_size: int


def preview_page(
    data: Storage, title: str, paths: InstanceFilter | None, workers: int
) -> Iterator[str]:
    """Yield the page in pieces, one per series; a pool of processes draws the pictures."""
    all_series = series_of(data, paths=paths)
    instances = sum(series.instances for series in all_series)
    frames = sum(series.frames for series in all_series)
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
    yield f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>"
    yield f"<h1>{html.escape(title)}</h1><p>{len(all_series):,} series, "
    yield f"{instances:,} instances, {frames:,} frames</p><main>"
    pool = WorkerPool(workers)
    chunks = ([(series.blob, series.blob_size)] for series in all_series)
    draw = functools.partial(draw_all, data=data)
    pictures = pool.map(draw, chunks, on_worker_lost, lambda _: _SECONDS)
    for series, (picture,) in zip(all_series, pictures, strict=True):
        yield _figure(series, picture)
    pool.close()
    yield "</main></html>\n"


def series_of(
    data: Storage, *, paths: InstanceFilter | None = None, uids: Sequence[str] | None = None
) -> list[Series]:
    """Return the series of a store by modality, each with its middle instance.

    Args:
        data: the store's.
        paths: only series with instances below these paths, if given.
        uids: only these series, if given.
    """
    index = Index(data).dataset()
    columns = [
        "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "TransferSyntaxUID",
        "Modality", "NumberOfFrames", "BlobUri", "BlobStorageSize",
    ]  # fmt: skip
    row_filter = None
    if uids is not None:
        values, field = pa.array(uids, pa.string()), pc.field("SeriesInstanceUID")
        # The bounds let whole files be skipped by their statistics.
        row_filter = (field >= pc.min(values)) & (field <= pc.max(values)) & field.isin(values)
    rows = index.to_table(columns=columns, filter=row_filter)
    if paths:
        rows = rows.filter(paths.mask(rows))
    query = """
        SELECT StudyInstanceUID, SeriesInstanceUID,
          any_value(Modality), count(*), sum(NumberOfFrames),
          sum(BlobStorageSize), middle.TransferSyntaxUID, middle.BlobUri, middle.BlobStorageSize
        FROM (SELECT *, nth_value(rows, cast(ceil(n / 2.0) AS BIGINT)) OVER (
                PARTITION BY StudyInstanceUID, SeriesInstanceUID ORDER BY SOPInstanceUID
                ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS middle
              FROM (SELECT *, rows, count(*) OVER (
                      PARTITION BY StudyInstanceUID, SeriesInstanceUID) AS n FROM rows))
        GROUP BY StudyInstanceUID, SeriesInstanceUID, middle ORDER BY 3, 2, 1"""
    connection = duckdb.connect()
    connection.register("rows", rows)
    return [Series(*row) for row in connection.execute(query).fetchall()]


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


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _figure(series: Series, picture: Thumbnail | InstanceError) -> str:
    if isinstance(picture, Thumbnail):
        shown = f"<img alt='' src='data:image/jpeg;base64,{picture.jpeg}'>"
        size = f"{picture.columns} × {picture.rows}, "
    else:
        shown, size = f"<span>{html.escape(why_not(picture))}</span>", ""
    return (
        f"<figure><div>{shown}</div><figcaption><b>{html.escape(series.modality or 'no modality')}"
        f"</b> {_count(series.instances, 'instance')}, {_count(series.frames, 'frame')}"
        f"<small>{size}{series.size / 1e6:,.1f} MB, "
        f"{html.escape(UID(series.transfer_syntax).name)}</small>"
        f"<small>{html.escape(series.uid)}</small></figcaption></figure>"
    )
