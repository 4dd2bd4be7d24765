"""Client of the Dataflow service: start a flex template, find a job, cancel it, its progress.

References:
    Dataflow REST API v1b3: projects.locations.flexTemplates.launch, projects.locations.jobs.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from google.rpc.code_pb2 import ABORTED, CANCELLED, INTERNAL

from dicomferry.operations.outcomes import ProgressCounts
from dicomferry.operations.owner import DataflowJob
from dicomferry.transforms.progress import COUNTERS

ENDPOINT = "https://dataflow.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TIMEOUT_SECONDS = 60
# Between this machine and Dataflow.
_CLOCKS_DIFFER = timedelta(minutes=2)
# google.rpc.Code of an operation whose job has ended in such a state without ending it.
ENDED_STATES = {
    "JOB_STATE_CANCELLED": CANCELLED,
    "JOB_STATE_FAILED": INTERNAL,
    "JOB_STATE_DONE": INTERNAL,
    "JOB_STATE_DRAINED": CANCELLED,
    "JOB_STATE_UPDATED": ABORTED,
}


class DataflowError(RuntimeError):
    """Dataflow refused a request; the message is from Dataflow."""


class Template(NamedTuple):
    """A flex template and how its jobs run.

    Attributes:
        spec: gs:// path of the file that `make template` writes.
        project: runs and pays the job.
        region: of the job; best that of the buckets.
        environment: google.dataflow.v1beta3.FlexTemplateRuntimeEnvironment, as JSON.
    """

    spec: str
    project: str
    region: str
    environment: Mapping[str, Any] = {}


class Templates(NamedTuple):
    """The templates of both pipelines and how their jobs run.

    Attributes:
        folder: gs:// folder that `make template` copies them to.
        project: runs and pays the jobs.
        region: of the jobs; best that of the buckets.
    """

    folder: str
    project: str
    region: str

    def of(self, pipeline: str) -> Template:
        """Return the template of a pipeline: import_dicom or export_dicom."""
        return Template(f"{self.folder.rstrip('/')}/{pipeline}.json", self.project, self.region)


class DataflowClient:
    """Client of the Dataflow service, with application default credentials."""

    def __init__(self, session: Any = None, endpoint: str = ENDPOINT) -> None:
        """Keep the endpoint; the client connects when it is first used.

        Args:
            session: a requests.Session that authorizes itself; default: one of google-auth.
            endpoint: URL of the service.
        """
        self._session = session
        self._endpoint = endpoint

    def launch(
        self, template: Template, job: DataflowJob, parameters: Mapping[str, str]
    ) -> dict[str, Any]:
        """Start a template; return the Job.

        Raises:
            DataflowError: Dataflow refused, for example since a job of this name is running.
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

    def find(self, job: DataflowJob, began: datetime) -> dict[str, Any] | None:
        """Return the newest job of that name; None if there is none of this operation.

        Args:
            job: the name, which earlier jobs may have had.
            began: when the operation was recorded: before its job was made.
        """
        page = self._call("GET", f"{_location(job)}/jobs", params={"name": job.job_name})
        jobs = sorted(page.get("jobs", []), key=lambda job: str(job.get("createTime", "")))
        return jobs[-1] if jobs and _made(jobs[-1]) > began - _CLOCKS_DIFFER else None

    def cancel(self, job: DataflowJob, began: datetime) -> bool:
        """Request the end of a job; return whether there is one; see `find`."""
        running = self.find(job, began)
        if running is None:
            return False
        if running["currentState"] not in ENDED_STATES:
            body = {"requestedState": "JOB_STATE_CANCELLED"}
            self._call("PUT", f"{_location(job)}/jobs/{running['id']}", json=body)
        return True

    def progress(self, job: DataflowJob, job_id: str) -> ProgressCounts:
        """Return an estimate of the progress, from the counters of the job."""
        metrics = self._call("GET", f"{_location(job)}/jobs/{job_id}/metrics")
        counts: Counter[str] = Counter()
        for metric in metrics.get("metrics", []):
            name = metric["name"]
            context = name.get("context", {})
            field = COUNTERS.get((context.get("namespace", ""), name["name"]))
            if field and "tentative" not in context:
                counts[field] += int(metric.get("scalar", 0))
        return ProgressCounts(**counts)

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        if self._session is None:
            import google.auth
            from google.auth.transport.requests import AuthorizedSession

            credentials, _ = google.auth.default(scopes=[_SCOPE])
            self._session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
        response = self._session.request(
            method, f"{self._endpoint}/v1b3/{path}", timeout=_TIMEOUT_SECONDS, **arguments
        )
        if not response.ok:
            raise DataflowError(f"Dataflow answered {response.status_code}: {_reason(response)}")
        return dict(response.json())


def _made(job: Mapping[str, Any]) -> datetime:
    """Return when a job was made."""
    made = job.get("createTime")
    return datetime.fromisoformat(str(made)) if made else datetime.max.replace(tzinfo=UTC)


def _location(job: DataflowJob) -> str:
    return f"projects/{job.project}/locations/{job.region}"


def _reason(response: Any) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return str(response.reason)
