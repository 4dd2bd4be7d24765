"""Processes of this host: whether one runs, and since when."""

import os

# Zombie and dead, of proc(5): the process has ended, but its parent has not waited for it.
ENDED_STATES = ("Z", "X", "x")
# Where there is no /proc.
UNKNOWN_START = "unknown"


def is_running(pid: int) -> bool:
    """Whether a process of this host runs; a zombie does not."""
    state, start_time = state_and_start(pid)
    return bool(start_time) and state not in ENDED_STATES


def state_and_start(pid: int) -> tuple[str, str]:
    """Return a process's state, and its start time in clock ticks; '' each if it does not exist."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            # Fields 3 and 22; the command, in parentheses, can have spaces.
            fields = stat.read().rpartition(")")[2].split()
            return fields[0], fields[19]
    except (FileNotFoundError, ProcessLookupError):
        is_unknown = not os.path.isdir("/proc/self") and _answers(pid)
        return ("", UNKNOWN_START) if is_unknown else ("", "")


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
