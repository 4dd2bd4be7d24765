"""Slots and tickets lie in files, and are their holders' for as long as these live."""

import os
import subprocess
import sys

import pytest

from dicomferry.jobs.turns import QueueFullError, WaitingLimits
from dicomferry.jobs.waiting_room import WaitingRoom

LIMITS = WaitingLimits(in_all=5, of_caller=4)


@pytest.fixture
def room(tmp_path):
    return WaitingRoom(str(tmp_path), 1)


def again(room):
    """The room as another process sees it."""
    return WaitingRoom(room.folder, room.slots)


def end(admission):
    """What the system does when a process ends."""
    os.close(admission.slot if admission.ticket is None else admission.ticket)


def begun(room, waits):
    """Which of those that wait gets the free slot, whoever looks first."""
    found = [(name, slot) for name, each in waits.items() if (slot := room.look(each)[0])]
    [(name, slot)] = found
    os.close(waits.pop(name).ticket)
    os.close(slot)
    return name


def test_a_slot_is_taken_once_and_free_again_when_its_job_has_ended(room):
    first = room.enter("a", "x", LIMITS)
    assert first.slot is not None
    waits = again(room).enter("a", "x", LIMITS)
    assert waits.slot is None
    assert room.look(waits) == (None, 1)
    end(first)
    slot, place = room.look(waits)
    assert (slot is None, place) == (False, 0)
    end(waits)
    assert again(room).enter("b", "x", LIMITS).slot is None, "the slot is taken"


def test_nobody_overtakes_those_that_wait(room):
    first = room.enter("a", "x", LIMITS)
    waits = room.enter("a", "x", LIMITS)
    end(first)
    late = room.enter("a", "x", LIMITS)
    assert late.slot is None
    assert room.look(late) == (None, 2)
    assert room.look(waits)[0] is not None


def test_turns_go_round_after_a_restart_too(room):
    first = room.enter("a", "x", LIMITS)
    waits = {name: room.enter(name[0], "x", LIMITS) for name in ("a2", "a3")}
    room = again(room)
    waits["b1"] = room.enter("b", "y", LIMITS)
    waits["b2"] = room.enter("b", "y", LIMITS)
    assert [room.look(each)[1] for each in waits.values()] == [2, 4, 1, 3]
    end(first)
    assert [begun(again(room), waits) for _ in range(4)] == ["b1", "a2", "b2", "a3"]


def test_a_ticket_is_void_when_its_process_has_ended(room):
    first = room.enter("a", "x", LIMITS)
    waits = [room.enter("a", "x", LIMITS) for _ in range(4)]
    with pytest.raises(QueueFullError):
        room.enter("a", "x", LIMITS)
    assert room.look(waits[3]) == (None, 4)
    end(waits[0])
    assert room.look(waits[3]) == (None, 3)
    room.enter("a", "x", LIMITS)
    with pytest.raises(QueueFullError):
        room.enter("a", "x", LIMITS)
    end(first)


def test_a_ticket_is_its_process_s_when_the_server_is_gone(room):
    first = room.enter("a", "x", LIMITS)
    waits = room.enter("a", "x", LIMITS)
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        pass_fds=[waits.ticket],
    )
    end(waits)
    other = room.enter("a", "x", LIMITS)
    assert room.look(other) == (None, 2)
    process.communicate(timeout=30)
    assert room.look(other) == (None, 1)
    end(first)


def test_a_store_waits_for_none_that_came_later_though_they_are_new(room):
    """Each begins as the next is asked for."""
    slot = room.enter("old", "x", LIMITS)
    waits = {"old": room.enter("old", "x", LIMITS)}
    order = []
    for number in range(6):
        waits[f"new{number}"] = room.enter(f"new{number}", "x", LIMITS)
        if number == 1:
            end(slot)
        if number:
            order.append(begun(again(room), waits))
    assert order == ["new0", "new1", "old", "new2", "new3"]


def test_the_last_turns_of_a_thousand_are_known(room, monkeypatch):
    monkeypatch.setattr("dicomferry.jobs.waiting_room._MAX_KNOWN", 3)
    for store in "abcde":
        end(room.enter(store, "x", LIMITS))
    assert sorted(room._turns()["served"].values()) == [4, 5, 5]


def test_a_file_of_turns_that_was_cut_costs_the_order_alone(room, tmp_path):
    end(room.enter("a", "x", LIMITS))
    (tmp_path / "turns.json").write_text('{"num')
    first = room.enter("a", "x", LIMITS)
    assert first.slot is not None
    assert room.enter("a", "x", LIMITS).ticket is not None
