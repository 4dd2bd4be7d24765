import pytest

from dicomferry.storage.registry import open_storage
from dicomferry.store.stream_log import Append, StreamPosition


@pytest.fixture
def position(tmp_path):
    begun = StreamPosition(open_storage(str(tmp_path)), "table")
    begun.begin(5)
    return begun


def names(tmp_path):
    return sorted(path.name for path in (tmp_path / "streams/table").iterdir())


def standing(position):
    at, appends, _ = position.standing()
    return at, appends


def plan(position, upto):
    return position.plan(position.standing(), upto)


def test_a_table_follows_from_where_it_began_first(position):
    position.begin(9)
    assert standing(position) == (5, [])


def test_a_table_that_did_not_begin_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"start\.json"):
        StreamPosition(open_storage(str(tmp_path)), "table").standing()


def test_appends_follow_each_other_and_stay_to_be_made_until_they_are_done(position):
    first, second = plan(position, 7), plan(position, 8)
    assert (first, second) == (Append(1, 5, 7), Append(2, 7, 8))
    assert standing(position) == (8, [first, second])
    position.finish(first)
    assert standing(position) == (8, [second])
    position.finish(second)
    assert standing(position) == (8, [])


def test_what_was_refused_is_part_of_a_later_append(position):
    position.refuse([plan(position, 7), plan(position, 8)])
    assert standing(position) == (5, [])
    assert plan(position, 9) == Append(3, 5, 9)


def test_what_follows_a_refused_append_is_not_made_though_nobody_refused_it(position):
    first = plan(position, 7)
    plan(position, 8)
    position.refuse([first])
    assert standing(position) == (5, [])
    third = plan(position, 9)
    assert standing(position) == (9, [third])
    position.finish(third)
    assert standing(position) == (9, [])


def test_of_two_that_plan_at_once_one_is_told_that_it_lost(position):
    before = position.standing()
    assert position.plan(before, 7) == Append(1, 5, 7)
    assert position.plan(before, 8) is None


def test_old_appends_are_forgotten_and_numbers_go_on(position, tmp_path):
    for number in range(1, 104):
        position.finish(plan(position, 5 + number))
    assert "1.json" not in names(tmp_path)
    assert "2.done" not in names(tmp_path)
    assert {"3.json", "3.done", "103.json"} <= set(names(tmp_path))
    assert standing(position) == (108, [])
    assert plan(position, 109) == Append(104, 108, 109)
