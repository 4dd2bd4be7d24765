"""Job queue of a server: wait for a free slot, then become the job.

A job is a process from its request on, and outlives the server. While other jobs have all slots
it waits here, small, without Beam; then the same process becomes the pipeline. Slots are locks on
files, which the system releases when their holder dies. Of the waiting processes one at a time,
the head of the queue, looks for a free slot.

    python -m dicomferry.jobs.queue FOLDER SLOTS MODULE --root=R --store=S … --operation=ID
"""

import fcntl
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from dicomferry.operations.folder import OperationFolder, adopt_operation
from dicomferry.operations.ownership import OwnedOperation
from dicomferry.resource_names import parse_store
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage

_LOOK_SECONDS = 0.2


def slots_folder(root: Storage) -> str:
    """Return the folder of this machine that holds the slots for jobs of a root.

    Raises:
        ValueError: another user has created it.
    """
    ours = Path(tempfile.gettempdir()) / f"dicomferry-{os.getuid()}"
    ours.mkdir(mode=0o700, exist_ok=True)
    if ours.is_symlink() or ours.stat().st_uid != os.getuid():
        raise ValueError(f"{ours} belongs to another user: set $TMPDIR to a folder of your own")
    folder = ours / hashlib.sha256(root.root.encode()).hexdigest()[:16]
    folder.mkdir(exist_ok=True)
    return str(folder)


def try_acquire_slot(folder: str, slots: int) -> int | None:
    """Lock a free slot, unless other jobs are in the queue.

    Returns:
        A descriptor; the slot is taken as long as it or a copy of it is open. None if no slot is
        free.
    """
    queue = _open(folder, "queue")
    try:
        return _free_slot(folder, slots) if _lock(queue, wait=False) else None
    finally:
        os.close(queue)


@contextmanager
def inherit_slot(slot: int | None) -> Iterator[list[int]]:
    """Yield the descriptors that a new process inherits; the slot is its own from then on."""
    if slot is None:
        yield []
        return
    try:
        yield [slot]
    finally:
        os.close(slot)


def main(argv: Sequence[str]) -> NoReturn:
    """Wait for a slot, and run a module in this very process."""
    folder, slots, module, *flags = argv
    slot = _wait(folder, int(slots), _recorded_operation(flags))
    os.set_inheritable(slot, True)
    # This releases the lock of the queue, for the next to look, but not that of the slot.
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *flags])


def _recorded_operation(flags: Sequence[str]) -> OperationFolder:
    """Return the operation of this process, once it is recorded.

    Raises:
        OperationNotFoundError, NotOwnedError: the parent died before it recorded it.
    """
    sys.stdin.buffer.read()
    given = dict(flag.removeprefix("--").split("=", 1) for flag in flags if "=" in flag)
    parent = parse_store(given["store"]).parent
    return adopt_operation(open_storage(given["root"]), parent, given["operation"])


def _wait(folder: str, slots: int, operation: OperationFolder) -> int:
    """Wait for a slot; meanwhile the operation shows as queued and can be cancelled."""
    message = "cancelled before it began"
    with OwnedOperation(operation, cancel_message=message, is_queued=True):
        _lock(_open(folder, "queue"), wait=True)
        while (slot := _free_slot(folder, slots)) is None:
            time.sleep(_LOOK_SECONDS)
    return slot


def _free_slot(folder: str, slots: int) -> int | None:
    for number in range(slots):
        slot = _open(folder, f"slot-{number}")
        if _lock(slot, wait=False):
            return slot
        os.close(slot)
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
