"""Every night: import the day's folder, then export the store to files and to a table.

The jobs run beside the Airflow worker, in the interpreter that DICOMFERRY_PYTHON names (an
environment with `dicomferry` installed; Airflow's own cannot hold it). Source, destination and
table carry the logical date: to clear a run and let it go again does the same day's work again,
takes nothing in twice and replaces what it exported.

A task fails if its process exits with 1 (more files failed than `max_failures`) or 2 (the job
broke). The last lines of its log hold the counts, and name the list of what failed and why.
"""

import os
from datetime import UTC, datetime

from airflow.providers.apache.beam.operators.beam import BeamRunPythonPipelineOperator
from airflow.sdk import DAG, Param
from airflow.timetables.interval import CronDataIntervalTimetable

# Runs without a logical date, as the API can start them, are those of the day they start on.
DAY = "{{ (dag_run.logical_date or dag_run.run_after).strftime('%Y-%m-%d') }}"
DAY_IN_TABLE = "{{ (dag_run.logical_date or dag_run.run_after).strftime('%Y%m%d') }}"


def job(task_id: str, pipeline: str, **flags: str) -> BeamRunPythonPipelineOperator:
    """One run of a pipeline with its flags; all jobs are of one store."""
    return BeamRunPythonPipelineOperator(
        task_id=task_id,
        # `python -m pipelines.…` of the interpreter in which dicomferry is installed.
        py_interpreter=os.environ.get("DICOMFERRY_PYTHON", "python3"),
        py_options=["-m"],
        py_file=f"pipelines.{pipeline}",
        runner="FnApiRunner",
        pipeline_options={
            "root": "{{ params.root }}",
            "store": "{{ params.store }}",
            "max_failures": "{{ params.max_failures }}",
            **flags,
        },
    )


with DAG(
    dag_id="dicomferry_nightly",
    description="Import a day's DICOM files into a store; export it to files and to a table",
    doc_md=__doc__,
    # A night's run is of the day that has ended, and named by it.
    schedule=CronDataIntervalTimetable("0 2 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
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
            description="folder or gs://bucket/prefix; a folder a day is made below",
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
            description="bq://, duckdb: or delta:; the day is added to its name",
        ),
        "max_failures": Param(
            0,
            type="integer",
            minimum=0,
            title="Failures allowed",
            description="so many files may fail before the task does; all are listed either way",
        ),
    },
    tags=["dicom"],
) as dag:
    imported = job("import", "import_dicom", source="{{ params.incoming }}/" + DAY + "/**")
    files = job(
        "export_files",
        "export_dicom",
        destination="{{ params.destination }}/" + DAY,
        mime_type="{{ params.mime_type }}",
    )
    table = job(
        "export_table",
        "export_dicom",
        table="{{ params.table }}_" + DAY_IN_TABLE,
        write_disposition="WRITE_TRUNCATE",
    )
    imported >> [files, table]
