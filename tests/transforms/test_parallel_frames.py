"""Frames of one instance go to idle cores; nobody can tell from the result."""

import multiprocessing
import os
import signal
import sys
import time

import psutil
import pytest

from dicomferry.errors import InstanceError, Reason
from dicomferry.transforms.core_budget import CoreBudget
from dicomferry.transforms.parallel_frames import parallel_map

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="helpers are forked on Linux only")


@pytest.fixture
def cores():
    """A pool of two, of which one process is at work: this one."""
    cores = CoreBudget(2, multiprocessing.get_context("forkserver"))
    cores.enter()
    before = psutil.Process().children()
    yield cores
    assert cores.try_acquire(), "a helper's core was not given back"
    assert not cores.try_acquire()
    assert psutil.Process().children() == before, "a helper lives on"


def slow_square(number):
    time.sleep(0.002)
    return number * number


def process_id(_):
    time.sleep(0.002)
    return os.getpid()


def test_results_come_in_the_order_of_the_items(cores):
    assert list(parallel_map(cores)(slow_square, range(100))) == [n * n for n in range(100)]


def test_an_idle_core_is_put_to_use(cores):
    found = list(parallel_map(cores)(process_id, range(100)))
    assert len(set(found)) == 2
    assert min(found.count(pid) for pid in set(found)) > 20


def test_without_an_idle_core_the_process_is_alone(cores):
    cores.enter()
    assert set(parallel_map(cores)(process_id, range(20))) == {os.getpid()}
    cores.leave()


def test_a_helper_goes_when_its_core_is_wanted_and_another_comes_later(cores):
    def items():
        for number in range(300):
            if number == 100:
                cores.enter()
            if number == 200:
                cores.leave()
            yield number

    found = list(parallel_map(cores)(process_id, items()))
    assert len(set(found[:100])) == 2
    # What it was given before it still does.
    assert set(found[110:200]) == {os.getpid()}
    assert len(set(found[200:])) == 2
    assert len(set(found)) == 3


@pytest.mark.parametrize("bad", [0, 1, 2, 3, 50, 99])
def test_an_error_has_its_turn_as_results_have(cores, bad):
    def function(number):
        if number >= bad:
            raise InstanceError("CODE_STREAM_INVALID" if number == bad else "NOT_DICOM")
        return number

    found = []
    with pytest.raises(InstanceError, match="CODE_STREAM_INVALID"):
        for result in parallel_map(cores)(function, range(100)):
            found.append(result)
    assert found == list(range(bad))


def test_an_error_of_the_items_has_its_turn_too(cores):
    def items():
        yield from range(30)
        raise InstanceError(Reason.FRAMES_NOT_FOUND)

    found = []
    with pytest.raises(InstanceError, match="FRAMES_NOT_FOUND"):
        for result in parallel_map(cores)(slow_square, items()):
            found.append(result)
    assert found == [n * n for n in range(30)]


class UnpicklableError(Exception):
    def __init__(self, one, two):
        super().__init__(one, two, lambda: None)


class NotUnpicklableError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


PANIC = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})


@pytest.mark.parametrize(
    "error", [UnpicklableError(1, 2), NotUnpicklableError(1, 2), PANIC(), IndexError()]
)
@pytest.mark.parametrize("by_helper", [True, False])
def test_whatever_a_frame_raises_has_its_turn_and_its_place(cores, error, by_helper):
    parent = os.getpid()

    def function(number):
        if (os.getpid() != parent) == by_helper and number >= 10:
            raise error
        return number

    found = []
    with pytest.raises(InstanceError) as caught:
        for result in parallel_map(cores)(function, range(100)):
            found.append(result)
    assert caught.value.code == Reason.INTERNAL_ERROR
    assert caught.value.fault.kind.endswith(type(error).__name__)
    assert any("function" in frame for frame in caught.value.fault.frames)
    assert found == list(range(len(found)))


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()])
def test_what_is_not_the_frame_s_crosses_as_it_is(cores, error):
    parent = os.getpid()

    def function(number):
        if os.getpid() != parent:
            raise error
        return number

    with pytest.raises(type(error)) as caught:
        list(parallel_map(cores)(function, range(100)))
    assert caught.value.args == error.args


def test_a_frame_that_kills_a_helper_is_the_instance_s_failure(cores):
    parent = os.getpid()

    def function(number):
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with pytest.raises(InstanceError, match="WORKER_LOST"):
        list(parallel_map(cores)(function, range(100)))


def test_who_stops_asking_leaves_no_helper_behind(cores):
    results = parallel_map(cores)(slow_square, range(1000))
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    results.close()


def test_few_items_are_taken_ahead_of_the_results(cores):
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    results = parallel_map(cores)(slow_square, items())
    for number in range(100):
        assert next(results) == number * number
        assert len(taken) - number <= 10
    results.close()
