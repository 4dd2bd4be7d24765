"""What a power cut leaves of local files: the only functions that name or sync them.

A file is written under a partial name, synced, named, and then its folders are synced. So whoever
finds the name finds all of the bytes, and a name that was reported stays. Linux promises none of
this by itself: names can reach the disk long before bytes, and a folder before what is in it.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from typing import IO, Self, TypeVar

from dicomferry.storage.partial_files import partial_name

# File systems commit what many threads wait for at once: four times as fast as one after another.
_THREADS = 16
# To make a name in a folder that others remove whenever it is empty.
_ATTEMPTS = 10
T = TypeVar("T")
# Network file systems without a sync of folders answer with one of these.
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)


@contextmanager
def new_file(path: str) -> Iterator[IO[bytes]]:
    """Open a new file of a path that nothing has, making its folder.

    It is removed at the end unless it was renamed; a link to it stays.
    """
    try:
        with _in_folder(path, lambda: open(path, "xb")) as file:
            yield file
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)


@contextmanager
def partial_file(path: str) -> Iterator[IO[bytes]]:
    """Open a new file that `path` is to name once it is complete; see `new_file`."""
    with new_file(partial_name(path)) as file:
        yield file


def name_file(file: IO[bytes], path: str, place: Callable[[str, str], None]) -> None:
    """Give an open file its name; it is not synced.

    Args:
        file: complete.
        path: its name.
        place: os.replace, or os.link, which raises FileExistsError if the name is taken.
    """
    file.flush()
    _in_folder(path, lambda: place(file.name, path))


def sync_file(file: IO[bytes]) -> None:
    """Sync the bytes of an open file."""
    file.flush()
    os.fdatasync(file.fileno())


class SyncsBehind:
    """Files that are synced while others are written: the disk works while the processor does."""

    def __init__(self) -> None:
        """Begin; no thread is started yet."""
        self._threads = ThreadPoolExecutor(_THREADS)
        self._begun: list[Future[None]] = []
        self._paths: set[str] = set()

    def begin(self, path: str) -> None:
        """Begin to sync the bytes of a file that has its name."""
        self._paths.add(path)
        self._begun.append(self._threads.submit(_sync_bytes, path))

    def end(self, root: str) -> None:
        """Wait for all bytes, then sync the names; see `sync_names`."""
        for begun in self._begun:
            begun.result()
        if self._paths:
            sync_names(self._paths, root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)


def sync_files(paths: Iterable[str]) -> None:
    """Sync the bytes of files, not their names; leave out those that are gone by now."""
    _for_each(_sync_bytes, paths)


def move_files(names: Iterable[str], source: str, target: str) -> None:
    """Move complete files from one folder into another; they are synced before and after.

    Args:
        names: of the files, relative to both folders; names of the target are replaced.
        source: where they are.
        target: on the same file system.
    """
    names = list(names)
    sync_files(f"{source}/{name}" for name in names)
    for name in names:
        _in_folder(f"{target}/{name}", partial(os.replace, f"{source}/{name}", f"{target}/{name}"))
    if names:
        sync_names((f"{target}/{name}" for name in names), target)


def sync_names(paths: Iterable[str], root: str) -> None:
    """Sync the names of files, and of all folders above them.

    Args:
        paths: of files below `root`.
        root: folders above it are synced once in the life of a process.
    """
    folders = {root}
    for path in paths:
        folder = os.path.dirname(path)
        while folder not in folders:
            folders.add(folder)
            folder = os.path.dirname(folder)
    _for_each(_sync_folder, sorted(folders))
    _sync_above(root)


def sync_removals(paths: Iterable[str]) -> None:
    """Sync that files, or folders, are gone: what had each of them, or what is left above it."""
    folders = set()
    for path in paths:
        folder = os.path.dirname(path)
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        folders.add(folder)
    _for_each(_sync_folder, sorted(folders))


def _in_folder(path: str, make: Callable[[], T]) -> T:
    """Call what makes a name, in a folder that is made first: vacuum removes empty ones."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            return make()
        except FileNotFoundError:
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError


@lru_cache(maxsize=4096)
def _sync_above(root: str) -> None:
    parent = os.path.dirname(root)
    if parent != root:
        with suppress(PermissionError):  # then it is not ours, and older than this
            _sync_folder(parent)
        _sync_above(parent)


def _for_each(sync: Callable[[str], None], paths: Iterable[str]) -> None:
    paths = list(paths)
    if len(paths) < 2:
        for path in paths:
            sync(path)
        return
    with ThreadPoolExecutor(min(_THREADS, len(paths))) as threads:
        for _ in threads.map(sync, paths):
            pass


def _sync_bytes(path: str) -> None:
    _sync(path, os.fdatasync)


def _sync_folder(path: str) -> None:
    try:
        _sync(path, os.fsync)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def _sync(path: str, sync: Callable[[int], None]) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return  # vacuum, or whoever deletes a store, was faster
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
