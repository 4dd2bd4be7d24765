"""Whether the owner of an operation is gone.

On the owner's host the process itself tells. Elsewhere, silence does: the age of its last heartbeat
by the clock of the storage, since clocks of two hosts can differ by more than a minute.
"""

import time
from datetime import UTC, datetime, timedelta

from dicomferry.operations.owner import DataflowJob
from dicomferry.operations.record import OperationRecord
from dicomferry.storage.base import Storage
from dicomferry.storage.capabilities import Entry

MAX_SILENCE = timedelta(seconds=60)
# How long this process believes how much its clock differs from that of a storage.
_CLOCK_SECONDS = 60.0

_clocks: dict[Storage, tuple[float, timedelta]] = {}


def is_abandoned(record: OperationRecord, file: Entry | None, root: Storage) -> bool:
    """Whether nobody runs an operation that has not ended.

    Never of a Dataflow job, whose state Dataflow knows.

    Args:
        record: of the operation.
        file: operation.json; None if it is gone.
        root: where stores are.
    """
    if isinstance(record.owner, DataflowJob):
        return False
    is_running = record.owner.is_running()
    return is_silent(file, root) if is_running is None else not is_running


def is_silent(file: Entry | None, root: Storage) -> bool:
    """Whether a record was not written for a minute, by the clock of its storage."""
    return file is None or _now(root) - file.modified > MAX_SILENCE


def _now(root: Storage) -> datetime:
    """Return the time of a storage's clock."""
    asked, ahead = _clocks.get(root, (-_CLOCK_SECONDS, timedelta()))
    if time.monotonic() - asked >= _CLOCK_SECONDS or root not in _clocks:
        ahead = root.clock() - datetime.now(UTC)
        _clocks[root] = time.monotonic(), ahead
    return datetime.now(UTC) + ahead
