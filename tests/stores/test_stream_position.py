import pytest

from stores.storage import Storage
from stores.stream_position import Append, StreamPosition


@pytest.fixture
def position(tmp_path):
    begun = StreamPosition(Storage(str(tmp_path)), "table")
    begun.begin(5)
    return begun


def names(tmp_path):
    return sorted(path.name for path in (tmp_path / "streams/table").iterdir())


def test_a_table_follows_from_where_it_began_first(position):
    position.begin(9)
    assert position.unfinished() == (5, [])


def test_a_table_that_did_not_begin_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"start\.json"):
        StreamPosition(Storage(str(tmp_path)), "table").unfinished()


def test_appends_follow_each_other_and_stay_to_be_made_until_they_are_done(position):
    first = position.plan(5, 7)
    second = position.plan(7, 8)
    assert (first, second) == (Append(1, 5, 7), Append(2, 7, 8))
    assert position.unfinished() == (8, [first, second])
    position.finish(first)
    assert position.unfinished() == (8, [second])
    position.finish(second)
    assert position.unfinished() == (8, [])


def test_what_was_refused_is_part_of_a_later_append(position):
    first, second = position.plan(5, 7), position.plan(7, 8)
    position.refuse([first, second])
    assert position.unfinished() == (5, [])
    assert position.plan(5, 9) == Append(3, 5, 9)


def test_what_follows_a_refused_append_is_not_made_though_nobody_refused_it(position):
    first = position.plan(5, 7)
    position.plan(7, 8)
    position.refuse([first])
    assert position.unfinished() == (5, [])
    third = position.plan(5, 9)
    assert position.unfinished() == (9, [third])
    position.finish(third)
    assert position.unfinished() == (9, [])


def test_of_two_that_plan_at_once_one_is_told_that_it_lost(position, monkeypatch):
    names = position._names()
    position.plan(5, 7)
    monkeypatch.setattr(position, "_names", lambda: names)
    assert position.plan(5, 8) is None


def test_old_appends_are_forgotten_and_numbers_go_on(position, tmp_path):
    for number in range(1, 104):
        position.finish(position.plan(4 + number, 5 + number))
    assert "1.json" not in names(tmp_path)
    assert "2.done" not in names(tmp_path)
    assert {"3.json", "3.done", "103.json"} <= set(names(tmp_path))
    assert position.unfinished() == (108, [])
    assert position.plan(108, 109) == Append(104, 108, 109)
