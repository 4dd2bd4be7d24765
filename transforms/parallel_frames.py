"""Convert frames of one instance in parallel, on cores that are idle. No Beam here.

One process converts one instance, so the last instance of a job, or the only one, would use a
single core. Its process forks helpers while cores are idle, and ends them when other workers need
the cores. Helpers are forked processes: about half of the codecs hold the GIL, and a fork inherits
open files and attributes, so it only needs a frame's location.
"""

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice, repeat
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NoReturn, TypeVar

from dicomferry.errors import InstanceError, Reason
from dicomferry.operations.faults import as_instance_error
from dicomferry.pixels.parallel import FrameMap, in_order
from dicomferry.transforms.core_budget import CoreBudget
from dicomferry.transforms.crossing_errors import crossing

T = TypeVar("T")
R = TypeVar("R")

# Frames per helper: one in progress, one waiting.
_MAX_FRAMES_PER_HELPER = 2
# Results per process that wait for an earlier one.
_MAX_RESULTS_PER_PROCESS = 4
# A fork costs as much as a few frames, so a short pause of another worker is not worth one.
_MIN_FRAMES_BETWEEN_FORKS = 32
# Far beyond what the slowest codec takes for the largest frame that a helper gets.
_FRAME_SECONDS = 120


def parallel_map(cores: CoreBudget | None) -> FrameMap:
    """Return a `map` that uses all idle cores; order and results are those of `map`.

    Call only while no other thread runs: a lock held by another thread would stay locked in the
    fork.

    Args:
        cores: the budget of this worker's pool; None outside a pool.
    """
    # On macOS a fork of a process that has used system frameworks can crash.
    if cores is None or sys.platform != "linux":
        return in_order
    return partial(_parallel_map, cores)


class _Slot:
    """A result's place in the order.

    Attributes:
        answer: (True, result), or (False, error); None until it is there.
    """

    def __init__(self, answer: tuple[bool, Any] | None = None) -> None:
        self.answer: Any = answer


class _Helper:
    """A fork of this process that applies a function to the items that it gets.

    Attributes:
        waiting: slots of the items that it has, in their order.
        retired: whether it gets no more items, and ends when it has none.
    """

    def __init__(self, function: Callable[[Any], Any], others: "list[_Helper]") -> None:
        self._connection, theirs = Pipe()
        self.waiting: deque[_Slot] = deque()
        self.retired = False
        self._pid = os.fork()
        if not self._pid:
            # A helper ends when the parent's end of its pipe is closed, so no other process may
            # hold one open.
            for ours in (self, *others):
                ours._connection.close()
            _serve(theirs, function)
        theirs.close()

    @property
    def has_answered(self) -> bool:
        """Whether `receive` would return at once."""
        return bool(self.waiting) and self._connection.poll()

    def give(self, item: Any) -> _Slot:
        """Send an item; return the slot that gets its result."""
        self.waiting.append(_Slot())
        self._connection.send(item)
        return self.waiting[-1]

    def receive(self) -> None:
        """Wait for the next answer and put it into its slot.

        Raises:
            InstanceError: WORKER_LOST: a frame killed the helper's process.
        """
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise InstanceError(Reason.WORKER_LOST) from None
        self.waiting.popleft().answer = answer

    def end(self) -> None:
        """End the process, and drop the items that it still has."""
        self._connection.close()
        if self.waiting:
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _serve(connection: Connection, function: Callable[[Any], Any]) -> NoReturn:
    """Answer until the other end is closed, then exit without the parent's exit handlers."""
    try:
        while True:
            item = connection.recv()
            signal.alarm(_FRAME_SECONDS)  # kills a hung process
            connection.send(_try(function, item))
            signal.alarm(0)
    finally:
        os._exit(0)


def _try(function: Callable[[T], R], item: T) -> tuple[bool, R | BaseException]:
    try:
        return True, function(item)
    except BaseException as error:
        return False, _in_turn(error)


def _in_turn(error: BaseException) -> BaseException:
    """Return what to raise when the frames before have had their turn; raise an interrupt now.

    The traceback ends with a helper's process, so the place of a fault is taken from it here.
    """
    failure = as_instance_error(error)
    if failure is None and not isinstance(error, Exception):
        raise error
    return failure or crossing(error)


def _parallel_map(
    cores: CoreBudget, function: Callable[[T], R], items: Iterable[T], /
) -> Iterator[R]:
    """Yield results in the order of the items; this process works too.

    Each round: adjust the number of helpers, give them items, yield the next result if it is there;
    otherwise convert one item here, or wait for the helper that has the next one.
    """
    helpers = _Helpers(cores, function)
    todo = _with_final_error(items)
    slots: deque[_Slot] = deque()
    try:
        while True:
            helpers.adapt()
            for helper in helpers.free():
                for is_item, item in islice(todo, 1):
                    slots.append(helper.give(item) if is_item else _Slot((False, item)))
            helpers.collect()
            if slots and slots[0].answer is not None:
                is_result, result = slots.popleft().answer
                if not is_result:
                    raise result
                yield result
                continue
            has_room = len(slots) < _MAX_RESULTS_PER_PROCESS * (1 + helpers.size)
            own = next(todo, None) if has_room else None
            if own is not None:
                is_item, item = own
                slots.append(_Slot(_try(function, item) if is_item else own))
            elif slots:
                helpers.wait_for(slots[0])
            else:
                return
    finally:
        helpers.end()


class _Helpers:
    """The helpers of one instance: one per idle core, as far as forks are worth it."""

    def __init__(self, cores: CoreBudget, function: Callable[[Any], Any]) -> None:
        self._cores = cores
        self._function = function
        self._helpers: list[_Helper] = []
        self._frames = _MIN_FRAMES_BETWEEN_FORKS

    @property
    def size(self) -> int:
        """The number of helpers."""
        return len(self._helpers)

    def adapt(self) -> None:
        """Fork a helper if a core is idle, retire one if other workers need the cores."""
        self._frames += 1
        if self._helpers and self._cores.is_oversubscribed:
            self._helpers[-1].retired = True
        idle = [helper for helper in self._helpers if helper.retired and not helper.waiting]
        for helper in idle:
            self._end(helper)
        if self._frames > _MIN_FRAMES_BETWEEN_FORKS and self._cores.try_acquire():
            self._frames = 0
            self._helpers.append(_Helper(self._function, self._helpers))

    def free(self) -> Iterator[_Helper]:
        """Yield helpers that can get an item, each as often as it can get one."""
        for helper in self._helpers:
            if not helper.retired:
                yield from repeat(helper, _MAX_FRAMES_PER_HELPER - len(helper.waiting))

    def collect(self) -> None:
        """Receive all answers that are there."""
        for helper in self._helpers:
            while helper.has_answered:
                helper.receive()

    def wait_for(self, slot: _Slot) -> None:
        """Wait for one answer of the helper that has a slot's item."""
        next(helper for helper in self._helpers if slot in helper.waiting).receive()

    def end(self) -> None:
        """End all helpers."""
        while self._helpers:
            self._end(self._helpers[-1])

    def _end(self, helper: _Helper) -> None:
        self._helpers.remove(helper)
        helper.end()
        self._cores.leave()


def _with_final_error(items: Iterable[T]) -> Iterator[tuple[bool, Any]]:
    """Yield (True, item) for each item, then (False, error) if iteration raised.

    So the error is raised in order, after the results of the items before it.
    """
    try:
        for item in items:
            yield True, item
    except BaseException as error:
        yield False, _in_turn(error)
