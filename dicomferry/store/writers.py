"""Jobs that may still write into the data folders of a deleted store, until their last write.

A job writes its record, as running, before it looks its store up; a deletion marks the store before
it looks for jobs. So a job is either found here or finds the store deleted.
"""

import time
from collections.abc import Iterable
from datetime import timedelta

from google.rpc.code_pb2 import ABORTED

from dicomferry.operations.folder import OperationFolder, OperationNotFoundError
from dicomferry.operations.listing import list_operations
from dicomferry.operations.record import Method, OperationRecord, now
from dicomferry.resource_names import StoreName
from dicomferry.storage.base import Storage

# Jobs notice within seconds; one on a machine that died counts as running for a minute.
_PATIENCE_SECONDS = 300.0
_LOOK_SECONDS = 0.5
# A request that a killed process had sent is done by then, or never. Its workers end with it.
_LAST_WRITES_SECONDS = 10.0
# The clocks of two hosts differ by less.
_RECENTLY = timedelta(minutes=10)


class JobsRunningError(ValueError):
    """A job did not notice that its store was deleted."""


class Writers:
    """The jobs that may write there."""

    def __init__(self, root: Storage, name: StoreName, data: Iterable[Storage]) -> None:
        """Look for them.

        Args:
            root: where stores are.
            name: of the store, which is marked as deleted; another may have the name by now.
            data: the data folders.
        """
        folders = {each.root.rpartition("/")[2] for each in data}
        listed = [
            each
            for each in list_operations(root, name.parent)
            if each.record.store == name and _may_write(each.record, folders)
        ]
        self._running = [each.folder for each in listed if not each.record.done]
        self._was_one_killed = any(each.record.done for each in listed)

    def wait(self) -> None:
        """Wait until all of them have ended, and nothing of theirs is on its way.

        Raises:
            JobsRunningError: one does not end.
        """
        until = time.monotonic() + _PATIENCE_SECONDS
        while self._running:
            self._running = [folder for folder in self._running if self._runs(folder)]
            if self._running and time.monotonic() > until:
                raise JobsRunningError(
                    f"{self._running[0].name} is running: cancel it, then delete the store again"
                )
            time.sleep(_LOOK_SECONDS if self._running else 0)
        if self._was_one_killed:
            time.sleep(_LAST_WRITES_SECONDS)

    def _runs(self, folder: OperationFolder) -> bool:
        try:
            record = folder.read()
        except OperationNotFoundError:
            return False
        self._was_one_killed |= _was_killed(record)
        return not record.done


def _may_write(record: OperationRecord, folders: set[str]) -> bool:
    """Whether a job runs, or was killed just now, on one of some data folders."""
    if record.metadata.method is Method.DELETE_STORE or record.queued:
        return False
    if record.data_folder and record.data_folder not in folders:
        return False
    return not record.done or (_was_killed(record) and now() - record.heartbeat < _RECENTLY)


def _was_killed(record: OperationRecord) -> bool:
    return record.error is not None and record.error.code == ABORTED
