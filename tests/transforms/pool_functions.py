"""What worker processes are asked to do by tests: a pool takes functions of modules only."""

import logging
import os
import signal
import time
from collections.abc import Sequence

KILLER, HANGER, RAISER, TIMED_OUT, EXITER, GONE = -1, -2, -3, -4, -5, -6


class BucketGoneError(OSError):
    """An error of a storage that can be pickled, but not unpickled."""

    def __init__(self, bucket: str, status: int) -> None:
        super().__init__(f"{bucket} answers {status}")


def double(numbers: Sequence[int]) -> list[int]:
    """Twice each number; some numbers do harm instead."""
    return [_double(number) for number in numbers]


def double_slowly(numbers: Sequence[int]) -> list[int]:
    """Twice each number, half a second later: longer than the system keeps a process waiting."""
    time.sleep(0.5)
    return [2 * number for number in numbers]


def process_ids(numbers: Sequence[int]) -> list[int]:
    """The process that each number was given to."""
    time.sleep(0.01)
    return [os.getpid() for _ in numbers]


def log_forms(numbers: Sequence[int]) -> list[str]:
    """A line of the log of the process that each number was given to."""
    record = logging.makeLogRecord({"msg": "a line", "levelname": "ERROR", "name": "x"})
    [handler] = logging.getLogger().handlers
    return [handler.format(record) for _ in numbers]


def _double(number: int) -> int:
    if number == KILLER:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == EXITER:
        os._exit(0)
    if number == HANGER:
        time.sleep(60)
    if number == RAISER:
        raise ZeroDivisionError("a bug")
    if number == TIMED_OUT:
        raise TimeoutError("a network that does not answer")
    if number == GONE:
        raise BucketGoneError("gs://bucket", 503)
    return 2 * number
