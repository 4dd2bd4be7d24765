"""Jobs on Dataflow: start one, cancel it, reconcile its operation with its state.

A job on Dataflow owns its operation and ends it in its own last step. If it ends before that step,
nobody writes the record; then `reconcile` asks Dataflow for the state and ends the operation.
"""

import dataclasses
import logging
import math
import time
from collections.abc import Mapping
from datetime import timedelta

from google.auth.exceptions import GoogleAuthError
from google.rpc.code_pb2 import ABORTED, UNAVAILABLE
from requests import RequestException

from dicomferry.jobs.dataflow_client import ENDED_STATES, DataflowClient, DataflowError, Template
from dicomferry.operations.asked import Asked
from dicomferry.operations.folder import OperationFolder, new_operation_id
from dicomferry.operations.owner import DataflowJob
from dicomferry.operations.record import Method, OperationRecord, now
from dicomferry.resource_names import StoreName
from dicomferry.storage.base import Storage

_LOGGER = logging.getLogger(__name__)

# After a failed call, do not ask Dataflow again for this long.
_SILENCE_SECONDS = 60.0
# The launcher takes some minutes until it has created the job.
_MAX_LAUNCH = timedelta(minutes=20)


@dataclasses.dataclass(frozen=True)
class TemplateJob:
    """A job to start from a template.

    Attributes:
        root: where stores are.
        store: store that it works on.
        method: method that the job is a call of.
        parameters: of the template, other than root, store and operation.
        asked: what the record of its operation says of it.
    """

    root: Storage
    store: StoreName
    method: Method
    parameters: Mapping[str, str]
    asked: Asked | None = None


def start(client: DataflowClient, template: Template, job: TemplateJob) -> OperationFolder:
    """Record an operation and start the Dataflow job that owns it.

    Args:
        client: of the service.
        template: of the pipeline for the method of the job.
        job: the job to start.

    Raises:
        DataflowError: Dataflow refused; the operation has the reason.
    """
    folder = OperationFolder(job.root, job.store.parent, new_operation_id())
    owner = DataflowJob(template.project, template.region, f"dicomferry-{folder.id}")
    folder.start(job.store, job.method, owner, asked=job.asked)
    own = {"root": job.root.root, "store": str(job.store), "operation": folder.id}
    try:
        client.launch(template, owner, {**job.parameters, **own})
    except DataflowError as error:
        record = folder.read()
        record.finish(UNAVAILABLE, str(error))
        folder.write(record)
        raise
    return folder


def cancel(client: DataflowClient, folder: OperationFolder) -> None:
    """Cancel the Dataflow job of an operation; one that has ended stays as it is."""
    record = folder.read()
    if not record.done and isinstance(record.owner, DataflowJob):
        folder.request_cancel()
        client.cancel(record.owner, record.metadata.create_time)


def read(folder: OperationFolder) -> OperationRecord:
    """Return the current record of an operation, reconciled if a Dataflow job owns it."""
    record = folder.read()
    if record.done or not isinstance(record.owner, DataflowJob):
        return record
    return reconcile(DataflowClient(), folder)


class OperationReader:
    """Reads many operations, reconciled where a Dataflow job owns them.

    Dataflow is asked only about operations that have not ended, by one client, and about each at
    most every few seconds, since pages are read again and again. Where it cannot be asked, for
    example without credentials, an operation is read as recorded: a list needs no Dataflow.
    """

    def __init__(self, every_seconds: float = 0.0) -> None:
        """Set how long an answer of Dataflow is used; the reader connects when it needs to.

        Args:
            every_seconds: maximum age of an answer.
        """
        self._every = every_seconds
        self._client: DataflowClient | None = None
        self._answers: dict[str, tuple[float, OperationRecord]] = {}
        self._silent_until = 0.0

    def read(self, folder: OperationFolder) -> OperationRecord:
        """Return the current record of an operation.

        Raises:
            OperationNotFoundError: there is no such operation.
        """
        return self.reconcile(folder, folder.read())

    def reconcile(self, folder: OperationFolder, record: OperationRecord) -> OperationRecord:
        """Return the current record of an operation that was read just now."""
        if record.done or not isinstance(record.owner, DataflowJob):
            self._answers.pop(folder.name, None)
            return record
        time_now = time.monotonic()
        asked, answer = self._answers.get(folder.name, (-math.inf, record))
        if time_now < max(asked + self._every, self._silent_until):
            return answer
        self._client = self._client or DataflowClient()
        try:
            answer = reconcile(self._client, folder)
        except (DataflowError, GoogleAuthError, RequestException) as error:
            # The next call would fail as well, and each may take a minute.
            self._silent_until = time_now + _SILENCE_SECONDS
            reason = str(error) if isinstance(error, DataflowError) else type(error).__name__
            _LOGGER.warning("the state of Dataflow jobs is not available: %s", reason)
            return answer
        self._answers[folder.name] = time_now, answer
        return answer


def request_cancel(folder: OperationFolder) -> None:
    """Request the end of a job, wherever it runs; one that has ended stays as it is.

    Raises:
        OperationNotFoundError: there is no such operation.
    """
    folder.request_cancel()
    if isinstance(folder.read().owner, DataflowJob):
        cancel(DataflowClient(), folder)


def reconcile(client: DataflowClient, folder: OperationFolder) -> OperationRecord:
    """Return the current record of an operation; if its job has ended without ending it, end it.

    The progress of a running job comes from Dataflow. Operations of processes stay as they are.
    """
    record = folder.read()
    if record.done or not isinstance(record.owner, DataflowJob):
        return record
    job = client.find(record.owner, record.metadata.create_time)
    if job is None:
        if now() - record.heartbeat > _MAX_LAUNCH:
            _end(folder, record, ABORTED, f"Dataflow has no job {record.owner.job_name}")
        return record
    code = ENDED_STATES.get(job["currentState"])
    if code is None:
        record.set_counts(client.progress(record.owner, job["id"]), record.total)
        return record
    # The job's last step may have written the record since it was read.
    record = folder.read()
    if not record.done:
        state = job["currentState"].removeprefix("JOB_STATE_").lower()
        reason = f"the Dataflow job {job['id']} ended as {state}; what was committed stays"
        _end(folder, record, code, reason)
    return record


def _end(folder: OperationFolder, record: OperationRecord, code: int, message: str) -> None:
    record.set_counts(folder.counts(), record.total)
    record.finish(code, message)
    folder.write(record)
