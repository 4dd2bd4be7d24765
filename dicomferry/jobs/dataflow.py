"""Jobs on Dataflow: start a flex template, ask for the state, cancel, settle what has ended.

The job owns its operation and ends it in its own last step. What it cannot do is to tell that it
never got there: then `settle` asks Dataflow, and ends the operation for it.

References:
    Dataflow REST API v1b3: projects.locations.flexTemplates.launch, projects.locations.jobs.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from google.auth.exceptions import GoogleAuthError
from requests import RequestException

from dicomferry.operations import operations
from dicomferry.operations.operations import Operation, OperationFolder
from dicomferry.operations.owner import DataflowJob, owner_of
from dicomferry.resource_names import StoreName
from dicomferry.storage.base import Storage

_LOGGER = logging.getLogger(__name__)

ENDPOINT = "https://dataflow.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TIMEOUT_SECONDS = 60
# So long nothing is asked after a call that failed.
_SILENCE_SECONDS = 60.0
# A launcher takes some minutes until there is a job.
_LAUNCH = timedelta(minutes=20)
_CODES = {
    "JOB_STATE_CANCELLED": operations.CANCELLED,
    "JOB_STATE_FAILED": operations.INTERNAL,
    "JOB_STATE_DONE": operations.INTERNAL,
    "JOB_STATE_DRAINED": operations.CANCELLED,
    "JOB_STATE_UPDATED": operations.ABORTED,
}
# Counters of the transforms, in the terms in which workers report progress.
_PROGRESS = {
    ("read", "files"): "read",
    ("read", "failed"): "failed",
    ("export", "instances"): "read",
    ("export", "failed"): "failed",
    ("table", "rows"): "read",
}


class DataflowError(RuntimeError):
    """Dataflow refused a request; the message is its own."""


class Template(NamedTuple):
    """A flex template, and what its jobs run with.

    Attributes:
        spec: gs:// path of the file that `make template` writes.
        project: runs and pays the job.
        region: where; best the buckets' own.
        environment: google.dataflow.v1beta3.FlexTemplateRuntimeEnvironment, as JSON.
    """

    spec: str
    project: str
    region: str
    environment: Mapping[str, Any] = {}


class Templates(NamedTuple):
    """The templates of both pipelines, and what their jobs run with.

    Attributes:
        folder: gs:// folder that `make template` copies them to.
        project: runs and pays the jobs.
        region: where; best the buckets' own.
    """

    folder: str
    project: str
    region: str

    def of(self, pipeline: str) -> Template:
        """The template of a pipeline: import_dicom or export_dicom."""
        return Template(f"{self.folder.rstrip('/')}/{pipeline}.json", self.project, self.region)


class DataflowClient:
    """A client of the service, with application default credentials."""

    def __init__(self, session: Any = None, endpoint: str = ENDPOINT) -> None:
        """Connect when first used.

        Args:
            session: a requests.Session that authorizes itself; default: by google-auth.
            endpoint: where the service is.
        """
        self._given = session
        self._endpoint = endpoint

    def launch(
        self, template: Template, job: DataflowJob, parameters: Mapping[str, str]
    ) -> dict[str, Any]:
        """Start a template; return the Job.

        Raises:
            DataflowError: refused, such as because a job of this name is running.
        """
        body = {
            "launchParameter": {
                "jobName": job.job_name,
                "containerSpecGcsPath": template.spec,
                "parameters": dict(parameters),
                "environment": dict(template.environment),
            }
        }
        launched = self._call("POST", f"{_location(job)}/flexTemplates:launch", json=body)
        return dict(launched["job"])

    def find(self, job: DataflowJob) -> dict[str, Any] | None:
        """The newest job of that name, or None."""
        page = self._call("GET", f"{_location(job)}/jobs", params={"name": job.job_name})
        jobs = sorted(page.get("jobs", []), key=lambda each: str(each.get("createTime", "")))
        return jobs[-1] if jobs else None

    def cancel(self, job: DataflowJob) -> bool:
        """Ask for its end; return whether there was a job to ask for."""
        found = self.find(job)
        if found is None:
            return False
        if found["currentState"] not in _CODES:
            body = {"requestedState": "JOB_STATE_CANCELLED"}
            self._call("PUT", f"{_location(job)}/jobs/{found['id']}", json=body)
        return True

    def progress(self, job: DataflowJob, job_id: str) -> Counter[str]:
        """What its workers have done so far, an estimate, by the job's counters."""
        metrics = self._call("GET", f"{_location(job)}/jobs/{job_id}/metrics")
        counts: Counter[str] = Counter()
        for metric in metrics.get("metrics", []):
            name = metric["name"]
            context = name.get("context", {})
            word = _PROGRESS.get((context.get("namespace", ""), name["name"]))
            if word and "tentative" not in context:
                counts[word] += int(metric.get("scalar", 0))
        return counts

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        if self._given is None:
            import google.auth
            from google.auth.transport.requests import AuthorizedSession

            credentials, _ = google.auth.default(scopes=[_SCOPE])
            self._given = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
        response = self._given.request(
            method, f"{self._endpoint}/v1b3/{path}", timeout=_TIMEOUT_SECONDS, **arguments
        )
        if not response.ok:
            raise DataflowError(f"Dataflow answered {response.status_code}: {_reason(response)}")
        return dict(response.json())


def start(
    client: DataflowClient,
    template: Template,
    root: Storage,
    store: StoreName,
    method: str,
    parameters: Mapping[str, str],
) -> OperationFolder:
    """Record an operation and start the Dataflow job that owns it.

    Args:
        client: the service.
        template: of the pipeline that does what `method` says.
        root: where stores live.
        store: the store that it works on.
        method: ImportDicomData or ExportDicomData.
        parameters: of the template beside root, store and operation.

    Raises:
        DataflowError: Dataflow refused; the operation says so.
    """
    operation_id = operations.new_operation_id()
    job = DataflowJob(template.project, template.region, f"dicomferry-{operation_id}")
    folder = operations.start_operation(root, store, method, operation_id, job)
    own = {"root": root.root, "store": str(store), "operation": operation_id}
    try:
        client.launch(template, job, {**parameters, **own})
    except DataflowError as error:
        operation = folder.read()
        operations.finish(operation, operations.UNAVAILABLE, str(error))
        folder.write(operation)
        raise
    return folder


def cancel(client: DataflowClient, folder: OperationFolder) -> None:
    """Cancel the Dataflow job of an operation; one that has ended stays as it is."""
    operation = folder.read()
    owner = owner_of(operation["owner"])
    if operation["done"] or not isinstance(owner, DataflowJob):
        return
    folder.request_cancel()
    client.cancel(owner)


def read(folder: OperationFolder) -> Operation:
    """An operation as it stands, settled if a Dataflow job owns it."""
    operation = folder.read()
    if operation["done"] or not isinstance(owner_of(operation["owner"]), DataflowJob):
        return operation
    return reconcile(DataflowClient(), folder)


class OperationReader:
    """Reads many operations as they stand, settled where a Dataflow job owns them.

    Dataflow is asked only about operations that have not ended, by one client, and about each at
    most every few seconds: pages are read again and again. Where it cannot be asked, such as
    without credentials, an operation is what its record says: a list is no less a list for that.
    """

    def __init__(self, every_seconds: float = 0.0) -> None:
        """Connect when first needed.

        Args:
            every_seconds: how old an answer may be.
        """
        self._every = every_seconds
        self._client: DataflowClient | None = None
        self._answers: dict[str, tuple[float, Operation]] = {}
        self._silent_until = 0.0

    def read(self, folder: OperationFolder) -> Operation:
        """One operation as it stands.

        Raises:
            OperationNotFoundError: there is no such operation.
        """
        return self.reconcile(folder, folder.read())

    def reconcile(self, folder: OperationFolder, operation: Operation) -> Operation:
        """The same of an operation that was read just now."""
        owner = owner_of(operation["owner"])
        if operation["done"] or not isinstance(owner, DataflowJob):
            self._answers.pop(folder.name, None)
            return operation
        now = time.monotonic()
        asked, answer = self._answers.get(folder.name, (-math.inf, operation))
        if now < max(asked + self._every, self._silent_until):
            return answer
        self._client = self._client or DataflowClient()
        try:
            answer = reconcile(self._client, folder)
        except (DataflowError, GoogleAuthError, RequestException) as error:
            # The next call would be as vain, and each may last a minute.
            self._silent_until = now + _SILENCE_SECONDS
            said = str(error) if isinstance(error, DataflowError) else type(error).__name__
            _LOGGER.warning("Dataflow cannot be asked how its jobs are: %s", said)
            return answer
        self._answers[folder.name] = now, answer
        return answer


def request_cancel(folder: OperationFolder) -> None:
    """Ask for the end of a job, wherever it runs; one that has ended stays as it is.

    Raises:
        OperationNotFoundError: there is no such operation.
    """
    folder.request_cancel()
    if isinstance(owner_of(folder.read()["owner"]), DataflowJob):
        cancel(DataflowClient(), folder)


def reconcile(client: DataflowClient, folder: OperationFolder) -> Operation:
    """The operation as it stands; if its job has ended without ending it, it is ended here.

    Of a running one the progress is the job's. Operations of processes are left alone.
    """
    operation = folder.read()
    owner = owner_of(operation["owner"])
    if operation["done"] or not isinstance(owner, DataflowJob):
        return operation
    found = client.find(owner)
    if found is None:
        age = datetime.now(UTC) - datetime.fromisoformat(operation["heartbeat"])
        if age > _LAUNCH:
            _end(folder, operation, operations.ABORTED, f"Dataflow has no job {owner.job_name}")
        return operation
    code = _CODES.get(found["currentState"])
    if code is None:
        progress = client.progress(owner, found["id"])
        operations.set_counts(operation, progress, operation["total"])
        return operation
    # Its last step may have written the record since it was read.
    operation = folder.read()
    if not operation["done"]:
        what = found["currentState"].removeprefix("JOB_STATE_").lower()
        reason = f"the Dataflow job {found['id']} ended as {what}; what was committed stays"
        _end(folder, operation, code, reason)
    return operation


def _end(folder: OperationFolder, operation: Operation, code: int, message: str) -> None:
    operations.set_counts(operation, folder.counts(), operation["total"])
    operations.finish(operation, code, message)
    folder.write(operation)


def _location(job: DataflowJob) -> str:
    return f"projects/{job.project}/locations/{job.region}"


def _reason(response: Any) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return str(response.reason)
