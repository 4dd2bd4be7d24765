"""What runs a job, so that a reader can tell whether it still does: a process, or Dataflow."""

import os
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

from dicomferry.storage.processes import ENDED_STATES, state_and_start


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
        return cls(socket.gethostname(), pid, state_and_start(pid)[1])

    def is_gone(self) -> bool:
        """Whether the process surely ended; False if it may run on another host."""
        if self.host != socket.gethostname():
            return False
        state, start_time = state_and_start(self.pid)
        return not start_time or state in ENDED_STATES or start_time != self.start_time


class DataflowJob(NamedTuple):
    """A job on Dataflow, which takes no second running one of the same name."""

    project: str
    region: str
    job_name: str

    def is_gone(self) -> bool:
        """False: only Dataflow knows; `dicomferry.jobs.dataflow` asks it."""
        return False


def owner_of(record: Mapping[str, Any]) -> Owner | DataflowJob:
    """The owner that an operation's record names."""
    return DataflowJob(**record) if "job_name" in record else Owner(**record)
