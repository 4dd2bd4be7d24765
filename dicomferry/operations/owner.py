"""Owners of operations: a process, or a job on Dataflow."""

import os
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

from dicomferry.storage.processes import ENDED_STATES, state_and_start


class Owner(NamedTuple):
    """A process; its start time distinguishes it from a later one with the same number."""

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
        return cls(socket.gethostname(), pid, state_and_start(pid)[1])

    def is_gone(self) -> bool:
        """Whether the process has certainly ended; False if it may run on another host."""
        if self.host != socket.gethostname():
            return False
        state, start_time = state_and_start(self.pid)
        return not start_time or state in ENDED_STATES or start_time != self.start_time


class DataflowJob(NamedTuple):
    """A job on Dataflow, which never runs two jobs of one name at a time."""

    project: str
    region: str
    job_name: str


def owner_from_json(fields: Mapping[str, Any]) -> Owner | DataflowJob:
    """Read the owner of an operation's record."""
    return DataflowJob(**fields) if "job_name" in fields else Owner(**fields)
