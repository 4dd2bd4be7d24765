"""Which cores the processes of a pool leave idle, so that one of them may lend a hand."""

from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized


class CoreBudget:
    """Counts who is at work, across the processes of one pool.

    More can be at work than there are cores: whoever has work of its own starts at once, and who
    helps another gives way.
    """

    def __init__(self, count: int, context: BaseContext) -> None:
        """Count for a pool of `count` processes."""
        self.count = count
        self._busy: Synchronized[int] = context.Value("i", 0)

    def enter(self) -> None:
        """Begin work of one's own."""
        with self._busy.get_lock():
            self._busy.value += 1

    def leave(self) -> None:
        """End work of one's own, or help."""
        with self._busy.get_lock():
            self._busy.value -= 1

    def try_acquire(self) -> bool:
        """Begin to help if a core is idle; return whether it was."""
        with self._busy.get_lock():
            if self._busy.value >= self.count:
                return False
            self._busy.value += 1
            return True

    @property
    def is_oversubscribed(self) -> bool:
        """Whether more are at work than there are cores, so that helpers should end."""
        return self._busy.value > self.count
