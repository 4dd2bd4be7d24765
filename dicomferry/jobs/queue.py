"""Job queue of a server: wait for one's turn and a free slot, then become the job.

A job is a process from its request on, and outlives the server. While other jobs have all slots
it waits here, small, without Beam; then the same process becomes the pipeline. A server that
starts again finds those that wait: each holds its ticket itself.

    python -m dicomferry.jobs.queue FOLDER SLOTS FD TICKET MODULE --root=R --store=S --operation=ID
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, NoReturn

from dicomferry.jobs.turns import WaitingLimits
from dicomferry.jobs.waiting_room import Admission, WaitingRoom, slots_folder
from dicomferry.operations.folder import OperationFolder, adopt_operation
from dicomferry.operations.ownership import OwnedOperation
from dicomferry.resource_names import StoreName, parse_store
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage

# Times the place: who is far behind need not look often.
_LOOK_SECONDS = 0.2
_MAX_LOOK_SECONDS = 10.0


class Place(NamedTuple):
    """Where a job is to begin: in a slot, or in the queue.

    Attributes:
        program: words before the module and its flags.
        inherited: descriptors that its process inherits.
    """

    program: tuple[str, ...] = ()
    inherited: tuple[int, ...] = ()


@contextmanager
def place_for(
    root: Storage, store: StoreName, caller: str, slots: int, limits: WaitingLimits
) -> Iterator[Place]:
    """Yield the place of a new job; unless a process inherits it in the block, it is free again.

    Args:
        root: where stores are.
        store: that it works on.
        caller: who asks.
        slots: how many jobs of a root run at once on this machine; 0: any number.
        limits: of those that wait.

    Raises:
        QueueFullError: as many wait as may.
    """
    if not slots:
        yield Place()
        return
    room = WaitingRoom(slots_folder(root), slots)
    admitted = room.enter(str(store), caller, limits)
    held = admitted.slot if admitted.ticket is None else admitted.ticket
    assert held is not None
    waits = (__name__, room.folder, str(slots), str(held), admitted.name)
    try:
        yield Place(waits if admitted.slot is None else (), (held,))
    finally:
        os.close(held)


def main(argv: Sequence[str]) -> NoReturn:
    """Wait for a slot, and run a module in this very process."""
    folder, slots, descriptor, name, module, *flags = argv
    ticket = int(descriptor)
    os.set_inheritable(ticket, False)
    room, waits = WaitingRoom(folder, int(slots)), Admission(None, ticket, name)
    slot = _wait(room, waits, _recorded_operation(flags))
    os.set_inheritable(slot, True)
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


def _wait(room: WaitingRoom, waits: Admission, operation: OperationFolder) -> int:
    """Wait for a slot; meanwhile the operation shows its place, and can be cancelled."""
    message = "cancelled before it began"
    with OwnedOperation(operation, cancel_message=message, is_queued=True) as owned:
        while True:
            slot, place = room.look(waits)
            if slot is not None:
                return slot
            owned.show_place(place)
            time.sleep(min(_LOOK_SECONDS * place, _MAX_LOOK_SECONDS))


if __name__ == "__main__":
    main(sys.argv[1:])
