"""What kills or hangs a worker costs the one element that did it, and seconds."""

import json
import logging
import os
import signal
import time

import pytest

from dicomferry.pipelines import log_format
from dicomferry.pipelines.log_format import LogFormat
from dicomferry.storage.errors import StorageError
from dicomferry.transforms.worker_pool import WorkerPool, _WorkerProcess
from tests.transforms.pool_functions import (
    EXITER,
    GONE,
    HANGER,
    KILLER,
    RAISER,
    TIMED_OUT,
    double,
    double_slowly,
    log_forms,
    process_ids,
)


@pytest.fixture
def pool():
    """Two processes."""
    pool = WorkerPool(2)
    yield pool
    pool.close()


@pytest.fixture
def interrupts():
    """Ctrl-C raises KeyboardInterrupt, whatever an earlier test in this process made of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def test_ctrl_c_is_left_to_the_owner_of_the_pool(pool):
    assert pool.submit(signal.getsignal, signal.SIGINT).result() is signal.SIG_IGN


def results(pool, chunks, seconds=20.0):
    found = list(pool.map(double, chunks, lambda number: f"lost {number}", lambda _: seconds))
    assert [len(each) for each in found] == [len(chunk) for chunk in chunks]
    return [result for each in found for result in each]


def expected(chunks):
    return [2 * n if n >= 0 else f"lost {n}" for chunk in chunks for n in chunk]


@pytest.mark.parametrize(
    "chunks",
    [
        [[KILLER]],
        [[1, KILLER, 3], [4, 5], [6, 7], [8, 9], [10]],
        [[1, 2], [3, 4], [5, 6], [7, 8], [9, EXITER]],
        [[KILLER, KILLER], [1, 2], [EXITER, 3]],
    ],
)
def test_an_element_that_ends_its_process_is_lost_alone_and_order_is_kept(pool, chunks):
    assert results(pool, chunks) == expected(chunks)


def test_an_element_that_hangs_is_lost_alone_when_its_time_is_over(pool):
    pool_started = list(pool.map(double, [[0]], None, lambda _: 60.0))
    assert pool_started == [[0]]
    chunks = [[1, 2], [3, HANGER], [4, 5], [6, 7], [8]]
    assert results(pool, chunks, seconds=1.0) == expected(chunks)


@pytest.mark.parametrize(
    ("number", "error"),
    [(RAISER, ZeroDivisionError), (TIMED_OUT, TimeoutError), (GONE, StorageError)],
)
def test_an_error_of_the_function_is_an_error_of_the_stage(pool, number, error):
    # The runner tries the bundle again; no file is written off for a network that was slow.
    with pytest.raises(error):
        results(pool, [[1], [number], [2]])
    assert results(pool, [[1], [2]]) == [2, 4]


def test_all_processes_start_before_any_works(pool, monkeypatch):
    """One that dies while another is started would take the fork server, and the job, with it."""
    started = []
    start = _WorkerProcess.start

    def noted(process):
        start(process)
        started.append(process.pid)

    monkeypatch.setattr(_WorkerProcess, "start", noted)
    ((process_id,),) = pool.map(process_ids, [[1]], None, lambda _: 60.0)
    assert process_id in started
    assert len(started) == 2


def test_a_pool_that_lost_workers_serves_on(pool):
    results(pool, [[KILLER]])
    assert results(pool, [[1, 2], [3]]) == [2, 4, 6]


def test_elements_go_to_processes_of_their_own(pool):
    found = {
        pid for pids in pool.map(process_ids, [[1]] * 40, None, lambda _: 20.0) for pid in pids
    }
    assert len(found) == 2
    assert os.getpid() not in found


def test_closing_ends_the_processes(pool):
    [[pid]] = pool.map(process_ids, [[1]], None, lambda _: 20.0)
    os.kill(pid, 0)
    pool.close()
    wait_until_ended([pid])


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_while_processes_start_leaves_none_behind(pool, monkeypatch):
    started = []
    start = _WorkerProcess.start

    def interrupted(process):
        start(process)
        started.append(process.pid)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_WorkerProcess, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool.warm(double)
    pool.close()
    wait_until_ended(started)
    assert len(started) == 2


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_while_a_process_fails_to_start_is_not_lost(pool, monkeypatch):
    def interrupted(process):
        signal.raise_signal(signal.SIGINT)
        raise OSError

    monkeypatch.setattr(_WorkerProcess, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool.warm(double)


def wait_until_ended(pids):
    deadline = time.monotonic() + 60
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_chunks_are_taken_as_workers_become_free(pool):
    taken = []

    def chunks():
        for number in range(10):
            taken.append(number)
            yield [number]

    found = pool.map(double_slowly, chunks(), None, lambda _: 20.0)
    assert next(found) == [0]
    assert len(taken) <= 5
    assert list(found) == [[2 * number] for number in range(1, 10)]


def test_no_workers_means_this_process():
    pool = WorkerPool(0)
    assert list(pool.map(process_ids, [[1, 2]], None, None)) == [[os.getpid()] * 2]
    assert list(pool.map(double, [[1], [2, 3]], None, None)) == [[2], [4, 6]]


def test_workers_log_in_the_form_of_their_parent(pool, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    log_format.set_up(LogFormat.JSON, "operations/1")
    [[line]] = pool.map(log_forms, [[0]], None, lambda _: 60.0)
    entry = json.loads(line)
    assert (entry["message"], entry["severity"]) == ("a line", "ERROR")
    assert entry["logging.googleapis.com/operation"]["id"] == "operations/1"
