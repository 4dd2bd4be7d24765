"""Thumbnails of instances, drawn when a page needs them and cached."""

import base64
import functools
import re
from collections import OrderedDict
from threading import Lock

from dicomferry.console.preview import draw_all, on_worker_lost, why_not
from dicomferry.console.views.markup import Html, html
from dicomferry.dicom.uids import parse_uid
from dicomferry.errors import InstanceError
from dicomferry.pixels.render.thumbnail import Thumbnail
from dicomferry.storage.base import Storage
from dicomferry.store.blobs import blob_path
from dicomferry.transforms.worker_pool import WorkerPool

_SECONDS = 20.0
_MAX_KEPT = 2000  # of about 6 kB
_DIGEST = re.compile(r"[0-9a-f]{1,64}")
_NO_PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 192 192">
<rect width="192" height="192" fill="#101316"/>
<text fill="#aeb8c1" font-family="system-ui, sans-serif" font-size="13" text-anchor="middle">
{lines}</text></svg>"""
_LINE_CHARACTERS = 24


class Pictures:
    """Draws one picture at a time in another process, since a file can crash or hang a decoder."""

    def __init__(self) -> None:
        """Create the cache; the process starts with the first page of pictures."""
        self._pool = WorkerPool(1)
        self._drawing = Lock()
        self._lock = Lock()
        self._is_warm = False
        self._kept: OrderedDict[str, Thumbnail | InstanceError] = OrderedDict()

    def warm(self) -> None:
        """Start the process while the browser loads the page."""
        with self._lock:
            if not self._is_warm:
                self._is_warm = True
                self._pool.warm(draw_all)

    def get(self, data: Storage, blob: str, size: int) -> Thumbnail | InstanceError:
        """Return the picture of a blob, or why it cannot be drawn."""
        key = data.uri(blob)
        if kept := self._find(key):
            return kept
        self.warm()
        with self._drawing:
            if kept := self._find(key):  # drawn for another while this one waited
                return kept
            [[picture]] = self._pool.map(
                functools.partial(draw_all, data=data),
                [[(blob, size)]],
                on_worker_lost,
                lambda _: _SECONDS,
            )
            with self._lock:
                self._kept[key] = picture
                while len(self._kept) > _MAX_KEPT:
                    self._kept.popitem(last=False)
        return picture

    def _find(self, key: str) -> Thumbnail | InstanceError | None:
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key]


def blob_of(study: str, series: str, instance: str, digest: str) -> str | None:
    """Return the path of a blob from parts of a URL; None if they are not UIDs and a checksum."""
    uids = (study, series, instance)
    if any(parse_uid(uid.encode()) != uid for uid in uids) or not _DIGEST.fullmatch(digest):
        return None
    return blob_path(study, series, instance, digest)


def to_image(picture: Thumbnail | InstanceError) -> tuple[bytes, str]:
    """Return an image and its MIME type: the picture, or a tile with the reason for its absence."""
    if isinstance(picture, Thumbnail):
        return base64.b64decode(picture.jpeg), "image/jpeg"
    return _tile(why_not(picture).replace("/", "/ ")).encode(), "image/svg+xml"


def _tile(text: str) -> Html:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= _LINE_CHARACTERS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    top = 100 - 9 * (len(lines) - 1)
    spans = (
        html('<tspan x="96" y="{y}">{line}</tspan>', y=top + 18 * row, line=line)
        for row, line in enumerate(lines)
    )
    return html(_NO_PICTURE, lines=Html("".join(spans)))
