"""Owners of operations: a process, or a job on Dataflow; and what a process lets an engine do."""

import os
import socket
from typing import NamedTuple

from dicomferry.operations.typed_fields import Fields, integer, text
from dicomferry.storage.processes import ENDED_STATES, UNKNOWN_START, state_and_start


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

    def is_running(self) -> bool | None:
        """Whether the process runs; None where that cannot be known from this host."""
        if self.host != socket.gethostname():
            return None
        state, start_time = state_and_start(self.pid)
        if not start_time or state in ENDED_STATES or start_time != self.start_time:
            return False
        return None if start_time == UNKNOWN_START else True

    def is_gone(self) -> bool:
        """Whether the process has certainly ended."""
        return self.is_running() is False


class DataflowJob(NamedTuple):
    """A job on Dataflow, which never runs two jobs of one name at a time."""

    project: str
    region: str
    job_name: str


class EngineJob(NamedTuple):
    """A job on an engine (Flink, Spark, Prism); the process that waits for it owns the operation.

    Attributes:
        endpoint: host:port of the engine's job service.
        job_name: which no other job there has.
    """

    endpoint: str
    job_name: str


def engine_from_json(value: object) -> EngineJob:
    """Read the engine's job of an operation's record."""
    fields = Fields(value)
    return EngineJob(*(fields.take(name, text) for name in EngineJob._fields))


def owner_from_json(value: object) -> Owner | DataflowJob:
    """Read the owner of an operation's record."""
    fields = Fields(value)
    if "job_name" in fields.rest:
        return DataflowJob(*(fields.take(name, text) for name in DataflowJob._fields))
    return Owner(
        fields.take("host", text), fields.take("pid", integer), fields.take("start_time", text)
    )
