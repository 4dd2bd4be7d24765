"""How long a writer waits that has lost a race for a commit, and when it gives up.

Of the writers whose attempts overlap, the first to write the next log entry wins. So however many
there are, somebody always gets on, and waiting only saves attempts in vain. A writer that loses
waits up to twice as long each time while others' commits leave no gap, and half as long where they
do: so many writers spread over the time that their commits take, and the last ones do not wait for
nobody. It gives up only where nobody commits and it is refused all the same.
"""

import random
from collections.abc import Callable

# An attempt that takes a second is repeated after at most 16 s.
_MAX_LEVEL = 4
_MAX_PAUSE_SECONDS = 60.0
# Attempts in a row that were refused although nobody had committed since the one before.
MAX_STALLED = 20
# The share of the time that the commits of others take, above which there is no gap.
_BUSY = 0.5


class Race:
    """The attempts of one writer to commit.

    Attributes:
        attempts: that were lost.
        stalled: those in a row since which nobody has committed.
    """

    def __init__(self, dice: Callable[[float, float], float] = random.uniform) -> None:
        """Begin; `dice` returns a random number between two."""
        self.attempts = 0
        self.stalled = 0
        self._dice = dice
        self._level = 0
        self._began = 0.0
        self._version = 0

    def lose(self, began: float, ended: float, version: int) -> float | None:
        """Return the seconds to wait after an attempt that was lost; None to give up.

        Args:
            began: when the attempt began, in seconds of any clock.
            ended: when it was refused.
            version: of the table that it had loaded.
        """
        window = ended - began
        advanced = version - self._version if self.attempts else 1
        elapsed = began - self._began if self.attempts else window
        self._level = next_level(self._level, advanced * window, elapsed)
        self.stalled = 0 if advanced else self.stalled + 1
        self.attempts += 1
        self._began, self._version = began, version
        if self.stalled == MAX_STALLED:
            return None
        return self._dice(0.0, min(window * 2**self._level, _MAX_PAUSE_SECONDS))


def next_level(level: int, taken: float, elapsed: float) -> int:
    """Return how often the pause is doubled next.

    Args:
        level: how often it was doubled last.
        taken: seconds that the commits of others have taken, if each took as long as ours.
        elapsed: seconds in which they were made.
    """
    if taken > _BUSY * elapsed:
        return min(level + 1, _MAX_LEVEL)
    return max(level - 1, 0)
