"""Shared count of busy processes in a pool; helper forks can use the idle cores."""

from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized


class CoreBudget:
    """Count of busy processes of a pool, the workers and their helper forks.

    It can exceed the number of cores: a worker starts its own work at once, and helpers give way.
    """

    def __init__(self, count: int, context: BaseContext) -> None:
        """Start with no busy process.

        Args:
            count: number of processes of the pool, and of cores that they use.
            context: that starts the processes.
        """
        self.count = count
        self._busy: Synchronized[int] = context.Value("i", 0)

    def enter(self) -> None:
        """Count a worker as busy."""
        with self._busy.get_lock():
            self._busy.value += 1

    def leave(self) -> None:
        """Count a worker, or a helper, as idle again."""
        with self._busy.get_lock():
            self._busy.value -= 1

    def try_acquire(self) -> bool:
        """Count a helper as busy if a core is idle; return whether one was."""
        with self._busy.get_lock():
            if self._busy.value >= self.count:
                return False
            self._busy.value += 1
            return True

    @property
    def is_oversubscribed(self) -> bool:
        """Whether more processes are busy than there are cores, so that helpers should end."""
        return self._busy.value > self.count
