"""Pipes, sockets and devices where a table's files belong.

Libraries open them as files, and wait for a writer that may never come.
"""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress

from dicomferry.tables.errors import TableError


def refuse_special_files(paths: Iterable[str]) -> None:
    """Refuse local paths at which is something other than a regular file; nothing is no problem.

    Raises:
        TableError: one is a pipe, a socket, a device or a folder.
    """
    for path in paths:
        with suppress(OSError):  # the library says what it cannot open
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise TableError(f"{path} is not a regular file. Remove it, or choose another.")
