"""Local folders: the storage of paths without a scheme and of file://.

What is written here survives a power cut: at once, or at the end of a `batch`. Neither obstore nor
deltalake syncs anything: obstore only reads and lists here, and `delta_commits` is for deltalake.
"""

import errno
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Self, cast

import obstore
from obstore.store import LocalStore

from dicomferry.storage.base import CHUNK_BYTES, Storage, T
from dicomferry.storage.capabilities import Capabilities, Entry
from dicomferry.storage.clock import RESOLUTION_SECONDS
from dicomferry.storage.delta_paths import unsupported_character
from dicomferry.storage.durable import (
    SyncsBehind,
    name_file,
    partial_file,
    sync_file,
    sync_files,
    sync_names,
    sync_removals,
)
from dicomferry.storage.errors import StorageError
from dicomferry.storage.local_locks import file_lock
from dicomferry.storage.partial_files import is_partial, remove_partial
from dicomferry.storage.range_file import StoredFile
from dicomferry.storage.removal import remove_tree

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

# What obstore adds to a file's name until the file is complete: earlier versions wrote through it.
_OBSTORE_PARTIAL = re.compile(r"#[0-9]+$")
# What a file's partial name begins with whose own name is not known yet.
_UNNAMED = "unnamed"


class LocalStorage(Storage):
    """Files below a local folder, which is created when it is first used."""

    capabilities = Capabilities(
        is_shared=False, is_networked=False, concurrency=1, has_empty_folders=True
    )

    def __init__(self, root: str) -> None:
        """Name the folder; nothing is touched yet."""
        self.bucket = ""
        self.root = os.path.abspath(root.removeprefix("file://"))
        self._prefix = ""
        self._store = None
        self._syncs: SyncsBehind | None = None  # of a batch

    def _connect(self) -> LocalStore:
        return LocalStore(self.root, mkdir=True)

    def local_path(self, path: str = "") -> str:
        """Return the absolute path of something below the folder."""
        return os.path.join(self.root, path) if path else self.root

    def read(self, path: str) -> bytes:
        """Return a whole file; see `Storage.read`."""
        try:
            with open(self.local_path(path), "rb", opener=_open_regular) as file:
                return file.read()
        except NotADirectoryError as error:
            raise FileNotFoundError(self.uri(path)) from error

    def chunks(self, path: str) -> Iterator[bytes]:
        """Yield a file's bytes; see `Storage.chunks`."""
        with open(self.local_path(path), "rb", opener=_open_regular) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def open(self, path: str, size: int) -> StoredFile:
        """Return a file of known size; see `Storage.open`."""
        return _LocalFile(self.local_path(path), size)

    def open_seekable(self, path: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file; see `Storage.open_seekable`."""
        import pyarrow as pa

        if self.head(path) is None:
            raise FileNotFoundError(errno.ENOENT, "not a regular file", self.local_path(path))
        # Read without Python's lock, as a path given to pyarrow is.
        return cast("IO[bytes]", pa.OSFile(self.local_path(path), "rb"))

    def head(self, path: str) -> Entry | None:
        """Return size and time of a file, or None; see `Storage.head`.

        A pipe or device is no file; obstore would open it, and wait.
        """
        try:
            status = os.stat(self.local_path(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return Entry(path, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield every complete file below a folder; see `Storage.list`."""
        if os.path.isdir(self.local_path(prefix)):
            for page in obstore.list(self.store, prefix or None, chunk_size=1000):
                yield from (self._entry(meta) for meta in page if not is_partial(meta["path"]))

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the names of folders; see `Storage.folders`."""
        if os.path.isdir(self.local_path(prefix)):
            yield from super().folders(prefix)

    def partial_files(self, prefix: str) -> Iterator[Entry]:
        """Yield files that a process was writing; `list` hides them."""
        for folder, _, names in os.walk(self.local_path(prefix)):
            for name in names:
                if not (is_partial(name) or _OBSTORE_PARTIAL.search(name)):
                    continue
                full = os.path.join(folder, name)
                try:
                    status = os.stat(full)
                except FileNotFoundError:  # its writer has ended
                    continue
                modified = datetime.fromtimestamp(status.st_mtime, UTC)
                yield Entry(os.path.relpath(full, self.root), status.st_size, modified)

    def retry(self, call: Callable[[], T]) -> T:
        """Call a function once: a disk that fails once fails again."""
        return call()

    def create(self, path: str, data: bytes) -> bool:
        """Write a file unless it exists; see `Storage.create`."""
        full = self.local_path(path)
        if os.path.lexists(full):
            return False
        with partial_file(full) as file:
            file.write(data)
            try:
                self._name(file, path, os.link)
            except FileExistsError:
                return False
        return True

    def write(self, path: str, data: bytes | Iterable[bytes]) -> None:
        """Write a file, replacing an earlier one at once; see `Storage.write`."""
        with partial_file(self.local_path(path)) as file:
            file.writelines([data] if isinstance(data, bytes) else data)
            self._name(file, path, os.replace)

    @contextmanager
    def writing(self, folder: str = "") -> Iterator[tuple[IO[bytes], Callable[[str], None]]]:
        """Write a file before its name is known; see `Storage.writing`."""
        with partial_file(os.path.join(self.root, folder, _UNNAMED)) as file:
            yield file, lambda path: self._name(file, path, os.replace)

    @contextmanager
    def batch(self) -> Iterator[Self]:
        """Write many files that are synced together; see `Storage.batch`."""
        batched = type(self)(self.root)
        with SyncsBehind() as batched._syncs:
            yield batched
            batched._syncs.end(self.root)

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; see `Storage.delete`."""
        deleted = []
        for full in map(self.local_path, paths):
            with suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(full)
                deleted.append(full)
        sync_removals(deleted)

    def delete_older(self, paths: Iterable[str], cutoff: float) -> Sequence[str]:
        """Delete files that are unchanged since, and folders that become empty."""
        deleted = []
        for path in paths:
            full = self.local_path(path)
            with (
                suppress(FileNotFoundError, NotADirectoryError),
                file_lock(self.root, path, is_shared=False),
            ):
                if os.stat(full).st_mtime <= cutoff:
                    os.unlink(full)
                    deleted.append(path)
            self._remove_empty(os.path.dirname(path))
        sync_removals(map(self.local_path, deleted))
        return deleted

    def _remove_empty(self, folder: str) -> None:
        with suppress(OSError):  # it is not empty, or another process was faster
            while os.path.dirname(folder):
                os.rmdir(self.local_path(folder))
                folder = os.path.dirname(folder)

    def sparing(self, path: str) -> AbstractContextManager[object]:
        """Return a block that excludes `delete_older`; see `Storage.sparing`."""
        return file_lock(self.root, path, is_shared=True)

    def touch(self, path: str, after: float = 0.0) -> bool:
        """Give a file a new time of last change; see `Storage.touch`."""
        moment = max(time.time(), after + RESOLUTION_SECONDS)
        with self.sparing(path):
            try:
                os.utime(self.local_path(path), (moment, moment))
            except FileNotFoundError:
                return False
        return True

    def remove_all(self, on_removed: Callable[[Sequence[str]], None] = lambda paths: None) -> None:
        """Delete the folder and everything in it; see `Storage.remove_all`."""
        remove_tree(self.root, on_removed)
        sync_removals([self.root])

    def remove_partial(self, folder: str) -> None:
        """Remove files of ended writers; see `Storage.remove_partial`."""
        remove_partial(self.local_path(folder))

    def sync(self, paths: Iterable[str]) -> None:
        """Sync files and the folders above them; see `Storage.sync`."""
        full = list(map(self.local_path, paths))
        if self._syncs:
            for each in full:
                self._syncs.begin(each)
        elif full:
            sync_files(full)
            sync_names(full, self.root)

    def check_writable(self) -> None:
        """Find out whether the folder can be written; see `Storage.check_writable`.

        Raises:
            StorageError: not a folder, no permission, or a file system without the hard links
                that a create-only write needs.
        """
        try:
            os.makedirs(self.root, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.root, prefix=".probe-") as file:
                link = f"{file.name}-link"
                os.link(file.name, link)
                os.unlink(link)
        except OSError as error:
            raise StorageError(
                f"{self.root} cannot hold a store ({error.strerror}): it must be a writable "
                "folder on a file system with hard links; name another with --root or "
                "DICOMFERRY_ROOT"
            ) from error

    def arrow_filesystem(self) -> "FileSystem":
        """Return the folder itself: deltalake's own layer doubles the time of many small reads."""
        from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

        return SubTreeFileSystem(self.root, LocalFileSystem())

    def check_delta(self) -> None:
        """Find out whether Delta tables can be in the folder; see `Storage.check_delta`."""
        if unfit := unsupported_character(self.root):
            raise StorageError(
                f"{self.root!r} cannot hold a store, whose index is a Delta table: such a path "
                f"cannot have {unfit!r} in it; name another folder with --root or DICOMFERRY_ROOT"
            )

    def _name(self, file: IO[bytes], path: str, place: Callable[[str, str], None]) -> None:
        """Name a complete file: synced first, and its folders after, or all in the batch."""
        full = self.local_path(path)
        if self._syncs:
            name_file(file, full, place)
            self._syncs.begin(full)
            return
        sync_file(file)
        name_file(file, full, place)
        sync_names([full], self.root)


class _LocalFile:
    """A `StoredFile` of a local folder."""

    def __init__(self, path: str, size: int) -> None:
        self.size = size
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> Self:
        self._descriptor = _open_regular(self._path, os.O_RDONLY)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._descriptor, max(min(length, self.size - offset), 0), offset)


def _open_regular(path: str, flags: int) -> int:
    """Open a file and nothing else: a pipe or device in its place would wait, or act.

    Raises:
        FileNotFoundError: there is no regular file.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, "not a regular file", path)
