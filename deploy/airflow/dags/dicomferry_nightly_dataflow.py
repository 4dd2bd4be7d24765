"""Every night, on Dataflow: import the day's prefix, then export to files and to a table.

Starts the flex templates of deploy/dataflow and waits for them. Source, destination, table and
the names of the Dataflow jobs carry the logical date: to clear a run and let it go again imports
the same folder, takes nothing in twice, replaces what it exported by the store as it is then, and
cannot run beside itself, since Dataflow takes no second running job of a name.

A task fails if its Dataflow job does, and that fails when more files failed than `max_failures`
(which is not tried again). Its links lead to the job and to the outcomes; its XComs `summary` and
`outcomes` say what failed and where that is listed.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG, Param
from airflow.timetables.interval import CronDataIntervalTimetable
from dicomferry_tasks import DAY, DAY_IN_TABLE, TIMEZONE, DataflowJob, day


def job(task_id: str, template: str, only_with: str = "-", **parameters: str) -> DataflowJob:
    """One run of a template with its parameters; all jobs are of one store."""
    return DataflowJob(
        task_id=task_id,
        project_id="{{ params.project }}",
        location="{{ params.region }}",
        append_job_name=False,
        wait_until_finished=True,
        server="{{ params.server }}",
        only_with=only_with,
        body={
            "launchParameter": {
                "jobName": "dicomferry-" + task_id.replace("_", "-") + "-" + DAY,
                "containerSpecGcsPath": "{{ params.templates.rstrip('/') }}/" + template + ".json",
                "parameters": {
                    "root": "{{ params.root }}",
                    "store": "{{ params.store }}",
                    "max_failures": "{{ params.max_failures }}",
                    **parameters,
                },
                "environment": {
                    "tempLocation": "{{ params.temp_location }}",
                    "serviceAccountEmail": "{{ params.service_account }}",
                    "subnetwork": "{{ params.subnetwork }}",
                    "ipConfiguration": "WORKER_IP_PRIVATE",
                    "maxWorkers": "{{ params.max_workers }}",
                },
            }
        },
    )


def text(default: str, title: str, description: str) -> Param:
    """A parameter that is a line of text."""
    return Param(default, type="string", title=title, description=description)


with DAG(
    dag_id="dicomferry_nightly_dataflow",
    description="The same as dicomferry_nightly, as Dataflow jobs over buckets",
    doc_md=__doc__,
    # A night's run is of the day that has ended, and named by it.
    schedule=CronDataIntervalTimetable("0 2 * * *", timezone=TIMEZONE),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    user_defined_filters={"day": day},
    params={
        "project": text("my-project", "Project", "that runs and pays the jobs"),
        "region": text("europe-west4", "Region", "the buckets' own, or bytes cross regions"),
        "templates": text(
            "gs://my-bucket/templates", "Templates", "where `make template` put them"
        ),
        "temp_location": text("gs://my-bucket/tmp", "Temporary files", "of Dataflow"),
        "service_account": text(
            "dicomferry@my-project.iam.gserviceaccount.com",
            "Service account",
            "of the workers; deploy/dataflow/README.md lists its roles",
        ),
        "subnetwork": text(
            "regions/europe-west4/subnetworks/default",
            "Subnetwork",
            "with Private Google Access: workers have no public address",
        ),
        "max_workers": Param(20, type="integer", minimum=1, title="Workers at most"),
        "root": text("gs://my-bucket/stores", "Root", "where stores live"),
        "store": text("archive", "Store", "must exist"),
        "incoming": text(
            "gs://my-bucket/incoming", "Incoming", "has a folder a day below, 2026-11-23"
        ),
        "destination": text(
            "gs://my-bucket/export",
            "Destination of files",
            "a folder a day is made below, with the whole store in it; empty: no export to files",
        ),
        "mime_type": text(
            "application/dicom; transfer-syntax=*",
            "MIME type",
            "of the files, as `dicomferry formats` lists them; default: as uploaded",
        ),
        "table": text(
            "bq://my-project.dicom.instances",
            "Table",
            "bq:// or delta:gs://; the day is added; empty: no table",
        ),
        "max_failures": Param(
            0,
            type="integer",
            minimum=0,
            title="Failures allowed",
            description="so many files may fail before the job does; all are listed either way",
        ),
        "server": text(
            "", "Server", "URL of `dicomferry serve` over this root, for the links; may be empty"
        ),
    },
    tags=["dicom"],
) as dag:
    imported = job(
        "import", "import_dicom", source="{{ params.incoming.rstrip('/') }}/" + DAY + "/**"
    )
    files = job(
        "export_files",
        "export_dicom",
        only_with="{{ params.destination }}",
        destination="{{ params.destination.rstrip('/') }}/" + DAY,
        mime_type="{{ params.mime_type }}",
    )
    table = job(
        "export_table",
        "export_dicom",
        only_with="{{ params.table }}",
        table="{{ params.table }}_" + DAY_IN_TABLE,
        write_disposition="WRITE_TRUNCATE",
    )
    imported >> [files, table]
