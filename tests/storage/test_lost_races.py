"""Many writers that race for commits all get through, and give up only where nobody does.

Simulated: each request takes as long as one to a bucket does, and the first to write the next
version wins.
"""

import heapq
import random
from typing import NamedTuple

import pytest

from dicomferry.storage.lost_races import MAX_STALLED, Race, next_level


class Simulated(NamedTuple):
    commits: int
    attempts: int
    seconds: float
    gave_up: int


def simulate(writers, seed, commits_each=1):
    """Let writers commit: list the log, read what is new, write an entry, each 0.3 to 2 s."""
    dice = random.Random(seed)
    version = attempts = gave_up = 0
    now = 0.0
    races = {number: Race(dice.uniform) for number in range(writers)}
    left = dict.fromkeys(races, commits_each)
    begins = [(dice.uniform(0, 2), number, None) for number in races]
    events = [(moment, number, None) for moment, number, _ in begins]
    heapq.heapify(events)
    while events:
        now, number, loaded = heapq.heappop(events)
        if loaded is None:  # an attempt begins; what is listed is the version of this moment
            window = sum(dice.uniform(0.3, 2) for _ in range(3))
            heapq.heappush(events, (now + window, number, (now, version)))
            continue
        attempts += 1
        began, seen = loaded
        if seen == version:
            version += 1
            left[number] -= 1
            races[number] = Race(dice.uniform)
            if left[number]:
                heapq.heappush(events, (now + dice.uniform(0, 2), number, None))
            continue
        pause = races[number].lose(began, now, seen)
        if pause is None:
            gave_up += 1
        else:
            heapq.heappush(events, (now + pause, number, None))
    return Simulated(version, attempts, now, gave_up)


@pytest.mark.parametrize(("writers", "attempts_each"), [(1, 1), (10, 6), (80, 20), (1000, 60)])
def test_all_writers_commit_in_the_time_that_their_commits_take(writers, attempts_each):
    found = simulate(writers, seed=writers)
    print(found)
    assert (found.commits, found.gave_up) == (writers, 0)
    # 3.5 s a commit where they come one after the other.
    assert found.seconds < 3.5 * writers + 120
    assert found.attempts <= attempts_each * writers


def test_a_writer_that_is_refused_although_nobody_commits_gives_up():
    race = Race(lambda low, high: high)
    pauses = []
    while (pause := race.lose(0.0, 1.0, 7)) is not None:
        pauses.append(pause)
    assert race.stalled == MAX_STALLED
    assert race.attempts == MAX_STALLED + 1


def test_a_commit_of_another_is_progress_however_many_attempts_were_in_vain():
    race = Race(lambda low, high: high)
    pauses = [race.lose(number, number + 1.0, number) for number in range(10_000)]
    assert max(pauses) == 16.0


def test_pauses_grow_where_commits_leave_no_gap_and_shrink_where_they_do():
    assert [next_level(level, 1.0, 1.0) for level in range(6)] == [1, 2, 3, 4, 4, 4]
    assert [next_level(level, 1.0, 10.0) for level in range(4)] == [0, 0, 1, 2]
