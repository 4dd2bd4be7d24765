"""A kind of table of one's own: one class, registered, and nothing else."""

import dataclasses
import json
import os
from pathlib import Path
from typing import ClassVar

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from dicomferry.pipelines import export_dicom
from dicomferry.pipelines.export_request import ExportRequest
from dicomferry.places import Access, Bounds, PlaceDeniedError, PlaceRules
from dicomferry.storage import registry
from dicomferry.storage.errors import StorageError
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store
from dicomferry.tables import destination
from dicomferry.tables.destination import Destination, Place, parse_destination, register
from dicomferry.tables.errors import TableNotEmptyError
from dicomferry.tables.limits import Limits
from tests.pipelines.jobs import STORE, images, new_store, run_import, write_files
from tests.pipelines.tables import run_table_export


@dataclasses.dataclass(frozen=True)
class RowsFile(Destination):
    """rows:FILE, all rows in one file of JSON lines; appended jobs are listed beside it."""

    prefix: ClassVar[str] = "rows:"
    form: ClassVar[str] = "rows:path/to/file.ndjson"
    limits: ClassVar[Limits] = Limits(sequence_depth=1, sequence_size=0)

    path: str

    @classmethod
    def parse(cls, text):
        if not text.endswith(".ndjson"):
            raise ValueError(f"{text!r} has not the ending .ndjson. Give {cls.form}.")
        return cls(text.removeprefix(cls.prefix))

    @classmethod
    def place(cls, text):
        return Place(text.removeprefix(cls.prefix))

    @property
    def uri(self):
        return f"{self.prefix}{os.path.abspath(self.path)}"

    @property
    def is_local(self):
        return True

    def check(self, disposition, schema=()):
        if disposition == "WRITE_EMPTY" and self.lines():
            raise TableNotEmptyError(self.uri)

    def load(self, load):
        self.check(load.disposition, load.schema)
        jobs = Path(f"{self.path}.jobs")
        is_append = load.disposition == "WRITE_APPEND"
        known = jobs.read_text().splitlines() if jobs.exists() else []
        if is_append and load.job in known:
            return
        rows = b"".join(Path(path).read_bytes() for path in load.shards.uris)
        with open(self.path, "ab" if is_append else "wb") as file:
            file.write(rows)
        jobs.write_text("".join(f"{job}\n" for job in [*known, load.job]))

    def lines(self):
        path = Path(self.path)
        return path.read_bytes().splitlines() if path.exists() else []


@pytest.fixture
def uri(tmp_path, monkeypatch):
    """A table of a kind that is registered for one test."""
    monkeypatch.setattr(destination, "_KINDS", list(destination._KINDS))
    monkeypatch.setattr(registry, "_TABLE_PREFIXES", set(registry._TABLE_PREFIXES))
    register(RowsFile)
    return f"rows:{tmp_path}/table.ndjson"


def uids(uri):
    rows = map(json.loads, parse_destination(uri).lines())
    return sorted(row["SOPInstanceUID"] for row in rows)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_export_goes_to_a_table_of_an_own_kind(root, tmp_path, uri, workers):
    new_store(root)
    run_import(root, write_files(tmp_path / "in", images(3)))
    assert run_table_export(root, uri, workers=workers).code == 0
    expected = ["1.2.1.1.1", "1.2.1.1.2", "1.2.1.1.3"]
    assert uids(uri) == expected
    assert run_table_export(root, uri).code == 2  # WRITE_EMPTY
    assert run_table_export(root, uri, "--write-disposition=WRITE_TRUNCATE").code == 0
    assert uids(uri) == expected
    assert run_table_export(root, uri, "--write-disposition=WRITE_APPEND").code == 0
    assert uids(uri) == sorted(expected * 2)


def test_a_store_streams_to_a_table_of_an_own_kind(root, tmp_path, uri):
    create_store(root, STORE, {"streamConfigs": [{"bigqueryDestination": {"tableUri": uri}}]})
    for count in (2, 3):
        run_import(root, write_files(tmp_path / "in", images(count)))
    assert uids(uri) == ["1.2.1.1.1", "1.2.1.1.2", "1.2.1.1.3"]


def test_what_an_own_kind_refuses_is_told_before_any_work(root, uri, capsys):
    assert run_table_export(root, "rows:table.txt").code == 2
    assert "Give rows:path/to/file.ndjson" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"or rows:path/to/file\.ndjson"):
        parse_destination("s3://bucket/table")


def test_no_folder_is_named_as_a_table_of_an_own_kind(uri):
    with pytest.raises(StorageError, match="is not a folder"):
        open_storage(uri)


def test_a_local_table_of_an_own_kind_is_refused_for_a_remote_runner(uri):
    root = open_storage("gs://bucket/stores")
    request = ExportRequest(root=root, store=STORE, table=parse_destination(uri))
    with pytest.raises(ValueError, match="remote runner cannot reach"):
        export_dicom.run(request, PipelineOptions(["--runner=DataflowRunner"]))


def test_the_rules_of_a_server_hold_for_an_own_kind(tmp_path, uri):
    rules = PlaceRules(Bounds.of_server([str(tmp_path)]))
    rules.check(uri, Access.WRITE)
    with pytest.raises(PlaceDeniedError, match="--allow-path"):
        rules.check("rows:/etc/table.ndjson", Access.WRITE)
