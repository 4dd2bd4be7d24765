"""What lookups read of an index: bytes and requests, counted where pyarrow reads its files."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow.fs import FileInfo, FileSystemHandler, FileType, PyFileSystem


class CountedReads(FileSystemHandler):
    """A local folder, read only.

    Attributes:
        size: bytes that were read.
        requests: reads, each a request to a bucket.
    """

    def __init__(self, folder: str) -> None:
        """Begin with none."""
        self._folder = Path(folder)
        self.size = self.requests = 0

    def filesystem(self) -> PyFileSystem:
        """Return it as pyarrow takes it."""
        return PyFileSystem(self)

    def open_input_file(self, path: str) -> pa.PythonFile:
        """Open a file; every read of it is counted."""
        return pa.PythonFile(_File(self._folder / path, self), mode="r")

    def open_input_stream(self, path: str) -> pa.PythonFile:
        """Open a file to be read from its beginning."""
        return self.open_input_file(path)

    def get_file_info(self, paths: list[str]) -> list[FileInfo]:
        """Describe files."""
        sizes = [(self._folder / path).stat().st_size for path in paths]
        return [
            FileInfo(path, FileType.File, size=size)
            for path, size in zip(paths, sizes, strict=True)
        ]

    def get_type_name(self) -> str:
        """Name the kind of file system."""
        return "counted"

    def normalize_path(self, path: str) -> str:
        """Return a path as it is."""
        return path

    def _refused(self, *_: Any) -> Any:
        raise OSError("read only")

    get_file_info_selector = open_output_stream = open_append_stream = _refused
    copy_file = create_dir = delete_dir = delete_dir_contents = _refused
    delete_file = delete_root_dir_contents = move = _refused


class _File(io.FileIO):
    def __init__(self, path: Path, counted: CountedReads) -> None:
        super().__init__(path)
        self._counted = counted

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(-1 if size is None else size)
        self._counted.size += len(found)
        self._counted.requests += 1
        return found
