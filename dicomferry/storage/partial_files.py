"""Names of local files that are not whole yet, and what to do with those that never will be.

A file is written under such a name beside its own, which it takes when it is whole. A writer that
is killed leaves it; the name tells who that was.
"""

import contextlib
import hashlib
import os
import platform
import re

from dicomferry.storage.processes import is_running

# Process ids are of one host; on a shared file system another's say nothing.
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_PARTIAL = re.compile(r"\.(?P<host>[0-9a-f]{8})-(?P<pid>[0-9]+)-[0-9a-f]{8}\.partial$")


def partial_name(path: str) -> str:
    """Return a name for a file until it is whole; no two calls give the same."""
    return f"{path}.{_HOST}-{os.getpid()}-{os.urandom(4).hex()}.partial"


def remove_partial(folder: str) -> None:
    """Remove what writers on this host left in a local folder, those that live excepted."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(".partial")]
    except FileNotFoundError:
        return
    for name in names:
        match = _PARTIAL.search(name)
        if match and match["host"] == _HOST and not is_running(int(match["pid"])):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                os.unlink(os.path.join(folder, name))
