"""Work on frames of one instance on cores that other instances leave idle. No Beam here.

One instance is one process's work, so the last one of a job, or the only one, would keep a single
core busy. Its process forks helpers while cores are idle, and lets them go when they are wanted.
Forks, since half of the codecs hold Python's lock, and since a fork needs nothing but the place of
a frame to work on it: files and attributes are inherited.
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
from dicomferry.pixels.parallel import FrameMap, in_order
from dicomferry.transforms.core_budget import CoreBudget

T = TypeVar("T")
R = TypeVar("R")

# Frames that a helper has: one to work on, one waiting.
_AHEAD = 2
# Results that wait for an earlier one, per process.
_WAITING = 4
# A fork takes as long as a few frames: not again for each moment that another process pauses.
_FRAMES_BETWEEN_FORKS = 32
# Far beyond what the slowest codec takes for the largest frame that is spread.
_FRAME_SECONDS = 120


def parallel_map(cores: CoreBudget | None) -> FrameMap:
    """Return a `map` that works on as many cores as are idle; order and results are the same.

    The process must have no thread that works: of what such a one holds, a fork has a dead copy.
    """
    # Elsewhere a fork of a process that has used the system's frameworks may crash.
    if cores is None or sys.platform != "linux":
        return in_order
    return partial(_parallel_map, cores)


class _Slot:
    """The place of a result in the order, and (True, result) or (False, error) when it is there."""

    def __init__(self, answer: tuple[bool, Any] | None = None) -> None:
        self.answer: Any = answer


class _Helper:
    """A fork of this process that applies a function to what it is sent."""

    def __init__(self, function: Callable[[Any], Any], others: "list[_Helper]") -> None:
        self._connection, theirs = Pipe()
        self.waiting: deque[_Slot] = deque()
        self.retired = False
        self._pid = os.fork()
        if not self._pid:
            # A helper lives until its parent's end of the pipe is closed, by the parent alone.
            for ours in (self, *others):
                ours._connection.close()
            _serve(theirs, function)
        theirs.close()

    @property
    def has_answered(self) -> bool:
        return bool(self.waiting) and self._connection.poll()

    def give(self, item: Any) -> _Slot:
        self.waiting.append(_Slot())
        self._connection.send(item)
        return self.waiting[-1]

    def receive(self) -> None:
        """Wait for the next answer.

        Raises:
            InstanceError: WORKER_LOST, when a frame has ended the helper's process.
        """
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise InstanceError(Reason.WORKER_LOST) from None
        self.waiting.popleft().answer = answer

    def end(self) -> None:
        self._connection.close()
        if self.waiting:
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _serve(connection: Connection, function: Callable[[Any], Any]) -> NoReturn:
    """Answer until the other end is closed. Nothing that the parent would do at exit is done."""
    try:
        while True:
            item = connection.recv()
            signal.alarm(_FRAME_SECONDS)  # ends the process
            connection.send(_try(function, item))
            signal.alarm(0)
    finally:
        os._exit(0)


def _try(function: Callable[[T], R], item: T) -> tuple[bool, R | Exception]:
    try:
        return True, function(item)
    except Exception as error:  # raised in the parent, where the frame's turn has come
        return False, error


def _parallel_map(
    cores: CoreBudget, function: Callable[[T], R], items: Iterable[T], /
) -> Iterator[R]:
    crew = _Crew(cores, function)
    todo = _with_its_error(items)
    slots: deque[_Slot] = deque()
    try:
        while True:
            crew.adapt()
            for helper in crew.free():
                for is_item, item in islice(todo, 1):
                    slots.append(helper.give(item) if is_item else _Slot((False, item)))
            crew.collect()
            if slots and slots[0].answer is not None:
                done, result = slots.popleft().answer
                if not done:
                    raise result
                yield result
                continue
            may_go_on = len(slots) < _WAITING * (1 + crew.size)
            own = next(todo, None) if may_go_on else None
            if own is not None:
                is_item, item = own
                slots.append(_Slot(_try(function, item) if is_item else own))
            elif slots:
                crew.wait_for(slots[0])
            else:
                return
    finally:
        crew.end()


class _Crew:
    """The helpers of one instance, as many as there are idle cores."""

    def __init__(self, cores: CoreBudget, function: Callable[[Any], Any]) -> None:
        self._cores = cores
        self._function = function
        self._helpers: list[_Helper] = []
        self._frames = _FRAMES_BETWEEN_FORKS

    @property
    def size(self) -> int:
        return len(self._helpers)

    def adapt(self) -> None:
        """Fork a helper if a core is idle, let one go if cores are wanted."""
        self._frames += 1
        if self._helpers and self._cores.is_oversubscribed:
            self._helpers[-1].retired = True
        for helper in [each for each in self._helpers if each.retired and not each.waiting]:
            self._dismiss(helper)
        if self._frames > _FRAMES_BETWEEN_FORKS and self._cores.try_acquire():
            self._frames = 0
            self._helpers.append(_Helper(self._function, self._helpers))

    def free(self) -> Iterator[_Helper]:
        """Yield the helpers that have not enough to do, as often as it takes."""
        for helper in self._helpers:
            if not helper.retired:
                yield from repeat(helper, _AHEAD - len(helper.waiting))

    def collect(self) -> None:
        """Take the answers that are there."""
        for helper in self._helpers:
            while helper.has_answered:
                helper.receive()

    def wait_for(self, slot: _Slot) -> None:
        """Wait for the next answer of the helper that has a slot's item."""
        next(helper for helper in self._helpers if slot in helper.waiting).receive()

    def end(self) -> None:
        while self._helpers:
            self._dismiss(self._helpers[-1])

    def _dismiss(self, helper: _Helper) -> None:
        self._helpers.remove(helper)
        helper.end()
        self._cores.leave()


def _with_its_error(items: Iterable[T]) -> Iterator[tuple[bool, Any]]:
    """Yield (True, item) of each; an error that ends them has its turn as they have theirs."""
    try:
        for item in items:
            yield True, item
    except Exception as error:
        yield False, error
