"""Downloads of instances, converted as an export converts them, in a process with a deadline.

Each instance is written to a folder of this machine first, so that what a browser gets is whole and
its bytes are checked. A series is a ZIP file that is sent while it is made: memory and disk hold
one instance. One that fails is listed in the ZIP; a download that breaks off has no end, which
browsers report.
"""

import asyncio
import functools
import logging
import tempfile
import time
import zipfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import NamedTuple

from google.rpc.code_pb2 import FAILED_PRECONDITION, INVALID_ARGUMENT, UNAVAILABLE
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from dicomferry.api.errors import ApiError
from dicomferry.console.queries.walk import StoredRow
from dicomferry.console.views.layout import SECURITY_HEADERS
from dicomferry.dicom.transfer_syntaxes import SYNTAXES
from dicomferry.errors import Reason
from dicomferry.operations.outcomes import Outcome
from dicomferry.pixels.formats import (
    AS_UPLOADED,
    DICOM,
    FORMATS,
    PNG,
    Format,
    UnsupportedFormat,
    parse_format,
)
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.transforms.records import FileOutcome
from dicomferry.transforms.worker_pool import WorkerPool
from dicomferry.transforms.write_instance import (
    FileTarget,
    StoredInstance,
    resource_path,
    write_all,
)

MAX_INSTANCES = 5000
MAX_BYTES = 4 << 30
MAX_SECONDS = 1800.0
INSTANCE_SECONDS = 120.0
# Each has a thread while it converts, and the disk space of one instance.
AT_ONCE = 4
OFFERED: tuple[Format, ...] = tuple(form for form in FORMATS if form.media_type in (DICOM, PNG))
_CHUNK_BYTES = 1 << 20
_FAILURES = "failures.csv"
_LOGGER = logging.getLogger(__name__)


class Series(NamedTuple):
    """Instances to download: Study and Series Instance UID, and their rows."""

    data: Storage
    study: str
    series: str
    rows: Sequence[StoredRow]


def offered_format(mime_type: str) -> Format:
    """Return the format of a form.

    Raises:
        ApiError: INVALID_ARGUMENT: it is not offered.
    """
    try:
        found = parse_format(mime_type)
    except UnsupportedFormat as error:
        raise ApiError(INVALID_ARGUMENT, str(error)) from None
    if found not in OFFERED:
        raise ApiError(INVALID_ARGUMENT, "this format is for exports, not for downloads")
    return found


def format_name(form: Format) -> str:
    """Return what people call a format."""
    if form == AS_UPLOADED:
        return "DICOM, as uploaded"
    return SYNTAXES[form.transfer_syntax].name if form.media_type == DICOM else "PNG"


class Downloads:
    """Converts instances, one at a time in all, for a few browsers."""

    def __init__(self) -> None:
        """Create the pool; its process starts with the first download."""
        self._pool = WorkerPool(1)
        self._converting = Lock()
        self._free = BoundedSemaphore(AT_ONCE)

    def instance(self, wanted: Series, form: Format) -> "Download":
        """Return one instance as a file, or as a ZIP file of its frames.

        Raises:
            ApiError: it cannot be converted, or there are too many downloads.
        """
        self._check_size(wanted)
        with ExitStack() as stack:
            folder = self._begin(stack)
            files, outcome = self._convert(wanted, wanted.rows[0], form, folder)
            if outcome.outcome == Outcome.FAILED:
                reason = Reason(outcome.code)
                raise ApiError(FAILED_PRECONDITION, f"{outcome.code}: {reason.sentence}")
            uid = wanted.rows[0].uid
            if len(files) == 1:
                kind = form.media_type if form.media_type == PNG else DICOM
                name = f"{uid}{form.extension}"
                return Download(_read(files[0]), name, kind, stack.pop_all())
            named = ((path.relative_to(folder).name, path) for path in sorted(files, key=_frame))
            return Download(zipped(named), f"{uid}.zip", "application/zip", stack.pop_all())

    def series(self, wanted: Series, form: Format) -> "Download":
        """Return the instances of a series as a ZIP file.

        Raises:
            ApiError: it is too large, or there are too many downloads.
        """
        self._check_size(wanted)
        with ExitStack() as stack:
            files = self._files(wanted, form, self._begin(stack))
            name = f"{wanted.series}.zip"
            return Download(zipped(files), name, "application/zip", stack.pop_all())

    def _check_size(self, wanted: Series) -> None:
        size = sum(row.size for row in wanted.rows)
        if len(wanted.rows) > MAX_INSTANCES or size > MAX_BYTES:
            raise ApiError(
                FAILED_PRECONDITION,
                f"this is too large for a download: the most are {MAX_INSTANCES:,} instances and "
                f"{MAX_BYTES / 1e9:.0f} GB. An export has no limit",
            )

    def _begin(self, stack: ExitStack) -> Path:
        if not self._free.acquire(blocking=False):
            raise ApiError(UNAVAILABLE, "there are too many downloads; try again later")
        stack.callback(self._free.release)
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dicomferry-download-")))

    def _files(self, wanted: Series, form: Format, folder: Path) -> Iterator[tuple[str, Path]]:
        """Yield names and files of all instances, then the list of those that failed."""
        end, failures, size = time.monotonic() + MAX_SECONDS, ["SOPInstanceUID,code,reason\r\n"], 0
        for row in wanted.rows:
            # What a process that was killed has left is gone with the folder.
            with tempfile.TemporaryDirectory(dir=folder) as name:
                files, outcome = self._convert(wanted, row, form, Path(name))
                if outcome.outcome == Outcome.FAILED:
                    sentence = Reason(outcome.code).sentence
                    failures.append(f'{row.uid},{outcome.code},"{sentence}"\r\n')
                for path in sorted(files, key=_frame):
                    size += path.stat().st_size
                    if size > MAX_BYTES or time.monotonic() > end:
                        raise DownloadLimitError
                    yield str(path.relative_to(Path(name, wanted.study, wanted.series))), path
        if len(failures) > 1:
            path = folder / _FAILURES
            path.write_text("".join(failures))
            yield _FAILURES, path

    def _convert(
        self, wanted: Series, row: StoredRow, form: Format, folder: Path
    ) -> tuple[list[Path], FileOutcome]:
        """Write one instance below a folder; return its files and what became of it."""
        instance = StoredInstance(
            wanted.study,
            wanted.series,
            row.uid,
            row.transfer_syntax,
            row.blob,
            row.size,
            row.crc32c,
        )
        target = FileTarget(wanted.data, open_storage(str(folder)), form)
        with self._converting:
            [[outcome]] = self._pool.map(
                functools.partial(write_all, target=target),
                [[instance]],
                _on_worker_lost,
                lambda _: INSTANCE_SECONDS,
            )
        if outcome.outcome == Outcome.FAILED:
            return [], outcome
        return [path for path in folder.rglob("*") if path.is_file()], outcome


class DownloadLimitError(Exception):
    """A download took too long, or became too large."""


class Download(StreamingResponse):
    """A file that is sent while it is made; what it holds is released however it ends."""

    def __init__(
        self, chunks: Generator[bytes, None, None], name: str, kind: str, held: ExitStack
    ) -> None:
        """Send chunks as a file.

        Args:
            chunks: of the file.
            name: of the file, from UIDs alone.
            kind: media type.
            held: what the chunks need.
        """
        disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
        super().__init__(chunks, media_type=kind, headers=SECURITY_HEADERS | disposition)
        self._chunks = chunks
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, in limited time."""
        try:
            async with asyncio.timeout(MAX_SECONDS):
                await super().__call__(scope, receive, send)
        except (DownloadLimitError, TimeoutError):
            # Without its end: the server closes the connection, and browsers report a failure.
            _LOGGER.warning("a download reached its limit and was broken off")
        finally:
            self._chunks.close()
            self._held.close()


def zipped(files: Iterator[tuple[str, Path]]) -> Generator[bytes, None, None]:
    """Yield a ZIP file of files, uncompressed, a chunk at a time."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:  # type: ignore[call-overload]
        for name, path in files:
            # The same bytes each time: entries have no time of their own.
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                for chunk in _read(path):
                    member.write(chunk)
                    yield sink.taken()
            yield sink.taken()
    yield sink.taken()


class _Sink:
    """What was written since it was taken last. It cannot seek, as a connection cannot."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def write(self, chunk: bytes) -> int:
        self._chunks.append(bytes(chunk))
        return len(chunk)

    def flush(self) -> None:
        pass

    def taken(self) -> bytes:
        chunks, self._chunks = self._chunks, []
        return b"".join(chunks)


def _read(path: Path) -> Generator[bytes, None, None]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _frame(path: Path) -> tuple[str, int]:
    """Return a key that sorts frames by their number."""
    return str(path.parent), int(path.stem) if path.stem.isdigit() else 0


def _on_worker_lost(instance: StoredInstance) -> FileOutcome:
    return FileOutcome(
        resource_path(instance), Outcome.FAILED, Reason.WORKER_LOST, instance.sop_instance_uid
    )
