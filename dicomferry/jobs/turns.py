"""Who is next: waiting jobs take turns by store, and their number is bounded.

Plain functions; `dicomferry.jobs.queue` keeps what they decide on.
"""

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import NamedTuple


class Ticket(NamedTuple):
    """A job that waits.

    Attributes:
        number: later ones have higher numbers.
        store: digest of the store that it works on.
        caller: digest of who asked for it.
    """

    number: int
    store: str
    caller: str


class WaitingLimits(NamedTuple):
    """How many jobs may wait.

    Attributes:
        in_all: of everybody.
        of_caller: of one caller.
    """

    in_all: int = 200
    of_caller: int = 50


DEFAULT_LIMITS = WaitingLimits()


class QueueFullError(Exception):
    """A job may not even wait.

    Attributes:
        limit: how many may wait.
        is_of_caller: whether that is the limit of the caller, rather than of everybody.
    """

    def __init__(self, limit: int, *, is_of_caller: bool) -> None:
        whose = "of yours " if is_of_caller else ""
        super().__init__(
            f"{limit} jobs {whose}wait already: ask again when some of them have begun, "
            "or cancel some"
        )
        self.limit = limit
        self.is_of_caller = is_of_caller


def in_turn(waiting: Iterable[Ticket], served: Mapping[str, int]) -> list[Ticket]:
    """Return waiting jobs in the order of their turns, which go round by store.

    The first jobs of all stores come before the second of any. Among them the store comes first
    whose last turn is the longest ago, or that never had one and whose first job is the oldest.

    Args:
        waiting: jobs of any order.
        served: the number of the last turn of stores that had one; later turns are higher.
    """
    by_store: dict[str, list[Ticket]] = {}
    for ticket in sorted(waiting):
        by_store.setdefault(ticket.store, []).append(ticket)
    # Their first tickets are in order, and sorting is stable.
    stores = sorted(by_store, key=lambda store: served.get(store, 0))
    rounds = zip_longest(*(by_store[store] for store in stores))
    return [ticket for turns in rounds for ticket in turns if ticket]


def check_room(waiting: Iterable[Ticket], caller: str, limits: WaitingLimits) -> None:
    """Refuse a job that is to wait where enough do.

    Raises:
        QueueFullError: as many wait as may.
    """
    callers = [ticket.caller for ticket in waiting]
    if callers.count(caller) >= limits.of_caller:
        raise QueueFullError(limits.of_caller, is_of_caller=True)
    if len(callers) >= limits.in_all:
        raise QueueFullError(limits.in_all, is_of_caller=False)
