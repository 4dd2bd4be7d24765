"""Waiting jobs take turns by caller, then by store, and their number has bounds."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomferry.jobs.turns import (
    QueueFullError,
    Ticket,
    WaitingLimits,
    check_room,
    in_turn,
    with_arrival,
    with_turn,
)

STORES, CALLERS = "abcd", "xyz"
TAKERS = [*CALLERS, *(f"{caller}-{store}" for caller in CALLERS for store in STORES)]
WAITING = st.lists(st.tuples(st.sampled_from(STORES), st.sampled_from(CALLERS))).map(
    lambda jobs: [Ticket(number, *job) for number, job in enumerate(jobs)]
)
SERVED = st.dictionaries(st.sampled_from(TAKERS), st.integers(1, 100), max_size=8)


def tickets(stores, caller="x", first=0):
    return [Ticket(first + number, store, caller) for number, store in enumerate(stores)]


def begin_next(waiting, served):
    """Let the next job begin."""
    first = in_turn(waiting, served)[0]
    waiting.remove(first)
    served.update(with_turn(first, served))
    return first


def ask(ticket, waiting, served):
    """Let a job wait."""
    served.update(with_arrival(ticket, waiting, served))
    waiting.append(ticket)


def order_of(waiting, served):
    return "".join(ticket.store for ticket in in_turn(waiting, served))


def test_a_thousand_jobs_of_a_store_are_behind_the_first_of_another():
    waiting = tickets("a" * 1000 + "b")
    assert in_turn(waiting, {"x-a": 7})[0].store == "b"
    assert in_turn(waiting, {"x-b": 6, "x-a": 7})[0].store == "b"
    assert order_of(waiting, {"x-a": 6, "x-b": 7})[:2] == "ab"


def test_a_thousand_stores_of_a_caller_are_behind_the_first_of_another():
    waiting, served = tickets(map(str, range(1000))), {}
    begin_next(waiting, served)
    ask(Ticket(1000, "1", "y"), waiting, served)
    assert in_turn(waiting, served)[0].caller == "y"


def test_stores_alternate():
    waiting = tickets("aaabbc")
    assert order_of(waiting, {}) == "abcaba"
    assert order_of(waiting, {"x-a": 1}) == "bcabaa"


def test_callers_alternate_and_each_by_store():
    waiting = tickets("aab") + tickets("ac", "y", first=3)
    assert [(each.caller, each.store) for each in in_turn(waiting, {})] == [
        ("x", "a"), ("y", "a"), ("x", "b"), ("y", "c"), ("x", "a"),
    ]  # fmt: skip


@given(WAITING, SERVED, st.randoms())
def test_everyone_has_one_place_however_they_are_listed(waiting, served, random):
    order = in_turn(waiting, served)
    shuffled = random.sample(waiting, len(waiting))
    assert in_turn(shuffled, served) == order
    assert sorted(order) == waiting


@given(WAITING, SERVED)
def test_jobs_that_a_caller_has_on_a_store_begin_as_they_came(waiting, served):
    order = in_turn(waiting, served)
    for taker in itertools.product(STORES, CALLERS):
        own = [ticket for ticket in order if ticket[1:] == taker]
        assert own == sorted(own)


@given(WAITING.filter(len), SERVED)
def test_those_behind_move_up_by_one(waiting, served):
    """So a place that is shown grows only by jobs that are asked for later."""
    order = in_turn(waiting, served)
    assert begin_next(waiting, served) == order[0]
    assert in_turn(waiting, served) == order[1:]


# None begins a job; a caller and a store ask for one, the store "new" for one never seen.
EVENTS = st.lists(
    st.one_of(st.none(), st.tuples(st.sampled_from(CALLERS), st.sampled_from([*STORES, "new"]))),
    max_size=60,
)


@given(EVENTS)
def test_no_caller_has_two_turns_while_another_waits_for_one(events):
    check_turns(events, lambda ticket: ticket.caller)


@given(EVENTS)
def test_no_store_of_a_caller_has_two_turns_while_another_waits_for_one(events):
    events = [event and ("x", event[1]) for event in events]
    check_turns(events, lambda ticket: ticket.store)


def check_turns(events, taker_of):
    """Whatever comes meanwhile, each has a turn; and who came a turn later overtakes nobody."""
    waiting, served = [], {}
    since: dict[str, int] = {}  # turns until it began to wait, by who waits
    meanwhile: dict[str, Counter] = {}  # turns of others, by who waits
    turns = 0
    for number, event in enumerate(events):
        if event:
            caller, store = event
            ticket = Ticket(number, f"new{number}" if store == "new" else store, caller)
            ask(ticket, waiting, served)
            meanwhile.setdefault(taker_of(ticket), Counter())
            since.setdefault(taker_of(ticket), turns)
        elif waiting:
            began = taker_of(begin_next(waiting, served))
            turns += 1
            del meanwhile[began]
            begun_since = since.pop(began)
            for other, had in meanwhile.items():
                had[began] += 1
                assert had[began] == 1
                assert begun_since <= since[other]
            if any(taker_of(ticket) == began for ticket in waiting):
                meanwhile[began] = Counter()
                since[began] = turns


def test_ever_new_stores_delay_no_other_for_ever():
    waiting, served = tickets("aa"), {}
    assert begin_next(waiting, served).store == "a"
    began = []
    for number in range(2, 20):
        ask(Ticket(number, f"new{number}", "x"), waiting, served)
        began.append(begin_next(waiting, served).store)
    assert began.index("a") <= 1


def test_more_than_may_do_not_wait():
    waiting = [Ticket(1, "a", "x"), Ticket(2, "a", "x"), Ticket(3, "a", "y")]
    check_room(waiting, "x", WaitingLimits(in_all=4, of_caller=3))
    with pytest.raises(QueueFullError, match="2 jobs of yours are already queued") as full:
        check_room(waiting, "x", WaitingLimits(in_all=4, of_caller=2))
    assert full.value.is_of_caller
    check_room(waiting, "y", WaitingLimits(in_all=4, of_caller=2))
    with pytest.raises(QueueFullError, match="3 jobs are already queued: try again") as full:
        check_room(waiting, "y", WaitingLimits(in_all=3, of_caller=2))
    assert not full.value.is_of_caller
