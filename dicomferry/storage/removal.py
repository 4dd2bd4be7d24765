"""Remove a local folder with millions of files, in flat memory, while others may write there."""

import errno
import itertools
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

_REMOVED_AT_ONCE = 10_000
# A folder that is not in the page cache takes a read, and most have one file.
_THREADS = 16
_FOLDERS_AT_ONCE = 1000
_ATTEMPTS = 10


def remove_tree(root: str, on_removed: Callable[[Sequence[str]], None]) -> None:
    """Remove a folder and all that is in it; it is not an error if others remove it as well.

    Args:
        root: the folder.
        on_removed: called with the paths below `root` of files that are gone, many at once.

    Raises:
        OSError: also where others keep writing there.
    """
    lock = threading.Lock()

    def remove(folder: str) -> None:
        for removed in _remove_files(folder):
            with lock:
                on_removed([path[len(root) + 1 :] for path in removed])

    with ThreadPoolExecutor(_THREADS) as threads:
        folders = (inner for outer in _subfolders(root) for inner in _subfolders(outer))
        while some := list(itertools.islice(folders, _FOLDERS_AT_ONCE)):
            list(threads.map(remove, some))
    remove(root)
    _remove_rest(root)


def _subfolders(folder: str) -> Iterator[str]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        yield from (entry.path for entry in entries if entry.is_dir(follow_symlinks=False))


def _remove_files(folder: str) -> Iterator[list[str]]:
    """Delete files, and folders as they become empty, the deepest first; yield the files."""
    removed = []
    for inner, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = f"{inner}/{name}"
            with suppress(FileNotFoundError):
                os.unlink(path)
                removed.append(path)
        with suppress(OSError):  # others write there, or it has links
            os.rmdir(inner)
        if len(removed) >= _REMOVED_AT_ONCE:
            yield removed
            removed = []
    yield removed


def _remove_rest(root: str) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        if not os.path.lexists(root):
            return
        try:
            shutil.rmtree(root)
        except OSError as error:
            # Another process deletes it as well, or still writes there.
            is_disturbed = error.errno in (errno.ENOENT, errno.ENOTEMPTY)
            if not is_disturbed or attempt == _ATTEMPTS:
                raise
