import pytest

from dicomferry.storage.registry import open_storage
from dicomferry.store.stream_log import Append, StreamLog


@pytest.fixture
def log(tmp_path):
    begun = StreamLog(open_storage(str(tmp_path)), "table")
    begun.start(5)
    return begun


def names(tmp_path):
    return sorted(path.name for path in (tmp_path / "streams/table").iterdir())


def state(log):
    version, pending, _ = log.state()
    return version, pending


def plan(log, until):
    return log.plan(log.state(), until)


def test_a_table_follows_from_where_it_began_first(log):
    log.start(9)
    assert state(log) == (5, [])


def test_a_table_that_did_not_begin_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"start\.json"):
        StreamLog(open_storage(str(tmp_path)), "table").state()


def test_appends_follow_each_other_and_stay_to_be_made_until_they_are_done(log):
    first, second = plan(log, 7), plan(log, 8)
    assert (first, second) == (Append(1, 5, 7), Append(2, 7, 8))
    assert state(log) == (8, [first, second])
    log.mark_done(first)
    assert state(log) == (8, [second])
    log.mark_done(second)
    assert state(log) == (8, [])


def test_what_was_refused_is_part_of_a_later_append(log):
    log.mark_refused([plan(log, 7), plan(log, 8)])
    assert state(log) == (5, [])
    assert plan(log, 9) == Append(3, 5, 9)


def test_what_follows_a_refused_append_is_not_made_though_nobody_refused_it(log):
    first = plan(log, 7)
    plan(log, 8)
    log.mark_refused([first])
    assert state(log) == (5, [])
    third = plan(log, 9)
    assert state(log) == (9, [third])
    log.mark_done(third)
    assert state(log) == (9, [])


def test_of_two_that_plan_at_once_one_is_told_that_it_lost(log):
    before = log.state()
    assert log.plan(before, 7) == Append(1, 5, 7)
    assert log.plan(before, 8) is None


def test_old_appends_are_forgotten_and_numbers_go_on(log, tmp_path):
    for number in range(1, 104):
        log.mark_done(plan(log, 5 + number))
    assert "1.json" not in names(tmp_path)
    assert "2.done" not in names(tmp_path)
    assert {"3.json", "3.done", "103.json"} <= set(names(tmp_path))
    assert state(log) == (108, [])
    assert plan(log, 109) == Append(104, 108, 109)


def test_what_a_table_has_by_other_means_is_not_appended(log):
    refused = plan(log, 7)
    log.mark_refused([refused])
    pending = plan(log, 8)
    assert log.passed() == 5
    log.cover(8)
    assert state(log) == (8, [])
    assert log.passed() == 8
    assert not log.is_pending(pending)


def test_a_table_that_has_an_older_snapshot_gets_what_came_since_once_more(log):
    log.mark_done(plan(log, 9))
    log.cover(7)
    assert state(log) == (7, [])
    assert plan(log, 10) == Append(3, 7, 10)


def test_what_does_not_follow_the_index_is_not_covered_and_holds_nothing(tmp_path):
    other = StreamLog(open_storage(str(tmp_path)), "other")
    other.cover(3)
    assert other.passed() is None
    assert not (tmp_path / "streams").exists()
