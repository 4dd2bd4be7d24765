"""Imports into a store whose stream_configs name tables."""

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from deltalake import DeltaTable
from google.rpc.code_pb2 import DATA_LOSS
from typer.testing import CliRunner

from dicomferry.cli import main
from dicomferry.pipelines import export_dicom, import_dicom
from dicomferry.storage.registry import open_storage
from dicomferry.store.compaction import sort_index
from dicomferry.store.dicom_store import create_store, update_store
from dicomferry.store.index import Index
from dicomferry.tables.destination import WriteDisposition
from dicomferry.tables.stream import Stream, refuse_local_tables
from tests.factories import dicom_bytes
from tests.pipelines.jobs import (
    STORE,
    data_folder,
    images,
    import_of,
    rows,
    run_import,
    table_of,
    write_files,
)
from tests.pipelines.tables import NAME, in_order, query, read_table, uids
from tests.tables.fake_bigquery import PROJECT, FakeBigQuery, serving

REPOSITORY = Path(__file__).parents[2]
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


# No row is left behind, and none goes in twice


def kill_import(root, source, moment):
    """Import until a moment of tests/pipelines/disturbed_import.py."""
    command = [sys.executable, "-m", "tests.pipelines.disturbed_import", "kill", moment]
    killed = subprocess.run(
        [*command, root.root, source, "0"],
        check=False,
        cwd=REPOSITORY,
        start_new_session=True,
        capture_output=True,
        timeout=50,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr


@pytest.mark.parametrize(
    "moment",
    [
        "append:2:after",  # rows are committed, and no append is written down
        "plan_append:2:after",
        "load_append:2:before",
        "load_append:2:after",  # the table has the rows, and nobody says so
        "finish_append:2:after",
    ],
)
def test_a_killed_import_leaves_rows_that_the_next_one_appends_once(root, tmp_path, stream, moment):
    uri, read = stream
    new_streaming_store(root, {"tableUri": uri})
    kill_import(root, write_files(tmp_path / "in", images(50)), moment)
    assert len(read()) in (20, 40)
    assert len(rows(root)) == 40
    other = write_files(tmp_path / "other", {"new": dicom_bytes(sop="1.2.9")})
    assert run_import(root, other).kinds == {"imported": 1}
    assert sorted(row["SOPInstanceUID"] for row in read()) == sorted(rows(root))
    assert len(rows(root)) == 41


def test_rows_that_were_compacted_before_they_were_appended_are_appended_once(root, tmp_path):
    uri = f"delta:{tmp_path}/delta"
    new_streaming_store(root, {"tableUri": uri})
    source = write_files(tmp_path / "in", images(50))
    kill_import(root, source, "append:2:after")
    sort_index(data_folder(root))
    assert len(Index(data_folder(root)).files) == 1
    assert run_import(root, source).kinds == {"skipped": 20, "duplicate": 20, "imported": 10}
    assert uids(uri) == sorted(rows(root))


def test_imports_at_the_same_time_append_every_row_once(root, tmp_path, stream):
    uri, read = stream
    new_streaming_store(root, {"tableUri": uri})
    sources = []
    for number in range(3):
        files = {f"{n}.dcm": dicom_bytes(sop=f"1.2.{number}.{n + 1}") for n in range(4)}
        sources.append(write_files(tmp_path / f"in{number}", files))

    def run(source):
        flags = [f"--store={STORE.id}", f"--root={root.root}", f"--source={source}"]
        return import_dicom.run(*import_dicom.parse_args([*flags, "--workers=0"]))

    with ThreadPoolExecutor(3) as threads:
        operations = list(threads.map(run, sources))
    assert [operation.counts.imported for operation in operations] == [4, 4, 4]
    assert sorted(row["SOPInstanceUID"] for row in read()) == sorted(rows(root))
    assert len(rows(root)) == 12


def test_what_a_busy_table_did_not_take_comes_with_the_next_import(root, tmp_path, monkeypatch):
    path = tmp_path / "t.duckdb"
    uri = f"duckdb:{path}#{NAME}"
    new_streaming_store(root, {"tableUri": uri})
    monkeypatch.setattr("dicomferry.tables.duckdb_load.LOCK_WAIT_S", 0.1)
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(); sys.stdin.read()"
    command = [sys.executable, "-c", hold, path]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as holder:
        holder.stdout.readline()
        job = run_import(root, write_files(tmp_path / "in", images(2)))
        holder.communicate()
    assert (job.code, job.kinds) == (0, {"imported": 2})
    [line] = lines_of(job, "errors")
    assert (line["table"], line["code"]) == (uri, "REFUSED")
    assert "The next import into this store tries again" in line["reason"]
    run_import(root, write_files(tmp_path / "in", images(3)))
    assert uids(uri) == sorted(rows(root))


def test_what_a_table_refused_comes_when_it_is_mended(root, tmp_path):
    path = tmp_path / "t.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE t (Modality INTEGER)")
    new_streaming_store(root, {"tableUri": f"duckdb:{path}#t"})
    for number in range(2):
        run_import(root, write_files(tmp_path / "in", images(2 + number)))
    assert query(path, "FROM t") == []
    with duckdb.connect(str(path)) as connection:
        connection.execute("DROP TABLE t")
    run_import(root, write_files(tmp_path / "in", images(5)))
    found = query(path, "SELECT SOPInstanceUID FROM t ORDER BY ALL")
    assert [row["SOPInstanceUID"] for row in found] == sorted(rows(root))


def test_rows_that_a_table_refused_and_an_export_then_gave_it_do_not_come_twice(root, tmp_path):
    path = tmp_path / "t.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE mended (Modality INTEGER)")
    uri = f"duckdb:{path}#mended"
    new_streaming_store(root, {"tableUri": uri})
    refused = run_import(root, write_files(tmp_path / "in", images(2)))
    assert lines_of(refused, "errors")[0]["code"] == "REFUSED"
    export_dicom.run(
        table_of(root, uri, write_disposition=WriteDisposition.WRITE_TRUNCATE, workers=0)
    )
    run_import(root, write_files(tmp_path / "in", images(3)))
    assert uids(uri) == ["1.2.1.1.1", "1.2.1.1.2", "1.2.1.1.3"]


def test_a_stream_begins_with_the_first_import_that_knows_of_it(root, tmp_path):
    first, second = f"delta:{tmp_path}/first", f"delta:{tmp_path}/second"
    new_streaming_store(root, {"tableUri": first})
    run_import(root, write_files(tmp_path / "in", images(2)))
    configs = [{"bigqueryDestination": {"tableUri": uri}} for uri in (first, second)]
    update_store(root, STORE, lambda resource: {**resource, "streamConfigs": configs})
    run_import(root, write_files(tmp_path / "in", images(3)))
    assert len(uids(first)) == 3
    assert uids(second) == ["1.2.1.1.3"]


@pytest.mark.parametrize("gone", ["log", "rows"])
def test_rows_that_are_no_longer_told_apart_are_named_and_the_stream_goes_on(root, tmp_path, gone):
    uri = f"delta:{tmp_path}/delta"
    new_streaming_store(root, {"tableUri": uri})
    source = write_files(tmp_path / "in", images(50))
    kill_import(root, source, "append:2:after")
    index = Index(data_folder(root))
    folder, version = Path(data_folder(root).uri("index")), index.version
    # Of the last commit, which the stream was not told of; names of files are random.
    [last] = set(index.files) - set(Index(data_folder(root), version - 1).files)
    sort_index(data_folder(root))  # weeks ago, so that what it replaced was deleted since
    DeltaTable(folder).create_checkpoint()
    if gone == "log":
        (folder / "_delta_log" / f"{version:020}.json").unlink()
    else:
        (folder / last).unlink()
    job = run_import(root, source)
    assert job.code == 1, "no import sends them any more: somebody has to look"
    assert job.operation["error"]["code"] == DATA_LOSS
    [line] = lines_of(job, "errors")
    assert line["code"] == "GONE"
    assert "export the table again, with WRITE_TRUNCATE" in line["reason"]
    new = write_files(tmp_path / "new", {"new": dicom_bytes(sop="1.2.9")})
    job = run_import(root, new)
    assert lines_of(job, "errors") == []
    assert job.code == 0, "it is said once"
    assert "1.2.9" in uids(uri)


# Remote runners, buckets, the command line


@pytest.mark.parametrize("table", ["duckdb:t.duckdb#t", "delta:folder"])
def test_a_remote_runner_does_not_append_to_tables_on_its_workers_disks(table):
    with pytest.raises(ValueError, match=r"remote runner cannot reach: use bq:// or delta:gs://"):
        refuse_local_tables([Stream(BQ, True, ""), Stream(table, True, "")])


def test_a_remote_import_is_refused_before_it_starts(gcs, tmp_path):
    root = open_storage(f"gs://{gcs.bucket('streams-refused').name}/stores")
    new_streaming_store(root, {"tableUri": f"delta:{tmp_path}/delta"})
    config = import_of(root, "gs://streams-refused/in/**")
    with pytest.raises(ValueError, match="delta:gs://"):
        import_dicom.run(config, PipelineOptions(["--runner=DataflowRunner"]))


def test_a_bucket_holds_a_streamed_table(gcs, tmp_path):
    bucket = gcs.bucket("streams-bucket")
    root = open_storage(f"gs://{bucket.name}/stores")
    uri = f"delta:gs://{bucket.name}/tables/instances"
    new_streaming_store(root, {"tableUri": uri})
    assert run_import(root, write_files(tmp_path / "in", images(2))).code == 0
    assert len(uids(uri)) == 2


def test_the_command_line_makes_a_store_that_streams(root, tmp_path):
    uri = f"duckdb:{tmp_path}/t.duckdb#{NAME}"
    argv = ["stores", "create", STORE.id, "--stream-to", uri, "--root", root.root]
    assert CliRunner().invoke(main.app, argv).exit_code == 0
    run_import(root, write_files(tmp_path / "in", images(2)))
    assert uids(uri) == ["1.2.1.1.1", "1.2.1.1.2"]
