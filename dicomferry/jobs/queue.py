"""Wait for a turn, then become the job: how a server bounds what runs at once.

A job is a process from the moment it is asked for, and outlives the server. While others have all
the places it waits here, small, without Beam; then the same process turns into the pipeline. Places
are locks on files, which the system takes back from whatever dies; of those who wait one at a time
looks for a free place.

    python -m dicomferry.jobs.queue FOLDER PLACES MODULE --root=R --store=S … --operation=ID
"""

import fcntl
import hashlib
import logging
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from obstore.exceptions import BaseError as ObjectStoreError

from dicomferry.operations import operations
from dicomferry.operations.operations import OperationFolder, adopt_operation
from dicomferry.resource_names import parse_store
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage

_LOGGER = logging.getLogger(__name__)
_LOOK_SECONDS = 0.2
_CANCEL_SECONDS = 1.0
_HEARTBEAT_SECONDS = 5.0


def folder_of(root: Storage) -> str:
    """The folder of this machine that holds the places of a root's jobs.

    Raises:
        ValueError: another user has made it.
    """
    ours = Path(tempfile.gettempdir()) / f"dicomferry-{os.getuid()}"
    ours.mkdir(mode=0o700, exist_ok=True)
    if ours.is_symlink() or ours.stat().st_uid != os.getuid():
        raise ValueError(f"{ours} is another user's: name a folder of your own in $TMPDIR")
    folder = ours / hashlib.sha256(root.root.encode()).hexdigest()[:16]
    folder.mkdir(exist_ok=True)
    return str(folder)


def take_place(folder: str, places: int) -> int | None:
    """Lock a free place, unless others wait for one.

    Returns:
        A descriptor: whoever holds it or a copy has the place. None: all are taken.
    """
    line = _open(folder, "line")
    try:
        return _free_place(folder, places) if _lock(line, wait=False) else None
    finally:
        os.close(line)


@contextmanager
def handed_over(place: int | None) -> Iterator[list[int]]:
    """What a process inherits that has the place from then on; it is not this one's any more."""
    if place is None:
        yield []
        return
    try:
        yield [place]
    finally:
        os.close(place)


def main(argv: Sequence[str]) -> NoReturn:
    """Wait for one of the places, and run a module in this very process."""
    folder, places, module, *flags = argv
    place = _wait(folder, int(places), _recorded(flags))
    os.set_inheritable(place, True)
    # The lock of the line ends here, for the next to look; that of the place does not.
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *flags])


def _recorded(flags: Sequence[str]) -> OperationFolder:
    """The operation of this process, once it is recorded.

    Raises:
        OperationNotFoundError, NotOwnedError: it never was: who started this process died.
    """
    sys.stdin.buffer.read()
    given = dict(flag.removeprefix("--").split("=", 1) for flag in flags if "=" in flag)
    parent = parse_store(given["store"]).parent
    return adopt_operation(open_storage(given["root"]), parent, given["operation"])


def _wait(folder: str, places: int, job: OperationFolder) -> int:
    """Wait for a place; the operation shows that it waits, and can be cancelled.

    The heartbeat goes on meanwhile: without it the operation would show as abandoned.
    """
    operation = job.read()
    operation["queued"] = True
    found: queue.SimpleQueue[int] = queue.SimpleQueue()
    threading.Thread(target=_stand_in_line, args=(folder, places, found), daemon=True).start()
    written = looked = 0.0
    while True:
        with suppress(queue.Empty):
            return found.get(timeout=_LOOK_SECONDS)
        now = time.monotonic()
        try:
            if not written or now - written > _HEARTBEAT_SECONDS:
                job.write(operation)
                written = now
            if now - looked > _CANCEL_SECONDS:
                looked = now
                if job.is_cancel_requested():
                    operation["metadata"]["cancelRequested"] = True
                    operations.finish(operation, operations.CANCELLED, "cancelled before it began")
                    del operation["queued"]
                    job.write(operation)
                    os._exit(1)
        except (OSError, ObjectStoreError) as error:
            _LOGGER.warning("%s: the heartbeat failed: %s", job.name, type(error).__name__)


def _stand_in_line(folder: str, places: int, found: "queue.SimpleQueue[int]") -> None:
    _lock(_open(folder, "line"), wait=True)
    while (place := _free_place(folder, places)) is None:
        time.sleep(_LOOK_SECONDS)
    found.put(place)


def _free_place(folder: str, places: int) -> int | None:
    for number in range(places):
        place = _open(folder, f"place-{number}")
        if _lock(place, wait=False):
            return place
        os.close(place)
    return None


def _open(folder: str, name: str) -> int:
    return os.open(os.path.join(folder, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _lock(descriptor: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
