"""Who is next: waiting jobs take turns by caller, then by store; their number is bounded.

Plain functions; `dicomferry.jobs.queue` keeps what they decide on.
"""

from collections.abc import Callable, Iterable, Mapping
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
            f"{limit} jobs {whose}are already queued: try again when some of them have "
            "started, or cancel some"
        )
        self.limit = limit
        self.is_of_caller = is_of_caller


def in_turn(waiting: Iterable[Ticket], served: Mapping[str, int]) -> list[Ticket]:
    """Return waiting jobs in the order of their turns: by caller, and of a caller by store.

    The first jobs of all callers come before the second of any. Among them the caller comes first
    whose last turn is the longest ago, then the one whose first job is the oldest. So it is with
    the stores of a caller.

    Args:
        waiting: jobs of any order.
        served: turns of callers and of their stores, as `with_arrival` and `with_turn` make them.
    """
    return _rounds(
        {
            caller: _rounds(_grouped(jobs, _store_of), served)
            for caller, jobs in _grouped(waiting, _caller_of).items()
        },
        served,
    )


def with_arrival(
    ticket: Ticket, waiting: Iterable[Ticket], served: Mapping[str, int]
) -> dict[str, int]:
    """Return the turns when a job begins to wait.

    Who had no job that waits, or is new, counts as served just before the last turn. So it comes
    before the one that had that, and behind all others that wait: new ones overtake nobody again
    and again.

    Args:
        ticket: of the job.
        waiting: those that wait already.
        served: turns until now.
    """
    waiting = list(waiting)
    before = _last(served) - 1
    idle = _takers(ticket).difference(*map(_takers, waiting))
    return {**served, **{taker: max(served.get(taker, 0), before) for taker in idle}}


def with_turn(ticket: Ticket, served: Mapping[str, int]) -> dict[str, int]:
    """Return the turns when a job begins to run."""
    return {**served, **dict.fromkeys(_takers(ticket), _last(served) + 1)}


def _rounds(jobs: Mapping[str, list[Ticket]], served: Mapping[str, int]) -> list[Ticket]:
    takers = sorted(jobs, key=lambda taker: (served.get(taker, 0), min(jobs[taker])))
    rounds = zip_longest(*(jobs[taker] for taker in takers))
    return [ticket for turns in rounds for ticket in turns if ticket]


def _grouped(
    waiting: Iterable[Ticket], taker_of: Callable[[Ticket], str]
) -> dict[str, list[Ticket]]:
    groups: dict[str, list[Ticket]] = {}
    for ticket in sorted(waiting):
        groups.setdefault(taker_of(ticket), []).append(ticket)
    return groups


def _caller_of(ticket: Ticket) -> str:
    return ticket.caller


def _store_of(ticket: Ticket) -> str:
    # Of this caller: turns that others have with a store are none of its own.
    return f"{ticket.caller}-{ticket.store}"


def _takers(ticket: Ticket) -> set[str]:
    return {_caller_of(ticket), _store_of(ticket)}


def _last(served: Mapping[str, int]) -> int:
    return max(served.values(), default=0)


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
