"""Every night: import the day's folder, then export the store to files and to a table.

The jobs run beside the Airflow worker, in the interpreter that DICOMFERRY_PYTHON names (an
environment with `dicomferry` installed; Airflow's own cannot hold it). Source, destination and
table carry the logical date: clearing and rerunning a run imports the same folder, imports
nothing twice, and replaces the exports of that day by the current content of the store.

A task fails if more files fail than `max_failures`, or a streamed table lost rows (its process
exits with 1), if the request is wrong (2), or if the job breaks (3). Failed files and lost rows
are not tried again. Its link "Outcomes" and its XComs `summary` and `outcomes` say
what failed and why; so do the last lines of its log.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG, Param
from airflow.timetables.interval import CronDataIntervalTimetable
from dicomferry_tasks import DAY, DAY_IN_TABLE, TIMEZONE, LocalJob, day


def job(task_id: str, pipeline: str, only_with: str = "-", **flags: str) -> LocalJob:
    """One run of a pipeline with its flags; all jobs are of one store."""
    return LocalJob(
        task_id=task_id,
        pipeline=pipeline,
        flags={
            "root": "{{ params.root }}",
            "store": "{{ params.store }}",
            "max_failures": "{{ params.max_failures }}",
            **flags,
        },
        server="{{ params.server }}",
        only_with=only_with,
    )


with DAG(
    dag_id="dicomferry_nightly",
    description="Import a day's DICOM files into a store; export it to files and to a table",
    doc_md=__doc__,
    # A night's run is of the day that has ended, and named by it.
    schedule=CronDataIntervalTimetable("0 2 * * *", timezone=TIMEZONE),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    user_defined_filters={"day": day},
    params={
        "root": Param(
            "/var/lib/dicomferry", type="string", title="Root", description="where stores live"
        ),
        "store": Param("archive", type="string", title="Store", description="must exist"),
        "incoming": Param(
            "/data/incoming",
            type="string",
            title="Incoming",
            description="folder or gs://bucket/prefix with a folder a day below, 2026-11-23",
        ),
        "destination": Param(
            "/data/export",
            type="string",
            title="Destination of files",
            description="folder or gs://bucket/prefix; a folder a day is made below, with the "
            "whole store in it; empty: no export to files",
        ),
        "mime_type": Param(
            "application/dicom; transfer-syntax=*",
            type="string",
            title="MIME type",
            description="of the files, as `dicomferry formats` lists them; default: as uploaded",
        ),
        "table": Param(
            "duckdb:/data/archive.duckdb#dicom.instances",
            type="string",
            title="Table",
            description="bq://, duckdb: or delta:; the day is added to its name; empty: no table",
        ),
        "max_failures": Param(
            0,
            type="integer",
            minimum=0,
            title="Failures allowed",
            description="so many files may fail before the task does; all are listed either way",
        ),
        "server": Param(
            "",
            type="string",
            title="Server",
            description="URL of `dicomferry serve` over this root, for the links; may be empty",
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
