"""Imports into a store whose stream_configs name tables."""

import json

import duckdb
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from deltalake import DeltaTable
from typer.testing import CliRunner

from pipelines import import_dicom
from pipelines.import_request import ImportRequest
from service import cli
from stores.dicom_store import create_store, get_store
from stores.storage import Storage
from tables.stream import Stream, refuse_local_tables, streams_of
from tests.factories import dicom_bytes
from tests.pipelines.jobs import STORE, data_folder, images, rows, run_import, write_files
from tests.pipelines.tables import NAME, in_order, read_table, uids
from tests.tables.fake_bigquery import PROJECT, FakeBigQuery, serving
from transforms.append_to_streams import _append

BQ = f"bq://{PROJECT}.data.instances"


@pytest.fixture
def bigquery(monkeypatch):
    """A BigQuery that follows the documentation, where the client looks for an emulator."""
    fake = FakeBigQuery()
    with serving(fake) as address:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", address)
        yield fake


@pytest.fixture(params=["duckdb", "delta", "bigquery"])
def stream(request, tmp_path):
    """(table URI, its rows) of each kind of table in turn."""
    if request.param == "bigquery":
        fake = request.getfixturevalue("bigquery")
        return BQ, lambda: fake.tables["data.instances"]["rows"]
    uri = {"duckdb": f"duckdb:{tmp_path}/t.duckdb#{NAME}", "delta": f"delta:{tmp_path}/delta"}
    return uri[request.param], lambda: read_table(uri[request.param])


def new_streaming_store(root, *destinations):
    configs = [{"bigqueryDestination": destination} for destination in destinations]
    return create_store(root, STORE, {"streamConfigs": configs})


def lines_of(job, kind):
    return [
        json.loads(line)
        for entry in job.folder.storage.list()
        if entry.path.startswith(f"stream-{kind}-")
        for line in job.folder.storage.read(entry.path).splitlines()
    ]


def test_every_import_appends_the_rows_of_its_new_instances(root, tmp_path, stream):
    uri, read = stream
    new_streaming_store(root, {"tableUri": uri})
    source = write_files(tmp_path / "in", images(2))
    assert run_import(root, source).code == 0
    assert sorted(row["SOPInstanceUID"] for row in read()) == ["1.2.1.1.1", "1.2.1.1.2"]
    assert run_import(root, source).kinds == {"skipped": 2}
    copies = write_files(tmp_path / "copies", images(2))
    assert run_import(root, copies).kinds == {"duplicate": 2}
    assert len(read()) == 2
    write_files(tmp_path / "in", {"new.dcm": dicom_bytes(sop="1.2.1.1.9", PatientID="P9")})
    assert run_import(root, source).kinds == {"skipped": 2, "imported": 1}
    by_uid = {row["SOPInstanceUID"]: row for row in read()}
    assert len(read()) == len(by_uid) == 3
    assert by_uid["1.2.1.1.9"]["PatientID"] == "P9"  # a column that the first rows did not need
    assert {row["Type"] for row in read()} == {"INSERT"}
    assert by_uid["1.2.1.1.9"]["BlobStorageSize"] == rows(root)["1.2.1.1.9"]["BlobStorageSize"]


def test_a_dry_run_appends_nothing(root, tmp_path):
    uri = f"delta:{tmp_path}/delta"
    new_streaming_store(root, {"tableUri": uri})
    assert run_import(root, write_files(tmp_path / "in", images(2)), "--dry-run").code == 0
    assert not (tmp_path / "delta").exists()


def test_streams_of_one_store_are_alike_but_for_their_schema(root, tmp_path):
    duck, delta = f"duckdb:{tmp_path}/t.duckdb#{NAME}", f"delta:{tmp_path}/delta"
    json_ = f"delta:{tmp_path}/json"
    new_streaming_store(
        root,
        {"tableUri": duck},
        {"tableUri": delta, "schemaFlattened": {}},
        {"tableUri": json_, "schemaJson": {}, "includeSourceStore": True},
    )
    for number in range(2):
        run_import(root, write_files(tmp_path / "in", images(2 + number)))
    assert in_order(read_table(duck)) == in_order(read_table(delta))
    assert uids(duck) == uids(json_) == sorted(rows(root))
    for row in read_table(json_):
        assert row["SourceDicomStore"] == str(STORE)
        stored = rows(root)[row["SOPInstanceUID"]]["Metadata"]
        assert json.loads(row["Metadata"]) == json.loads(stored)


def test_a_row_above_one_megabyte_is_not_streamed_but_logged(root, tmp_path, stream, caplog):
    uri, read = stream
    new_streaming_store(root, {"tableUri": uri})
    large = dicom_bytes(sop="1.2.9", TextValue="x" * (1 << 20), PatientID="P9")
    job = run_import(root, write_files(tmp_path / "in", {**images(1), "large": large}))
    assert (job.code, job.kinds) == (0, {"imported": 2})
    assert [row["SOPInstanceUID"] for row in read()] == ["1.2.1.1.1"]
    [line] = lines_of(job, "errors")
    assert (line["table"], line["sopInstanceUid"], line["code"]) == (uri, "1.2.9", "ROW_TOO_LARGE")
    assert "1.2.9" in caplog.text


def test_a_table_that_refuses_does_not_keep_others_or_the_import(root, tmp_path, caplog):
    path = tmp_path / "t.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE refusing (Modality INTEGER)")
    refusing, delta = f"duckdb:{path}#refusing", f"delta:{tmp_path}/delta"
    new_streaming_store(root, {"tableUri": refusing}, {"tableUri": delta})
    job = run_import(root, write_files(tmp_path / "in", images(2)))
    assert (job.code, job.kinds) == (0, {"imported": 2})
    assert len(uids(delta)) == 2
    [line] = lines_of(job, "errors")
    assert (line["table"], line["code"]) == (refusing, "REFUSED")
    assert "column Modality" in line["reason"]
    assert "column Modality" in caplog.text


def test_a_dataset_that_is_gone_does_not_fail_the_import(root, tmp_path, bigquery):
    new_streaming_store(root, {"tableUri": BQ})
    bigquery.datasets.clear()
    job = run_import(root, write_files(tmp_path / "in", images(1)))
    assert (job.code, job.kinds) == (0, {"imported": 1})
    assert [line["code"] for line in lines_of(job, "errors")] == ["REFUSED"]


def test_values_that_do_not_fit_are_listed_by_table(root, tmp_path):
    uri = f"delta:{tmp_path}/delta"
    new_streaming_store(root, {"tableUri": uri})
    bad = dicom_bytes(sop="1.2.9", StudyDate="20261124").replace(b"20261124", b"20261324")
    job = run_import(root, write_files(tmp_path / "in", {"bad": bad}))
    assert job.code == 0
    [line] = lines_of(job, "warnings")
    assert line.pop("reason")
    assert line == {
        "table": uri,
        "sopInstanceUid": "1.2.9",
        "tag": "00080020",
        "code": "VALUE_UNFIT",
    }


def test_a_bundle_that_is_tried_again_doubles_no_row(root, tmp_path, bigquery):
    uri = f"delta:{tmp_path}/delta"
    new_streaming_store(root, {"tableUri": uri}, {"tableUri": BQ})
    job = run_import(root, write_files(tmp_path / "in", images(3)))
    table = DeltaTable(data_folder(root).uri("index")).to_pyarrow_table()
    streams = streams_of(get_store(root, STORE).resource, str(STORE))
    _append(table.sort_by("SOPInstanceUID"), streams, job.folder)
    assert len(uids(uri)) == 3
    assert len(bigquery.tables["data.instances"]["rows"]) == 3
    assert len(bigquery.inserted) == 1


@pytest.mark.parametrize("table", ["duckdb:t.duckdb#t", "delta:folder"])
def test_a_remote_runner_does_not_append_to_tables_on_its_workers_disks(table):
    with pytest.raises(ValueError, match=r"remote runner cannot reach: use bq:// or delta:gs://"):
        refuse_local_tables([Stream(BQ, True, ""), Stream(table, True, "")])


def test_a_remote_import_is_refused_before_it_starts(gcs, tmp_path):
    root = Storage(f"gs://{gcs.bucket('streams-refused').name}/stores")
    new_streaming_store(root, {"tableUri": f"delta:{tmp_path}/delta"})
    config = ImportRequest(root, STORE, "gs://streams-refused/in/**")
    with pytest.raises(ValueError, match="delta:gs://"):
        import_dicom.run(config, PipelineOptions(["--runner=DataflowRunner"]))


def test_a_bucket_holds_a_streamed_table(gcs, tmp_path):
    bucket = gcs.bucket("streams-bucket")
    root = Storage(f"gs://{bucket.name}/stores")
    uri = f"delta:gs://{bucket.name}/tables/instances"
    new_streaming_store(root, {"tableUri": uri})
    assert run_import(root, write_files(tmp_path / "in", images(2))).code == 0
    assert len(uids(uri)) == 2


def test_the_command_line_makes_a_store_that_streams(root, tmp_path):
    uri = f"duckdb:{tmp_path}/t.duckdb#{NAME}"
    argv = ["stores", "create", STORE.id, "--stream-to", uri, "--root", root.root]
    assert CliRunner().invoke(cli.app, argv).exit_code == 0
    run_import(root, write_files(tmp_path / "in", images(2)))
    assert uids(uri) == ["1.2.1.1.1", "1.2.1.1.2"]
