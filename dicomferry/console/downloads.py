"""Downloads of instances, converted as an export converts them, in a process with a deadline.

Each instance is written to a folder of this machine first, so that what a browser gets is whole and
its bytes are checked. A series is a ZIP file that is sent while it is made: memory and disk hold
one instance. One that fails is listed in the ZIP; a download that breaks off has no end, which
browsers report.
"""

import functools
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from google.rpc.code_pb2 import FAILED_PRECONDITION, INVALID_ARGUMENT, UNAVAILABLE

from dicomferry.api.errors import ApiError
from dicomferry.console.queries.walk import StoredRow
from dicomferry.console.streams import File, Stream, StreamLimitError
from dicomferry.console.zip_stream import chunks_of, zipped
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
# So that no caller has all of them.
AT_ONCE_EACH = 2
OFFERED: tuple[Format, ...] = tuple(form for form in FORMATS if form.media_type in (DICOM, PNG))
_FAILURES = "failures.csv"


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
        self._lock = Lock()
        self._running: Counter[str] = Counter()

    def instance(self, wanted: Series, form: Format, caller: str) -> Stream:
        """Return one instance as a file, or as a ZIP file of its frames.

        Raises:
            ApiError: it cannot be converted, is too large, or there are too many downloads.
        """
        _check_size(len(wanted.rows), sum(row.size for row in wanted.rows))
        with ExitStack() as stack:
            folder = self._begin(stack, caller)
            files, outcome = self._convert(wanted, wanted.rows[0], form, folder)
            if outcome.outcome == Outcome.FAILED:
                reason = Reason(outcome.code)
                raise ApiError(FAILED_PRECONDITION, f"{outcome.code}: {reason.sentence}")
            _check_size(1, sum(path.stat().st_size for path in files))
            uid = wanted.rows[0].uid
            if len(files) == 1:
                kind = form.media_type if form.media_type == PNG else DICOM
                file = File(f"{uid}{form.extension}", kind)
                return Stream(chunks_of(files[0]), file, stack.pop_all(), MAX_SECONDS)
            named = ((path.relative_to(folder).name, path) for path in sorted(files, key=_frame))
            file = File(f"{uid}.zip", "application/zip")
            return Stream(zipped(named), file, stack.pop_all(), MAX_SECONDS)

    def series(self, wanted: Series, form: Format, caller: str) -> Stream:
        """Return the instances of a series as a ZIP file.

        Raises:
            ApiError: it is too large, or there are too many downloads.
        """
        _check_size(len(wanted.rows), sum(row.size for row in wanted.rows))
        with ExitStack() as stack:
            files = self._files(wanted, form, self._begin(stack, caller))
            file = File(f"{wanted.series}.zip", "application/zip")
            return Stream(zipped(files), file, stack.pop_all(), MAX_SECONDS)

    def _begin(self, stack: ExitStack, caller: str) -> Path:
        with self._lock:
            if self._running[caller] >= AT_ONCE_EACH:
                raise ApiError(
                    UNAVAILABLE,
                    f"{AT_ONCE_EACH} of your downloads are running: wait until one has ended",
                )
            if self._running.total() >= AT_ONCE:
                raise ApiError(UNAVAILABLE, "there are too many downloads; try again later")
            self._running[caller] += 1
        stack.callback(self._end, caller)
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dicomferry-download-")))

    def _end(self, caller: str) -> None:
        with self._lock:
            self._running[caller] -= 1
            # Callers who left take no memory.
            self._running += Counter()

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
                        raise StreamLimitError
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


def _check_size(instances: int, size: int) -> None:
    if instances > MAX_INSTANCES or size > MAX_BYTES:
        raise ApiError(
            FAILED_PRECONDITION,
            f"this is too large for a download: the limit is {MAX_INSTANCES:,} instances and "
            f"{MAX_BYTES / 1e9:.0f} GB. An export has no limit",
        )


def _frame(path: Path) -> tuple[str, int]:
    """Return a key that sorts frames by their number."""
    return str(path.parent), int(path.stem) if path.stem.isdigit() else 0


def _on_worker_lost(instance: StoredInstance) -> FileOutcome:
    return FileOutcome(
        resource_path(instance), Outcome.FAILED, Reason.WORKER_LOST, instance.sop_instance_uid
    )
