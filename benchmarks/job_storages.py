"""Storages for jobs on an engine, whose workers are all on this machine; import this to have them.

shared:///folder        a folder, as if all workers of many machines reached it; not synced
tiny://COUNT/**         COUNT DICOM files of 4 KB that exist only as a rule
python -m benchmarks.job_storages import ARGUMENT...    an import that knows both
python -m benchmarks.job_storages worker PORT           a pool of Beam's workers that do
"""

import functools
import importlib
import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from apache_beam.runners.worker import worker_pool_main
from obstore.store import LocalStore, MemoryStore, ObjectStore

from benchmarks.ct_files import ct_image
from dicomferry.pipelines import import_dicom
from dicomferry.storage.base import Storage
from dicomferry.storage.capabilities import Capabilities, Entry
from dicomferry.storage.local import LocalStorage
from dicomferry.storage.registry import register

_FILES_A_SERIES = 100
_SERIES_A_STUDY = 8
# As long as what replaces them.
_INSTANCE, _SERIES, _STUDY = b"1.2.999999999", b"1.2.777777777", b"1.2.888888888"
_WRITTEN = datetime(2026, 11, 24, tzinfo=UTC)
_CAPABILITIES = Capabilities(
    is_shared=True, is_networked=False, concurrency=1, has_empty_folders=False
)


class SharedFolder(Storage):
    """A folder of this machine, through obstore as a bucket is. Delta tables are synced."""

    capabilities = _CAPABILITIES

    def __init__(self, root: str) -> None:
        """Name the folder."""
        super().__init__(root.replace("shared:///", "shared://root/", 1))

    def _connect(self) -> ObjectStore:
        return LocalStore("/")

    def for_delta(self) -> Storage:
        """Return the folder itself."""
        return LocalStorage(f"/{self._prefix}")


class TinyFiles(Storage):
    """CT slices of 4 by 4 pixels, 100 in a series, 8 series in a study."""

    capabilities = _CAPABILITIES

    def _connect(self) -> ObjectStore:
        return MemoryStore()

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield all files."""
        size = len(tiny_file(0))
        for number in range(int(self.bucket)):
            series = number // _FILES_A_SERIES
            path = f"{series // 1000:04d}/{series:07d}/{number:08d}.dcm"
            yield Entry(path, size, _WRITTEN, "1")

    def read_range(self, path: str, offset: int, length: int, version: str = "") -> bytes:
        """Return bytes of a file."""
        number = int(path.rpartition("/")[2].removesuffix(".dcm"))
        return tiny_file(number)[offset : offset + length]


def tiny_file(number: int) -> bytes:
    """Return a file by its number."""
    series = number // _FILES_A_SERIES
    content = _template()
    for placeholder, value in (
        (_INSTANCE, number),
        (_SERIES, series),
        (_STUDY, series // _SERIES_A_STUDY),
    ):
        content = content.replace(placeholder, placeholder[:4] + b"%09d" % (10**8 + value))
    return content


@functools.cache
def _template() -> bytes:
    dataset = ct_image("1.2.826.0.1.3680043.8.498", 0, 4, 4)
    dataset.SOPInstanceUID = _INSTANCE.decode()
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.SeriesInstanceUID = _SERIES.decode()
    dataset.StudyInstanceUID = _STUDY.decode()
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def use() -> None:
    """Register both."""
    register("shared", SharedFolder)
    register("tiny", TinyFiles)


def main(command: str, *arguments: str) -> None:
    """Run an import, or a pool whose workers are in this process."""
    use()
    if command == "import":
        sys.exit(import_dicom.main(arguments))
    _, server = worker_pool_main.BeamFnExternalWorkerPoolServicer.start(port=int(arguments[0]))
    server.wait_for_termination()


if __name__ == "__main__":
    # As a module of its own, not as __main__, so that what is pickled names it.
    job_storages = importlib.import_module("benchmarks.job_storages")
    job_storages.main(*sys.argv[1:])
