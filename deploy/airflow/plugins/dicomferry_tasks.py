"""Tasks of dicomferry's DAGs: one job each, with a link to its operation.

A task pushes two XComs, whether it succeeds or fails: `summary`, the counts of its job, and
`outcomes`, the location of its outcome lists. Its link "Outcomes" leads to the page of a dicomferry
server if the DAG names one, else to the bucket in Google Cloud's console. A local root without a
server has no link, since a browser cannot open a path on a worker's disk.
"""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from airflow.providers.apache.beam.hooks.beam import BeamHook
from airflow.providers.apache.beam.operators.beam import BeamRunPythonPipelineOperator
from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.providers.google.cloud.operators.dataflow import DataflowStartFlexTemplateOperator
from airflow.sdk import BaseOperatorLink
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError

# Days begin here; a DAG's schedule is of the same zone.
TIMEZONE = "UTC"
# Runs without a logical date, as the API can start them, are those of the day they start on.
DAY = "{{ (dag_run.logical_date or dag_run.run_after) | day('%Y-%m-%d') }}"
DAY_IN_TABLE = "{{ (dag_run.logical_date or dag_run.run_after) | day('%Y%m%d') }}"

# Values of google.rpc.Code: files failed or the request is wrong; rows or notifications are lost.
_NOT_RETRIED = (3, 15)
_SUMMARY = ("name", "store", "total", "counts", "error")


def day(date: datetime, form: str) -> str:
    """The day of a logical date, where days begin; a Jinja filter."""
    return date.astimezone(ZoneInfo(TIMEZONE)).strftime(form)


class OutcomesLink(BaseOperatorLink):
    """Link to the outcomes of a task's job. Airflow stores it when the task ends."""

    name = "Outcomes"

    def get_link(self, operator: "OperationTask", *, ti_key: Any) -> str:
        """The link, or '' if a browser could not open any."""
        return link_to(operator.operation, operator.folder, operator.server)


def link_to(operation: str, folder: str, server: str) -> str:
    """A page about an operation.

    Args:
        operation: its resource name; '' if none was started.
        folder: where it lies: a local path or gs:// URI.
        server: URL of a dicomferry server over the same root, or ''.
    """
    if not operation:
        return ""
    if server:
        return f"{server.rstrip('/')}/console/{operation}"
    if folder.startswith("gs://"):
        return f"https://console.cloud.google.com/storage/browser/{folder.removeprefix('gs://')}"
    return ""


class OperationTask:
    """What both kinds of task have: an operation, and what is told of it.

    Attributes:
        server: URL of a dicomferry server, for the link; '' if there is none.
        only_with: the task is skipped if this is empty: a destination that nobody named.
    """

    server: str
    only_with: str
    operation = ""
    folder = ""
    summary: Mapping[str, Any] | None = None

    def begin(self) -> None:
        """Forget an earlier try; skip the task, and nothing else, if its destination is empty."""
        self.operation, self.folder, self.summary = "", "", None
        if not self.only_with:
            raise AirflowSkipException("no destination is named in the DAG's params")

    def tell(self, context: Any) -> None:
        """Push what is known of the operation, for tasks downstream and for people."""
        if self.operation:
            context["ti"].xcom_push(key="outcomes", value=f"{self.folder}/outcomes-*.jsonl")
        if self.summary:
            context["ti"].xcom_push(key="summary", value=dict(self.summary))

    def explain(self, error: AirflowException) -> AirflowException:
        """What to raise for a job that failed.

        There is no retry where files failed, which would fail again, nor where a table lost rows:
        another try finds nothing to import, ends well, and hides that somebody has to look.
        """
        reason = (self.summary or {}).get("error", {})
        if reason.get("code") in _NOT_RETRIED:
            return AirflowFailException(reason["message"])
        return error


class LocalJob(OperationTask, BeamRunPythonPipelineOperator):
    """A pipeline beside the Airflow worker, in an environment of its own.

    A task that is stopped cancels its job: what was committed stays.
    """

    template_fields = (*BeamRunPythonPipelineOperator.template_fields, "server", "only_with")
    operator_extra_links = (OutcomesLink(),)

    def __init__(
        self,
        *,
        pipeline: str,
        flags: Mapping[str, str],
        server: str = "",
        only_with: str = "-",
        **kwargs: Any,
    ) -> None:
        """Take the name of the pipeline, its flags, and what `OperationTask` says."""
        super().__init__(
            # `python -m dicomferry.pipelines.…`, by the interpreter that has dicomferry.
            py_interpreter=os.environ.get("DICOMFERRY_PYTHON", "python3"),
            py_options=["-m"],
            py_file=f"dicomferry.pipelines.{pipeline}",
            runner="FnApiRunner",
            pipeline_options=dict(flags),
            **kwargs,
        )
        self.server = server
        self.only_with = only_with
        self.summary_file = ""

    def execute(self, context: Any) -> None:
        """Run the job to its end, and read its summary."""
        self.begin()
        with tempfile.TemporaryDirectory() as folder:
            self.summary_file = f"{folder}/summary.json"
            try:
                BeamHook(runner=self.runner).start_python_pipeline(
                    variables={**self.pipeline_options, "summary_file": self.summary_file},
                    py_file=self.py_file,
                    py_options=self.py_options,
                    py_interpreter=self.py_interpreter,
                )
            except AirflowException as error:
                self.read_summary()
                raise self.explain(error) from error
            else:
                self.read_summary()
            finally:
                self.tell(context)

    def read_summary(self) -> None:
        """Read the file that the job writes when it starts and when it has ended."""
        try:
            with open(self.summary_file, encoding="utf-8") as file:
                summary = json.load(file)
        except FileNotFoundError:
            return  # it never got so far
        self.operation = summary["name"]
        self.folder = summary["outcomes"].removesuffix("/outcomes-*.jsonl")
        if summary["done"]:
            self.summary = {key: summary[key] for key in _SUMMARY if key in summary}

    def on_kill(self) -> None:
        """Cancel the job: its process would outlive the task."""
        self.read_summary()
        if self.operation:
            command = [self.py_interpreter, "-c", "from dicomferry.cli.main import main; main()"]
            command += ["operations", "cancel", self.operation]
            command += ["--root", self.pipeline_options["root"]]
            subprocess.run(command, check=False)


class DataflowJob(OperationTask, DataflowStartFlexTemplateOperator):
    """A flex template's job; its operation is looked up in the bucket when it has ended."""

    template_fields = (*DataflowStartFlexTemplateOperator.template_fields, "server", "only_with")
    operator_extra_links = (
        *DataflowStartFlexTemplateOperator.operator_extra_links,
        OutcomesLink(),
    )

    def __init__(self, *, server: str = "", only_with: str = "-", **kwargs: Any) -> None:
        """Take what the operator of the provider does, and what `OperationTask` says."""
        super().__init__(**kwargs)
        self.server = server
        self.only_with = only_with

    def execute(self, context: Any) -> Any:
        """Run the job to its end, and read the record of its operation."""
        self.begin()
        started = datetime.now(UTC)
        try:
            job = super().execute(context)
        except AirflowException as error:
            self._find_operation(started)
            raise self.explain(error) from error
        else:
            self._find_operation(started)
            return job
        finally:
            self.tell(context)

    def _find_operation(self, started: datetime) -> None:
        """Find the operation that names this job as its owner; without one the job counts alike."""
        launch = self.body["launchParameter"]
        bucket, _, prefix = launch["parameters"]["root"].removeprefix("gs://").partition("/")
        store = re.match(r"(projects/.+)/dicomStores/", launch["parameters"]["store"])
        dataset = store[1] if store else "projects/local/locations/local/datasets/default"
        folder = f"{prefix.rstrip('/')}/{dataset}/operations/".lstrip("/")
        # Ids begin with the time, so those of other days need not be listed.
        days = {f"{time:%Y%m%d}" for time in (started, datetime.now(UTC))}
        try:
            hook = GCSHook(self.gcp_conn_id, self.impersonation_chain)
            prefixes = [folder + each for each in days]
            records = hook.list(bucket, prefix=prefixes, match_glob="**/operation.json")
            for record in sorted(records, reverse=True):
                operation = json.loads(hook.download(bucket, record))
                if operation["owner"].get("job_name") == launch["jobName"]:
                    self.operation = operation["name"]
                    self.folder = f"gs://{bucket}/{record.removesuffix('/operation.json')}"
                    self.summary = {key: operation[key] for key in _SUMMARY if key in operation}
                    return
        except (AirflowException, GoogleAPIError, GoogleAuthError) as error:
            self.log.warning("the job's operation cannot be looked up, so no link: %s", error)
