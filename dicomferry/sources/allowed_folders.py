"""Folders that local files must be in, after following symbolic links."""

import errno
import os
import stat
import sys
from typing import NamedTuple


class AllowedFolders(NamedTuple):
    """Folders whose files may be read.

    Attributes:
        folders: their real paths.
        without: the real path of a folder below them that is excluded; '' excludes nothing.
    """

    folders: tuple[str, ...]
    without: str = ""

    def contains(self, path: str) -> bool:
        """Whether a path, after following all links, is in the folders."""
        real = os.path.realpath(path)
        if self.without and is_below(real, self.without):
            return False
        return any(is_below(real, folder) for folder in self.folders)

    def contains_open(self, descriptor: int) -> bool:
        """Whether an open file or folder is in the folders, whatever its name is by now."""
        return self.contains(_path_of(descriptor))

    def read(self, path: str, size: int) -> bytes:
        """Return the first bytes of a file in the folders.

        Args:
            path: of the file.
            size: how many bytes are read at most.

        Raises:
            FileNotFoundError: there is no regular file in the folders.
        """
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            if not is_file or not self.contains_open(file.fileno()):
                raise FileNotFoundError(errno.ENOENT, "not a file that may be read", path)
            return file.read(size)


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder or below it, by their names alone."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _path_of(descriptor: int) -> str:
    """The path of an open file, all links followed."""
    if sys.platform == "darwin":
        import fcntl

        return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{descriptor}")
