"""What people read of a job holds UIDs and URIs at most: no value of any other attribute."""

import html
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import duckdb
import pytest

from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store
from tests.api.serving import served_by_process
from tests.faults.marked_files import MARK, files
from tests.pipelines.jobs import STORE, data_folder, operation_folders, rows, write_files
from tests.tables.fake_bigquery import PROJECT, FakeBigQuery, serving

REPOSITORY = Path(__file__).parents[2]
BQ = f"bq://{PROJECT}.data"
J2K = "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90"
UNFIT = "duckdb:{out}/t.duckdb#dicom.other"
# All that Python's loggers have to say, whatever the program thinks of it.
_PROGRAM = """
import logging, sys
set_up = logging.basicConfig
logging.basicConfig = lambda **how: set_up(**{**how, "level": logging.DEBUG, "force": True})
logging.basicConfig()
from dicomferry.cli.main import main
main()
"""
_COMMANDS = [
    ("stores", "describe", "trial"),
    ("import", "trial", "{source}"),
    ("import", "trial", "{source}", "--workers=0"),
    ("import", "trial", "{source}", "--dry-run"),
    ("import", "trial", "--retry-failed", "{operation}"),
    ("export", "files", "trial", "{out}/as-uploaded"),
    ("export", "files", "trial", "{out}/png", "--mime-type", "image/png"),
    ("export", "files", "trial", "{out}/jpg", "--mime-type", "image/jpeg"),
    ("export", "files", "trial", "{out}/j2k", "--mime-type", J2K),
    ("export", "table", "trial", "duckdb:{out}/t.duckdb#dicom.flat"),
    ("export", "table", "trial", "duckdb:{out}/t.duckdb#dicom.json", "--schema", "json"),
    ("export", "table", "trial", UNFIT, "--write-disposition", "WRITE_APPEND"),
    ("export", "table", "trial", "delta:{out}/delta"),
    ("export", "table", "trial", BQ + ".flat"),
    ("export", "table", "trial", BQ + ".json", "--schema", "json"),
    ("preview", "trial", "-o", "{out}/preview.html"),
    ("stores", "metrics", "trial"),
    ("stores", "verify", "trial"),
    ("stores", "vacuum", "trial"),
    ("stores", "optimize", "trial"),
    ("operations", "list"),
    ("operations", "describe", "{operation}"),
    ("operations", "describe", "{operation}", "--format=json"),
]


def name_of(command):
    return " ".join(command[:2] + command[3:])[:60]


class Told:
    """What commands said, and the place they said it about."""

    def __init__(self, tmp_path, environment):
        self.root = open_storage(str(tmp_path / "root"))
        self.out = tmp_path / "out"
        self.out.mkdir()
        self._environment = environment
        self._source = write_files(tmp_path / "in", files())
        self.texts = {}

    def run(self, command):
        newest = operation_folders(self.root)
        places = {
            "source": self._source,
            "out": self.out,
            "operation": newest[-1].id if newest else "",
        }
        arguments = [part.format(**places) for part in command]
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *arguments, f"--root={self.root.root}"],
            check=False,
            cwd=REPOSITORY,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=200,
        )
        self.texts[name_of(command)] = done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Every command, once, on a store that streams to tables of two kinds."""
    tmp_path = tmp_path_factory.mktemp("marked")
    fake = FakeBigQuery()
    with serving(fake) as address:
        environment = os.environ | {"BIGQUERY_EMULATOR_HOST": address}
        told = Told(tmp_path, environment)
        # One whose columns fit none of it.
        with duckdb.connect(str(told.out / "t.duckdb")) as connection:
            connection.execute("CREATE SCHEMA dicom")
            connection.execute("CREATE TABLE dicom.other (PatientID DATE, StudyID BIGINT)")
        tables = [f"duckdb:{tmp_path}/stream.duckdb#dicom.stream", f"{BQ}.stream"]
        tables.append(f"duckdb:{told.out}/t.duckdb#dicom.other")
        configs = [{"bigqueryDestination": {"tableUri": table}} for table in tables]
        create_store(told.root, STORE, {"streamConfigs": configs})
        for command in _COMMANDS:
            told.run(command)
        yield told


# The mark in other clothes, too.
_FORMS = re.compile("|".join([MARK, MARK.upper(), MARK.encode().hex(), MARK[:6]]), re.IGNORECASE)


def marks_in(text):
    found = _FORMS.search(text)
    return text[max(0, found.start() - 150) : found.end() + 50] if found else ""


@pytest.mark.timeout(400)
def test_the_files_meet_every_fate(told):
    first = operation_folders(told.root)[-1]
    lines = list(first.outcomes())
    codes = {line.get("code", line["outcome"]) for line in lines}
    assert len(lines) == len(files())
    assert codes >= {"imported", "duplicate", "ALREADY_EXISTS", "TRUNCATED", "NOT_DICOM"}
    assert codes >= {"GZIPPED", "ZIPPED", "INVALID_STUDY_INSTANCE_UID", "INVALID_SOP_INSTANCE_UID"}
    assert codes >= {"MISSING_STUDY_INSTANCE_UID"}
    names = {
        entry.path.partition("-")[0]
        for f in operation_folders(told.root)
        for entry in f.storage.list()
    }
    assert {"warnings", "stream"} <= names, "no value was unfit, or nothing was not streamed"


@pytest.mark.parametrize("command", _COMMANDS, ids=name_of)
def test_no_command_says_a_value(told, command):
    text = told.texts[name_of(command)]
    assert text
    assert not marks_in(text)


def test_no_list_beside_an_operation_holds_a_value(told):
    folder = operation_folders(told.root)[0].storage.root.rpartition("/")[0]
    found = {str(p): marks_in(p.read_text("utf-8")) for p in Path(folder).rglob("*") if p.is_file()}
    assert len(found) > 20
    assert not {path: text for path, text in found.items() if text}


def test_the_log_of_the_index_and_the_record_of_sources_hold_no_value(told):
    data = Path(data_folder(told.root).root)
    logs = [*data.glob("*/_delta_log/*.json"), *data.glob("sources/*")]
    assert len(logs) > 4
    for path in logs:
        if path.is_file():
            assert not marks_in(path.read_bytes().decode("latin-1"))


def test_the_preview_shows_no_value(told):
    page = (told.out / "preview.html").read_text("utf-8")
    assert "1.2.1.1" in page
    assert not marks_in(page)


@pytest.mark.timeout(200)
def test_no_page_and_no_answer_of_the_service_holds_a_value(told):
    dataset = STORE.parent
    api = (str(STORE), f"{STORE}:getDICOMStoreMetrics", f"{dataset}/dicomStores")
    operations = (f"{dataset}/operations", *(f.name for f in operation_folders(told.root)))
    with served_by_process(told.root) as (process, ports):
        wanted = ["/", *(f"/v1/{name}" for name in (*api, *operations))]
        seen = {}
        while wanted:
            path = html.unescape(wanted.pop())
            if path not in seen:
                with urllib.request.urlopen(f"{ports.rest}{path}", timeout=60) as answer:
                    seen[path] = answer.read().decode("latin-1")
                if not path.startswith("/v1/"):
                    wanted += re.findall(r'(?:href|src|data-live)="(/[^"]*)"', seen[path])
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    for part in ("/preview", "/pictures/", "/outcomes.jsonl", "outcome=failed", "/v1/"):
        assert any(part in path for path in seen), part
    assert not {path: marks_in(text) for path, text in seen.items() if marks_in(text)}
    assert not marks_in(log)


def test_nothing_else_is_left_behind(told):
    left = [str(p) for p in Path(told.root.root).rglob("*") if p.is_file()]
    assert not [path for path in left if "/rows/" in path or path.endswith((".partial", ".tmp"))]


def test_the_mark_is_where_it_belongs_so_the_search_would_find_it(told):
    stored = rows(told.root)
    assert all(MARK in row["Metadata"] for row in stored.values())
    assert marks_in(json.dumps(next(iter(stored.values()))["Metadata"]))
    exported = list((told.out / "as-uploaded").rglob("*.dcm"))
    assert len(exported) == len(stored)
    assert all(MARK.encode() in path.read_bytes() for path in exported if "1.3" not in path.stem)
    with duckdb.connect(str(told.out / "t.duckdb"), read_only=True) as connection:
        [[name]] = connection.sql("SELECT DISTINCT PatientID FROM dicom.flat").fetchall()
    assert name == MARK
