"""Partial names: local files, and folders, have them until they are complete.

A file is written under its partial name, beside its own name, and renamed when it is complete. A
killed writer leaves the file; the partial name has the host and process id of its writer.
"""

import contextlib
import hashlib
import os
import platform
import re
import shutil

from dicomferry.storage.processes import is_running

# A process id is valid on one host only: a shared file system has files of others.
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_PARTIAL = re.compile(r"\.(?P<host>[0-9a-f]{8})-(?P<pid>[0-9]+)-[0-9a-f]{8}\.partial$")


def partial_name(path: str) -> str:
    """Return a partial name for a file; no two calls return the same."""
    return f"{path}.{_HOST}-{os.getpid()}-{os.urandom(4).hex()}.partial"


def is_partial(path: str) -> bool:
    """Whether a path ends in a partial name."""
    return path.endswith(".partial") and _PARTIAL.search(path) is not None


def remove_partial(folder: str) -> None:
    """Remove what ended writers, on this host, left in a local folder under partial names."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(".partial")]
    except FileNotFoundError:
        return
    for name in names:
        match = _PARTIAL.search(name)
        if match and match["host"] == _HOST and not is_running(int(match["pid"])):
            path = os.path.join(folder, name)
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                if os.path.isdir(path):
                    shutil.rmtree(path)
                else:
                    os.unlink(path)
