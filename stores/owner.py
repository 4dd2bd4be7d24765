"""What runs a job, so that a reader can tell whether it still does: a process, or Dataflow."""

import os
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

# Zombie and dead, of proc(5): ended, though the parent has not asked how.
_ENDED = ("Z", "X", "x")


class Owner(NamedTuple):
    """A process, told from a later one with the same number by when it started."""

    host: str
    pid: int
    start_time: str

    @classmethod
    def this_process(cls) -> "Owner":
        """The running process."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> "Owner":
        """A process of this host, which may have ended just now."""
        return cls(socket.gethostname(), pid, _state_and_start(pid)[1])

    def is_gone(self) -> bool:
        """Whether the process surely ended; False if it may run on another host."""
        if self.host != socket.gethostname():
            return False
        state, start_time = _state_and_start(self.pid)
        return not start_time or state in _ENDED or start_time != self.start_time


class DataflowJob(NamedTuple):
    """A job on Dataflow, which takes no second running one of the same name."""

    project: str
    region: str
    job_name: str

    def is_gone(self) -> bool:
        """False: only Dataflow knows; `service.dataflow` asks it."""
        return False


def is_running(pid: int) -> bool:
    """Whether a process of this host runs; one that ended and was not asked how does not."""
    state, start_time = _state_and_start(pid)
    return bool(start_time) and state not in _ENDED


def owner_of(record: Mapping[str, Any]) -> Owner | DataflowJob:
    """The owner that an operation's record names."""
    return DataflowJob(**record) if "job_name" in record else Owner(**record)


def _state_and_start(pid: int) -> tuple[str, str]:
    """Its state, and when it started in the system's own unit; '' each if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            # Fields 3 and 22; the command in parentheses may hold spaces.
            fields = stat.read().rpartition(")")[2].split()
            return fields[0], fields[19]
    except (FileNotFoundError, ProcessLookupError):
        is_unknown = not os.path.isdir("/proc/self") and _answers(pid)
        return ("", "unknown") if is_unknown else ("", "")


def _answers(pid: int) -> bool:
    """Whether a process exists, where there is no /proc (macOS)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    except OverflowError:
        return False
    return True
