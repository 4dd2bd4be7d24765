"""Folders that local sources must be in, after following symbolic links."""

import os
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


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder or below it, by their names alone."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")
