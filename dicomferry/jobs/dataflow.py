"""Jobs on Dataflow: start one, cancel it, reconcile its operation with its state.

A job on Dataflow owns its operation and ends it in its own last step. If it ends before that step,
nobody writes the record; then `reconcile` asks Dataflow for the state and ends the operation.
"""

import dataclasses
from collections.abc import Mapping
from datetime import timedelta

from google.rpc.code_pb2 import ABORTED, UNAVAILABLE

from dicomferry.jobs.dataflow_client import ENDED_STATES, DataflowClient, DataflowError, Template
from dicomferry.operations.asked import Asked
from dicomferry.operations.folder import OperationFolder, new_operation_id
from dicomferry.operations.owner import DataflowJob
from dicomferry.operations.record import Method, OperationRecord, now
from dicomferry.resource_names import StoreName
from dicomferry.storage.base import Storage

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
