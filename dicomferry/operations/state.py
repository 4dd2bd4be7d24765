"""The state of an operation in one or a few words."""

from enum import StrEnum

from google.rpc.code_pb2 import ABORTED, CANCELLED, DATA_LOSS, INVALID_ARGUMENT

from dicomferry.operations.record import OperationRecord
from dicomferry.operations.unreadable import is_unreadable


class State(StrEnum):
    """State of an operation, as commands and pages show it."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    DONE_WITH_FAILURES = "done, with failures"
    CANCELLED = "cancelled"
    ABORTED = "aborted"
    FAILED = "failed"
    UNREADABLE = "unreadable"


_BY_ERROR = {
    CANCELLED: State.CANCELLED,
    ABORTED: State.ABORTED,
    DATA_LOSS: State.DONE_WITH_FAILURES,  # rows of a stream, or notifications
}
_REACHED_END = (State.DONE, State.DONE_WITH_FAILURES)


def state_of(record: OperationRecord) -> State:
    """Return the state of an operation."""
    if is_unreadable(record):
        return State.UNREADABLE
    if record.error:
        if record.error.code == INVALID_ARGUMENT and record.counts.failures:
            return State.DONE_WITH_FAILURES  # without failures, its request was refused
        return _BY_ERROR.get(record.error.code, State.FAILED)
    if record.done:
        return State.DONE
    if record.metadata.cancel_requested:
        return State.CANCELLING
    return State.QUEUED if record.queued else State.RUNNING


def has_reached_end(record: OperationRecord) -> bool:
    """Whether an operation has tried all that it was to do; some of it may have failed."""
    return state_of(record) in _REACHED_END


def state_in_words(record: OperationRecord) -> str:
    """Return the state of an operation; of one that is queued with its place."""
    state = state_of(record)
    return f"{state}, place {record.place}" if state is State.QUEUED and record.place else state
