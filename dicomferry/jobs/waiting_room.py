"""Slots of jobs that run, and tickets of jobs that wait: files of a folder of this machine.

    slot-{n}                             locked by the job that runs in it
    waiting/{number}-{store}-{caller}    locked by the process that waits
    turns.json                           last number, last turns of callers and of their stores
    queue                                locked by who reads or changes the others, for a moment

The system releases locks when their holder dies: its slot is free then, and its ticket void.
"""

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from dicomferry.jobs.turns import (
    Ticket,
    WaitingLimits,
    check_room,
    in_turn,
    with_arrival,
    with_turn,
)
from dicomferry.storage.base import Storage

# Of callers, and of their stores, whose last turn is known; the others' was the longest ago.
_MAX_KNOWN = 1000


class Admission(NamedTuple):
    """A job may run, or wait.

    Attributes:
        slot: descriptor of its slot, which is taken as long as it or a copy of it is open; None
            if it waits.
        ticket: descriptor of its ticket, likewise; None if it runs.
        name: of the ticket's file.
    """

    slot: int | None
    ticket: int | None = None
    name: str = ""


class WaitingRoom:
    """The slots and tickets of a root on this machine."""

    def __init__(self, folder: str, slots: int) -> None:
        """Use a folder, which exists.

        Args:
            folder: see `slots_folder`.
            slots: how many jobs run at once.
        """
        self.folder = folder
        self.slots = slots
        self._tickets = os.path.join(folder, "waiting")
        os.makedirs(self._tickets, mode=0o700, exist_ok=True)

    def enter(self, store: str, caller: str, limits: WaitingLimits) -> Admission:
        """Take a free slot if nobody waits, else a ticket.

        Args:
            store: name of the store.
            caller: who asks.
            limits: of tickets.

        Raises:
            QueueFullError: as many wait as may.
        """
        key, asker = _digest(store), _digest(caller)
        with self._locked():
            waiting = self._waiting()
            if not waiting and (slot := self._free_slot()) is not None:
                self._mark_served(Ticket(0, key, asker))
                return Admission(slot)
            check_room(waiting, asker, limits)
            turns = self._turns()
            number = max([turns["number"], *(ticket.number for ticket in waiting)]) + 1
            own = Ticket(number, key, asker)
            self._write_turns(number, with_arrival(own, waiting, turns["served"]))
            name = _name_of(own)
            ticket = _open(self._tickets, name)
            _lock(ticket, wait=True)
            return Admission(None, ticket, name)

    def look(self, waits: Admission) -> tuple[int | None, int]:
        """Take a slot if it is one's turn.

        Returns:
            The descriptor of the slot, and 0; or None, and the place: 1 if it is next.
        """
        own = _ticket_of(waits.name)
        with self._locked():
            waiting = {*self._waiting(but=waits.name), own}
            place = in_turn(waiting, self._turns()["served"]).index(own) + 1
            if place > 1 or (slot := self._free_slot()) is None:
                return None, place
            self._mark_served(own)
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self._tickets, waits.name))
            return slot, 0

    @contextmanager
    def _locked(self) -> Iterator[None]:
        queue = _open(self.folder, "queue")
        try:
            _lock(queue, wait=True)
            yield
        finally:
            os.close(queue)

    def _free_slot(self) -> int | None:
        for number in range(self.slots):
            slot = _open(self.folder, f"slot-{number}")
            if _lock(slot, wait=False):
                return slot
            os.close(slot)
        return None

    def _waiting(self, but: str = "") -> list[Ticket]:
        """Return the tickets whose processes live; void ones are deleted."""
        names = [name for name in os.listdir(self._tickets) if name != but]
        return [_ticket_of(name) for name in names if not self._is_void(name)]

    def _is_void(self, name: str) -> bool:
        ticket = _open(self._tickets, name)
        try:
            if not _lock(ticket, wait=False):
                return False
            os.unlink(os.path.join(self._tickets, name))
            return True
        finally:
            os.close(ticket)

    def _turns(self) -> dict[str, Any]:
        # What a power cut or a cleaner of temporary files took costs the order alone.
        with suppress(FileNotFoundError, ValueError):
            return dict(json.loads(Path(self.folder, "turns.json").read_bytes()))
        return {"number": 0, "served": {}}

    def _mark_served(self, ticket: Ticket) -> None:
        turns = self._turns()
        self._write_turns(turns["number"], with_turn(ticket, turns["served"]))

    def _write_turns(self, number: int, served: dict[str, int]) -> None:
        latest = sorted(served, key=served.__getitem__)[-_MAX_KNOWN:]
        turns = {"number": number, "served": {each: served[each] for each in latest}}
        new = Path(self.folder, "turns.new")
        new.write_text(json.dumps(turns))
        new.replace(Path(self.folder, "turns.json"))


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


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _name_of(ticket: Ticket) -> str:
    return f"{ticket.number}-{ticket.store}-{ticket.caller}"


def _ticket_of(name: str) -> Ticket:
    number, store, caller = name.split("-")
    return Ticket(int(number), store, caller)


def _open(folder: str, name: str) -> int:
    return os.open(os.path.join(folder, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _lock(descriptor: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
