"""The DAGs under a real Airflow: they load, run end to end on local files, and can run again.

Runs in Airflow's own environment (`make test-airflow`); what dicomferry does is seen from outside,
through the interpreter that DICOMFERRY_PYTHON names, as Airflow itself does it.
"""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("airflow", reason="runs in Airflow's own environment: make test-airflow")

REPOSITORY = Path(__file__).parents[2]
HERE = REPOSITORY / "deploy" / "airflow"
DAY = "2026-11-23"
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

    migrated = run("db", "migrate")
    assert migrated.returncode == 0, migrated.stdout
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
            "import sys; from service.cli import main; main()",
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
    assert "No data found" in airflow("dags", "list-import-errors").stdout
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
    outcomes = re.search(r"which and why: (\S+)/outcomes-\*\.jsonl", run.stdout)[1]
    lines = "".join(path.read_text() for path in Path(outcomes).glob("outcomes-*.jsonl"))
    [failed] = [line for line in map(json.loads, lines.splitlines()) if line["outcome"] == "failed"]
    assert failed["source"] == str(night.incoming / "notes.txt")
    assert failed["code"] == "NOT_DICOM"
    assert not night.exported()

    allowed = night.run(airflow, max_failures=1)
    assert allowed.returncode == 0, allowed.stdout
    assert len(night.exported()) == 3


def test_a_store_that_is_missing_fails_the_task_and_says_how_to_make_it(airflow, night):
    run = night.run(airflow, store="none")
    assert run.returncode != 0
    assert "Apache Beam process failed with return code 2" in run.stdout
    assert "stores create" in run.stdout


def rendered(logical_date):
    """The launch request of each Dataflow task, its templates filled in."""
    sys.path.insert(0, str(HERE / "dags"))
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
