"""Waiting jobs take turns by store, and their number has bounds."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomferry.jobs.turns import QueueFullError, Ticket, WaitingLimits, check_room, in_turn

STORES = "abcd"
WAITING = st.lists(st.tuples(st.sampled_from(STORES), st.sampled_from("xyz"))).map(
    lambda jobs: [Ticket(number, *job) for number, job in enumerate(jobs)]
)
SERVED = st.dictionaries(st.sampled_from(STORES), st.integers(1, 100), max_size=4)


def tickets(stores, first=0):
    return [Ticket(first + number, store, "x") for number, store in enumerate(stores)]


def begin_next(waiting, served):
    """Let the next job begin."""
    first = in_turn(waiting, served)[0]
    waiting.remove(first)
    served[first.store] = max(served.values(), default=0) + 1
    return first


def test_a_thousand_jobs_of_a_store_are_behind_the_first_of_another():
    waiting = tickets("a" * 1000 + "b")
    assert in_turn(waiting, {"a": 7})[0].store == "b"
    assert in_turn(waiting, {"b": 6, "a": 7})[0].store == "b"
    assert [each.store for each in in_turn(waiting, {"a": 6, "b": 7})[:2]] == ["a", "b"]


def test_stores_alternate():
    waiting = tickets("aaabbc")
    order = "".join(ticket.store for ticket in in_turn(waiting, {}))
    assert order == "abcaba"
    order = "".join(ticket.store for ticket in in_turn(waiting, {"a": 1}))
    assert order == "bcabaa"


@given(WAITING, SERVED, st.randoms())
def test_everyone_has_one_place_however_they_are_listed(waiting, served, random):
    order = in_turn(waiting, served)
    shuffled = random.sample(waiting, len(waiting))
    assert in_turn(shuffled, served) == order
    assert sorted(order) == waiting


@given(WAITING, SERVED)
def test_jobs_of_a_store_begin_as_they_came(waiting, served):
    order = in_turn(waiting, served)
    for store in STORES:
        own = [ticket for ticket in order if ticket.store == store]
        assert own == sorted(own)


@given(WAITING.filter(len), SERVED)
def test_those_behind_move_up_by_one(waiting, served):
    """So a place that is shown grows only by jobs that are asked for later."""
    order = in_turn(waiting, served)
    assert begin_next(waiting, served) == order[0]
    assert in_turn(waiting, served) == order[1:]


@given(st.lists(st.one_of(st.just(""), st.sampled_from(STORES)), max_size=60))
def test_no_store_has_two_turns_while_another_waits_for_one(events):
    """Whatever comes meanwhile: '' begins a job, a name asks for one."""
    waiting, served = [], {}
    meanwhile: dict[str, Counter] = {}  # turns of others, by store that waits
    for number, event in enumerate(events):
        if event:
            waiting.append(Ticket(number, event, "x"))
            meanwhile.setdefault(event, Counter())
        elif waiting:
            began = begin_next(waiting, served).store
            del meanwhile[began]
            for turns in meanwhile.values():
                turns[began] += 1
                assert turns[began] == 1
            if any(ticket.store == began for ticket in waiting):
                meanwhile[began] = Counter()


def test_more_than_may_do_not_wait():
    waiting = [Ticket(1, "a", "x"), Ticket(2, "a", "x"), Ticket(3, "a", "y")]
    check_room(waiting, "x", WaitingLimits(in_all=4, of_caller=3))
    with pytest.raises(QueueFullError, match="2 jobs of yours wait already: ask again") as full:
        check_room(waiting, "x", WaitingLimits(in_all=4, of_caller=2))
    assert full.value.is_of_caller
    check_room(waiting, "y", WaitingLimits(in_all=4, of_caller=2))
    with pytest.raises(QueueFullError, match="3 jobs wait already: ask again") as full:
        check_room(waiting, "y", WaitingLimits(in_all=3, of_caller=2))
    assert not full.value.is_of_caller
