"""Processes of this host: whether one still runs, and since when."""

import os

# Zombie and dead, of proc(5): ended, though the parent has not asked how.
ENDED_STATES = ("Z", "X", "x")


def is_running(pid: int) -> bool:
    """Whether a process of this host runs; one that ended and was not asked how does not."""
    state, start_time = state_and_start(pid)
    return bool(start_time) and state not in ENDED_STATES


def state_and_start(pid: int) -> tuple[str, str]:
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
