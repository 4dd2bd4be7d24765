"""The DAGs under a real Airflow: they load, run end to end on local files, and can run again.

Runs in Airflow's own environment (`make test-airflow`); what dicomferry does is seen from outside,
through the interpreter that DICOMFERRY_PYTHON names, as Airflow itself does it.
"""

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest

pytest.importorskip("airflow", reason="runs in Airflow's own environment: make test-airflow")

REPOSITORY = Path(__file__).parents[2]
HERE = REPOSITORY / "deploy" / "airflow"
sys.path[:0] = [str(HERE / "dags"), str(HERE / "plugins")]
DAY = "2026-11-23"
LINK = "_link_OutcomesLink"
MAKE_FILES = """
import sys
from pathlib import Path
from tests.factories import dicom_bytes
folder = Path(sys.argv[1])
folder.mkdir(parents=True)
for number in range(3):
    (folder / f"{number}.dcm").write_bytes(dicom_bytes(sop=f"1.2.1.1.{sys.argv[2]}{number}"))
"""
QUERY = """
import json, sys
import duckdb
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    print(json.dumps(connection.execute(sys.argv[2]).fetchall()))
"""


def dicomferry(code, *arguments):
    """What a snippet prints in dicomferry's environment."""
    command = [os.environ["DICOMFERRY_PYTHON"], "-c", code, *map(str, arguments)]
    return subprocess.run(
        command, check=True, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ).stdout


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    """Runs Airflow's command line on a fresh home with the DAGs of this repository."""
    home = tmp_path_factory.mktemp("airflow")
    environment = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(HERE / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def run(*arguments):
        command = [sys.executable, "-m", "airflow", *map(str, arguments)]
        return subprocess.run(
            command,
            check=False,
            cwd=home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    def xcoms(task):
        """What a task pushed when it last ran, by key, the stored links among it."""
        query = "SELECT key, value FROM xcom WHERE task_id = ? ORDER BY timestamp"
        with closing(sqlite3.connect(home / "airflow.db")) as database:
            found = {key: json.loads(value) for key, value in database.execute(query, [task])}
            database.execute("DELETE FROM xcom")
            database.commit()
        return found

    migrated = run("db", "migrate")
    assert migrated.returncode == 0, migrated.stdout
    run.xcoms = xcoms
    return run


class Night:
    """A store, a day's incoming files, and the parameters that name them."""

    def __init__(self, folder):
        self.folder = folder
        self.incoming = folder / "in" / DAY
        self.params = {
            "root": str(folder / "root"),
            "store": "archive",
            "incoming": str(folder / "in"),
            "destination": str(folder / "out"),
            "table": f"duckdb:{folder}/archive.duckdb#dicom.instances",
        }
        dicomferry(MAKE_FILES, self.incoming, 1)
        dicomferry(MAKE_FILES, folder / "in" / "2026-11-24", 2)  # another day's
        dicomferry(
            "import sys; from dicomferry.cli.main import main; main()",
            *("stores", "create", "archive", "--root", self.params["root"]),
        )

    def run(self, airflow, **params):
        conf = json.dumps(self.params | params)
        return airflow("dags", "test", "dicomferry_nightly", DAY, "-c", conf)

    def exported(self):
        """Path and bytes of the day's exported files."""
        root = self.folder / "out" / DAY
        return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    def rows(self):
        sql = "SELECT SOPInstanceUID FROM dicom.instances_20261123 ORDER BY 1"
        found = dicomferry(QUERY, self.folder / "archive.duckdb", sql)
        return [uid for (uid,) in json.loads(found)]


@pytest.fixture
def night(tmp_path):
    return Night(tmp_path)


def test_the_dags_load_without_errors(airflow):
    assert "No data found" in airflow("dags", "list-import-errors", "-l").stdout
    listed = json.loads(
        re.search(r"\[\s*\{.*\}\s*\]", airflow("dags", "list", "-l", "-o", "json").stdout, re.S)[0]
    )
    assert {dag["dag_id"] for dag in listed} == {
        "dicomferry_nightly",
        "dicomferry_nightly_dataflow",
    }


def test_a_night_imports_its_day_and_exports_it_and_a_second_run_changes_nothing(airflow, night):
    first = night.run(airflow)
    assert first.returncode == 0, first.stdout
    uids = [f"1.2.1.1.1{number}" for number in range(3)]
    files = night.exported()
    assert night.rows() == uids
    assert {str(path) for path in files} == {f"1.2.1/1.2.1.1/{uid}.dcm" for uid in uids}
    assert set(files.values()) == {path.read_bytes() for path in night.incoming.iterdir()}
    assert not (night.folder / "out" / "2026-11-24").exists()

    again = night.run(airflow)
    assert again.returncode == 0, again.stdout
    assert '"skipped": 3' in again.stdout
    assert night.exported() == files
    assert night.rows() == uids


def test_a_file_that_fails_fails_its_task_whose_log_says_where_it_is_listed(airflow, night):
    (night.incoming / "notes.txt").write_bytes(b"not DICOM at all" * 20)
    run = night.run(airflow)
    assert run.returncode != 0
    assert "Apache Beam process failed with return code 1" in run.stdout
    outcomes = re.search(r"failure is listed in (\S+)/outcomes-\*\.jsonl", run.stdout)[1]
    lines = "".join(path.read_text() for path in Path(outcomes).glob("outcomes-*.jsonl"))
    [failed] = [line for line in map(json.loads, lines.splitlines()) if line["outcome"] == "failed"]
    assert failed["source"] == str(night.incoming / "notes.txt")
    assert failed["code"] == "NOT_DICOM"
    assert not night.exported()
    assert "AirflowFailException" in run.stdout, "the same files would fail again: no retry"
    told = airflow.xcoms("import")
    assert told["outcomes"] == f"{outcomes}/outcomes-*.jsonl"
    assert told["summary"]["counts"]["failed"] == 1
    assert told["summary"]["counts"]["imported"] == 3
    assert told[LINK] == "", "no browser opens a path of the worker"

    allowed = night.run(airflow, max_failures=1)
    assert allowed.returncode == 0, allowed.stdout
    assert len(night.exported()) == 3


def test_a_store_that_is_missing_fails_the_task_and_says_how_to_make_it(airflow, night):
    run = night.run(airflow, store="none")
    assert run.returncode != 0
    assert "Apache Beam process failed with return code 2" in run.stdout
    assert "stores create" in run.stdout


def test_a_task_links_to_the_page_of_its_operation_where_a_server_is_named(airflow, night):
    run = night.run(airflow, server="http://dicom.hospital:8080/", destination="", table="")
    assert run.returncode == 0, run.stdout
    told = airflow.xcoms("import")
    name = told["summary"]["name"]
    assert told[LINK] == f"http://dicom.hospital:8080/console/{name}"
    assert told["summary"]["counts"]["imported"] == 3
    assert not (night.folder / "out").exists(), "a destination that is empty is not exported to"
    assert not (night.folder / "archive.duckdb").exists()


def test_airflow_shows_the_link_of_every_task():
    import dicomferry_nightly
    import dicomferry_nightly_dataflow
    from airflow.serialization.serialized_objects import DagSerialization

    for module in (dicomferry_nightly, dicomferry_nightly_dataflow):
        shown = DagSerialization.from_dict(DagSerialization.to_dict(module.dag))
        for task in shown.tasks:
            assert "Outcomes" in task.extra_links, task.task_id
    assert task.operator_extra_link_dict["Outcomes"].xcom_key == LINK


@pytest.mark.parametrize(
    ("operation", "folder", "server", "link"),
    [
        ("projects/p/operations/1", "/root/1", "", ""),
        ("", "", "http://server", ""),
        (
            "projects/p/operations/1",
            "gs://b/stores/1",
            "",
            "https://console.cloud.google.com/storage/browser/b/stores/1",
        ),
        (
            "projects/p/operations/1",
            "gs://b/stores/1",
            "https://server/",
            "https://server/console/projects/p/operations/1",
        ),
    ],
)
def test_a_link_is_one_that_a_browser_can_open(operation, folder, server, link):
    from dicomferry_tasks import link_to

    assert link_to(operation, folder, server) == link


START = """
import subprocess, sys
from dicomferry.resource_names import parse_store
from dicomferry.operations.folder import start_operation
from dicomferry.operations.owner import Owner
from dicomferry.storage.registry import open_storage
owner = Owner.of(int(sys.argv[2]))
folder = start_operation(
    open_storage(sys.argv[1]), parse_store("archive"), "ImportDicomData", owner=owner
)
print(folder.name)
"""


def test_a_task_that_is_stopped_cancels_its_job(night, tmp_path):
    from dicomferry_tasks import LocalJob

    root = night.params["root"]
    with subprocess.Popen(["sleep", "60"]) as job:
        name = dicomferry(START, root, job.pid).strip()
        task = LocalJob(task_id="import", pipeline="import_dicom", flags={"root": root})
        task.py_interpreter = os.environ["DICOMFERRY_PYTHON"]
        summary = {"name": name, "done": False, "outcomes": f"{root}/{name}/outcomes-*.jsonl"}
        (tmp_path / "summary.json").write_text(json.dumps(summary))
        task.summary_file = str(tmp_path / "summary.json")
        task.on_kill()
        job.kill()
    assert (Path(root) / name / "cancel").exists()


@pytest.mark.parametrize(
    ("zone", "hour", "expected"),
    [("UTC", 2, "2026-11-23"), ("UTC", 23, "2026-11-23"), ("Asia/Tokyo", 17, "2026-11-24")],
)
def test_a_day_is_that_of_the_zone_of_the_schedule(monkeypatch, zone, hour, expected):
    import dicomferry_tasks

    monkeypatch.setattr(dicomferry_tasks, "TIMEZONE", zone)
    assert dicomferry_tasks.day(datetime(2026, 11, 23, hour, tzinfo=UTC), "%Y-%m-%d") == expected


def rendered(logical_date):
    """The launch request of each Dataflow task, its templates filled in."""
    import dicomferry_nightly_dataflow as module

    dag_run = SimpleNamespace(logical_date=logical_date, run_after=logical_date)
    params = module.dag.params.dump()
    context = {"dag_run": dag_run, "params": params}
    return {
        task.task_id: task.render_template(task.body, context)["launchParameter"]
        for task in module.dag.tasks
    }


def test_dataflow_tasks_start_the_templates_with_parameters_that_these_take():
    launches = rendered(datetime(2026, 11, 23, 2, tzinfo=UTC))
    assert launches["import"]["jobName"] == "dicomferry-import-2026-11-23"
    assert launches["import"]["parameters"]["source"] == "gs://my-bucket/incoming/2026-11-23/**"
    assert launches["export_table"]["parameters"]["table"].endswith("instances_20261123")
    for launch in launches.values():
        template = launch["containerSpecGcsPath"].rpartition("/")[2]
        metadata = HERE.parent / "dataflow" / f"{template.removesuffix('.json')}_metadata.json"
        parameters = {p["name"]: p for p in json.loads(metadata.read_text())["parameters"]}
        required = {name for name, p in parameters.items() if not p["isOptional"]}
        assert required <= set(launch["parameters"]) <= set(parameters)
        for name, value in launch["parameters"].items():
            for regex in parameters[name].get("regexes", []):
                assert re.fullmatch(regex, value), (name, value, regex)
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", launch["jobName"])


OPERATIONS = "stores/projects/local/locations/local/datasets/default/operations"


def ended(job_name, **fields):
    """The record of an operation that a Dataflow job owned."""
    counts = {"imported": 3, "failed": 1}
    record = {"name": "projects/local/x/operations/1", "store": "s", "total": 4, "counts": counts}
    return json.dumps(record | {"owner": {"job_name": job_name}, "done": True} | fields).encode()


@pytest.fixture
def dataflow_import(monkeypatch):
    """The import's task of the Dataflow DAG, over a bucket that `records` are in; it fails."""
    import dicomferry_nightly_dataflow
    import dicomferry_tasks
    from airflow.sdk.exceptions import AirflowException

    records = {}
    hook = create_autospec(dicomferry_tasks.GCSHook)
    hook.return_value.list.side_effect = lambda bucket, prefix, match_glob: [
        name for name in records if name.startswith(tuple(prefix))
    ]
    hook.return_value.download.side_effect = lambda bucket, name: records[name]
    monkeypatch.setattr(dicomferry_tasks, "GCSHook", hook)

    def fail(*_):
        raise AirflowException("the Dataflow job failed")

    monkeypatch.setattr(dicomferry_tasks.DataflowStartFlexTemplateOperator, "execute", fail)
    task = dicomferry_nightly_dataflow.dag.get_task("import")
    task.body = rendered(datetime(2026, 11, 23, 2, tzinfo=UTC))["import"]
    task.body = {"launchParameter": task.body}
    task.server = ""
    return SimpleNamespace(task=task, records=records, hook=hook)


def run_task(task):
    """What a task that fails pushes and raises."""
    pushed = {}

    def push(key, value):
        pushed[key] = value

    with pytest.raises(Exception, match="failed") as failed:
        task.execute.__wrapped__(task, {"ti": SimpleNamespace(xcom_push=push)})
    return pushed, failed.value


def test_a_dataflow_task_finds_the_operation_of_its_job(dataflow_import):
    from airflow.sdk.exceptions import AirflowFailException

    today = f"{datetime.now(UTC):%Y%m%d}"
    mine, other = f"{today}000001-a", f"{today}000002-b"
    why = {"code": 3, "message": "1 of 4 files failed"}
    record = ended("dicomferry-import-2026-11-23", error=why)
    dataflow_import.records[f"{OPERATIONS}/{mine}/operation.json"] = record
    dataflow_import.records[f"{OPERATIONS}/{other}/operation.json"] = ended("another")
    pushed, error = run_task(dataflow_import.task)
    assert pushed["outcomes"] == f"gs://my-bucket/{OPERATIONS}/{mine}/outcomes-*.jsonl"
    assert pushed["summary"]["counts"] == {"imported": 3, "failed": 1}
    assert isinstance(error, AirflowFailException), "the same files would fail again"
    link = dataflow_import.task.operator_extra_links[-1]
    assert link.get_link(dataflow_import.task, ti_key=None).endswith(
        f"my-bucket/{OPERATIONS}/{mine}"
    )


@pytest.mark.parametrize(("code", "is_tried_again"), [(3, False), (15, False), (14, True)])
def test_only_a_job_that_could_end_better_is_tried_again(dataflow_import, code, is_tried_again):
    from airflow.sdk.exceptions import AirflowFailException

    why = {"code": code, "message": "the job failed"}
    name = f"{OPERATIONS}/{datetime.now(UTC):%Y%m%d}000001-a/operation.json"
    dataflow_import.records[name] = ended("dicomferry-import-2026-11-23", error=why)
    _, error = run_task(dataflow_import.task)
    assert isinstance(error, AirflowFailException) != is_tried_again


def test_a_dataflow_task_fails_as_its_job_where_the_operation_cannot_be_read(dataflow_import):
    from google.api_core.exceptions import Forbidden

    dataflow_import.hook.return_value.list.side_effect = Forbidden("not yours")
    pushed, error = run_task(dataflow_import.task)
    assert pushed == {}
    assert str(error) == "the Dataflow job failed"
