"""Exports to tables as whole jobs: what was refused, what is in the tables, what is told."""

import collections
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pydicom
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from dicomferry.pipelines import export_dicom
from dicomferry.storage.registry import open_storage
from dicomferry.store.index import Index
from dicomferry.tables.delta_table import DeltaTablePath
from dicomferry.tables.destination import Destination, parse_destination
from dicomferry.transforms import export_table
from dicomferry.transforms.write_rows import RowGroupSelection, TableTarget, write_parts
from tests.corpus import corpus_files
from tests.pipelines import corpus_outcomes
from tests.pipelines.jobs import (
    PACKAGED,
    STORE,
    data_folder,
    images,
    new_store,
    operation_folders,
    rows,
    run_import,
    table_of,
    tree,
    write_files,
)
from tests.pipelines.tables import NAME, in_order, query, read_table, run_table_export, uids
from tests.tables.fake_bigquery import PROJECT, FakeBigQuery, serving

REPOSITORY = Path(__file__).parents[2]
BQ = f"bq://{PROJECT}.data.instances"


@pytest.fixture(scope="module")
def packaged(tmp_path_factory):
    """A root with pydicom's files in its store, whose blobs are gone: no export misses them."""
    root = open_storage(str(tmp_path_factory.mktemp("packaged") / "root"))
    new_store(root)
    run_import(root, f"{PACKAGED}/**")
    shutil.rmtree(data_folder(root).uri("instances"))
    return root


@pytest.fixture(params=["duckdb", "delta"])
def table(request, tmp_path):
    """The URI of a table that does not exist."""
    if request.param == "duckdb":
        return f"duckdb:{tmp_path}/t.duckdb#{NAME}"
    return f"delta:{tmp_path}/delta"


@pytest.fixture
def bigquery(monkeypatch):
    """A BigQuery that follows the documentation, where the client looks for an emulator."""
    fake = FakeBigQuery()
    with serving(fake) as address:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", address)
        yield fake


def check_done(job, exported, failed=0):
    """An operation that has come to its end, and cleaned up."""
    counter = job.operation["metadata"]["counter"]
    assert job.operation["done"]
    assert counter == {"pending": "0", "success": str(exported), "failure": str(failed)}
    assert job.folder.counts().exported == exported
    assert list(job.folder.storage.list("rows")) == []


# What is refused


def test_a_table_with_rows_is_refused_before_any_work(packaged, table, caplog):
    assert run_table_export(packaged, table).code == 0
    before = in_order(read_table(table))
    job = run_table_export(packaged, table)
    assert (job.code, job.folder) == (2, None)
    assert "WRITE_TRUNCATE to replace them, WRITE_APPEND to add to them" in caplog.text
    assert in_order(read_table(table)) == before
    assert all(folder.read().done for folder in operation_folders(packaged))


def test_rows_that_came_meanwhile_are_refused_by_the_load(packaged, table, monkeypatch):
    run_table_export(packaged, table, "--schema=json")
    before = in_order(read_table(table))
    monkeypatch.setattr(type(parse_destination(table)), "check", lambda *_: None)
    job = run_table_export(packaged, table, "--schema=json")
    assert job.code == 2
    assert job.operation["error"]["code"] == 9
    assert "has rows already" in job.operation["error"]["message"]
    check_done(job, 0, failed=len(rows(packaged)))
    assert in_order(read_table(table)) == before


def test_a_column_of_another_type_is_named_and_nothing_is_appended(packaged, tmp_path, caplog):
    path = tmp_path / "t.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute('CREATE TABLE instances (SOPInstanceUID VARCHAR, "Rows" VARCHAR)')
        connection.execute("INSERT INTO instances VALUES ('1.2', 'many')")
    job = run_table_export(packaged, f"duckdb:{path}#instances", "--write-disposition=WRITE_APPEND")
    assert job.code == 2
    assert "column Rows is STRING NULLABLE in the table, but INTEGER NULLABLE" in caplog.text
    check_done(job, 0, failed=len(rows(packaged)))
    assert query(path, "FROM instances") == [{"SOPInstanceUID": "1.2", "Rows": "many"}]


def test_a_load_that_breaks_leaves_no_shards_and_counts_nothing_as_exported(
    packaged, table, monkeypatch
):
    def breaking(*_):
        raise ConnectionResetError("connection reset")

    monkeypatch.setattr(type(parse_destination(table)), "load", breaking)
    job = run_table_export(packaged, table)
    assert job.code == 3
    assert job.operation["error"]["code"] == 14
    check_done(job, 0, failed=len(rows(packaged)))


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "either a --destination for files or a --table"),
        (["--destination=out", "--table=delta:out"], "either a --destination for files or"),
        (["--table=postgres:x"], "names no table. Give bq://project.dataset.table, duckdb:"),
        (["--table=bq://data.instances"], "does not have three parts"),
        (["--table=duckdb:file.duckdb"], "names no file or no table"),
        (["--table=delta:s3://bucket/x"], "a Delta table is a local folder or gs://bucket/prefix"),
        (["--table=delta:gs://bucket"], "has no bucket or no prefix"),
        (["--table=delta:x", "--write-disposition=WRITE_MAYBE"], "is not a write disposition"),
        (["--table=delta:x", "--schema=wide"], "--schema must be flattened or json, got 'wide'"),
    ],
)
def test_a_wrong_request_is_told_with_its_remedy(packaged, capsys, flags, told):
    with pytest.raises(SystemExit) as ended:
        export_dicom.main([f"--store={STORE.id}", f"--root={packaged.root}", *flags])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_duckdb_file_is_no_table_for_a_remote_runner():
    config = table_of(open_storage("gs://bucket/stores"), "duckdb:t.duckdb#t")
    with pytest.raises(ValueError, match="remote runner cannot reach: use bq:// or delta:gs://"):
        export_dicom.run(config, PipelineOptions(["--runner=DataflowRunner"]))


def test_a_dataset_that_does_not_exist_is_told_before_any_work(packaged, bigquery, caplog):
    job = run_table_export(packaged, f"bq://{PROJECT}.nowhere.instances")
    assert (job.code, job.folder) == (2, None)
    assert "Create it: bq mk --dataset" in caplog.text


# What is in the tables


@pytest.mark.parametrize("schema", ["flattened", "json"])
def test_every_instance_is_one_row_and_no_blob_is_opened(packaged, tmp_path, schema):
    duck, delta = f"duckdb:{tmp_path}/t.duckdb#{NAME}", f"delta:{tmp_path}/delta"
    for table, workers in ((duck, 2), (delta, 0)):
        job = run_table_export(packaged, table, f"--schema={schema}", workers=workers)
        assert job.code == 0
        check_done(job, len(rows(packaged)))
        assert "response" in job.operation
    assert in_order(read_table(duck)) == in_order(read_table(delta))
    assert uids(duck) == sorted(rows(packaged))
    assert len(rows(packaged)) > 100


def test_the_json_schema_has_the_columns_of_the_reference_and_the_whole_metadata(packaged, table):
    run_table_export(packaged, table, "--schema=json")
    stored = rows(packaged)
    for row in read_table(table):
        index_row = stored[row["SOPInstanceUID"]]
        assert json.loads(row["Metadata"]) == json.loads(index_row["Metadata"])
        assert {key: value for key, value in row.items() if key != "Metadata"} == {
            "StudyInstanceUID": index_row["StudyInstanceUID"],
            "SeriesInstanceUID": index_row["SeriesInstanceUID"],
            "SOPInstanceUID": index_row["SOPInstanceUID"],
            "StructuredStorageSize": index_row["StructuredStorageSize"],
            "StorageClass": "STANDARD",
            "LastUpdated": index_row["LastUpdated"].replace(tzinfo=None).isoformat() + "Z",
            "BlobStorageSize": index_row["BlobStorageSize"],
            "Type": "INSERT",
        }


@pytest.mark.parametrize("schema", ["flattened", "json"])
def test_the_store_is_named_if_asked_for(packaged, table, schema):
    run_table_export(packaged, table, f"--schema={schema}", "--include-source-store")
    assert {row["SourceDicomStore"] for row in read_table(table)} == {str(STORE)}


def test_truncate_replaces_rows_and_schema_and_append_adds(packaged, table):
    every = sorted(rows(packaged))
    run_table_export(packaged, table, "--schema=json")
    job = run_table_export(packaged, table, "--write-disposition=WRITE_TRUNCATE")
    assert job.code == 0
    assert uids(table) == every
    assert not any("Metadata" in row for row in read_table(table))
    job = run_table_export(packaged, table, "--write-disposition=WRITE_APPEND")
    assert job.code == 0
    check_done(job, len(every))
    assert uids(table) == sorted(every * 2)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_filter_leaves_rows_out_and_names_paths_without_any(packaged, table, tmp_path, workers):
    stored = rows(packaged)
    study = next(iter(stored.values()))["StudyInstanceUID"]
    (tmp_path / "paths").write_text(f"/studies/{study}\n/studies/1.2.3.4.5.6.7\n")
    job = run_table_export(packaged, table, f"--filter={tmp_path}/paths", workers=workers)
    expected = sorted(uid for uid, row in stored.items() if row["StudyInstanceUID"] == study)
    assert job.code == 1
    assert uids(table) == expected
    check_done(job, len(expected), failed=1)
    assert job.of("1.2.3.4.5.6.7") == ("failed", "NO_SUCH_RESOURCE")


def test_a_snapshot_is_the_store_as_it_was(root, tmp_path, table):
    store = new_store(root)
    run_import(root, write_files(tmp_path / "a", images(2)))
    version = Index(store.data).version
    run_import(root, write_files(tmp_path / "b", images(4)))
    assert run_table_export(root, table, f"--snapshot={version}").code == 0
    assert uids(table) == ["1.2.1.1.1", "1.2.1.1.2"]
    run_table_export(root, table, "--write-disposition=WRITE_TRUNCATE")
    assert len(uids(table)) == 4


@pytest.mark.parametrize(("schema", "column"), [("flattened", "PatientID"), ("json", "Metadata")])
def test_an_empty_store_makes_a_table_that_can_be_filled(root, tmp_path, table, schema, column):
    new_store(root)
    job = run_table_export(root, table, f"--schema={schema}")
    assert job.code == 0
    check_done(job, 0)
    assert read_table(table) == []
    run_import(root, write_files(tmp_path / "in", images(2, PatientID="P1")))
    assert run_table_export(root, table, f"--schema={schema}").code == 0
    assert [column in row for row in read_table(table)] == [True, True]


@pytest.fixture
def unfit(root, tmp_path):
    """A root whose store has 300 instances with a date in month 13, and no blobs."""
    new_store(root)
    files = {
        name: content.replace(b"20261124", b"20261324")
        for name, content in images(300, StudyDate="20261124").items()
    }
    run_import(root, write_files(tmp_path / "in", files))
    shutil.rmtree(data_folder(root).uri("instances"))
    return root


def test_values_that_do_not_fit_are_listed_without_their_text_and_counted(unfit, table):
    job = run_table_export(unfit, table)
    assert job.code == 0
    assert job.operation["counts"] == {"exported": 300, "warnings": 300}
    lines = [
        json.loads(line)
        for entry in job.folder.storage.list()
        if entry.path.startswith("warnings-")
        for line in job.folder.storage.read(entry.path).splitlines()
    ]
    assert sorted(line.pop("sopInstanceUid") for line in lines) == sorted(rows(unfit))
    [line] = {json.dumps(line) for line in lines}
    told = json.loads(line)
    assert (told["tag"], told["code"]) == ("00080020", "VALUE_UNFIT")
    assert told["reason"].endswith("NULL there, its text in OtherElements")
    for row in read_table(table):
        assert row["OtherElements"] == [{"Tag": "Tag_00080020", "Data": ["20261324"]}]


def test_shards_of_any_size_and_packing_make_the_same_table(root, tmp_path, monkeypatch):
    new_store(root)
    for start in range(5):
        files = {name: c for name, c in images(12).items() if int(name[:3]) % 5 == start}
        run_import(root, write_files(tmp_path / str(start), files))
    assert len(Index(data_folder(root)).files) == 5
    tables = [f"delta:{tmp_path}/delta-{number}" for number in range(3)]
    made = []
    load_rows = DeltaTablePath.load
    monkeypatch.setattr(
        DeltaTablePath,
        "load",
        lambda table, load: (made.append(load.shards.uris), load_rows(table, load)),
    )
    run_table_export(root, tables[0])
    monkeypatch.setattr(export_table, "_MAX_PARTS", 2)
    run_table_export(root, tables[1], workers=2)
    monkeypatch.setattr(Destination, "shard_bytes", 1)
    run_table_export(root, tables[2], workers=2)
    # Worker processes have the size of shards that this process had not changed.
    monkeypatch.setattr(export_table, "_MAX_PARTS", 4000)
    run_table_export(root, tables[2], "--write-disposition=WRITE_TRUNCATE")
    assert list(map(len, made)) == [5, 2, 2, 12]
    assert [len(uids(table)) for table in tables] == [12, 12, 12]
    assert len({tuple(in_order(read_table(table))) for table in tables}) == 1


def test_a_part_that_is_written_again_replaces_its_own_shards(packaged):
    data, folder = data_folder(packaged), operation_folders(packaged)[0]
    target = TableTarget(parse_destination("delta:x"))
    parts = [[RowGroupSelection(file, 0)] for file in Index(data).files]
    first = write_parts(parts, data, folder, target)
    before = tree(folder.storage.root)
    assert write_parts(parts, data, folder, target) == first
    assert tree(folder.storage.root) == before
    folder.storage.subfolder("rows").remove_all()


# BigQuery and buckets


def without_dropped(row):
    """A row of BigQuery, and the columns that only BigQuery lacks."""
    dropped = [entry["TagName"] for entry in row.pop("DroppedTags", ())]
    return row, dropped


@pytest.mark.parametrize("schema", ["flattened", "json"])
def test_bigquery_gets_the_rows_that_duckdb_gets(packaged, tmp_path, bigquery, schema):
    duck = f"duckdb:{tmp_path}/t.duckdb#{NAME}"
    run_table_export(packaged, duck, f"--schema={schema}")
    job = run_table_export(packaged, BQ, f"--schema={schema}")
    assert job.code == 0
    check_done(job, len(rows(packaged)))
    assert bigquery.inserted == [f"dicomferry_{job.folder.id}_0"]
    loaded = bigquery.tables["data.instances"]["rows"]
    if schema == "json":
        loaded = [{**row, "Metadata": json.dumps(row["Metadata"])} for row in loaded]
        expected = [
            {**row, "Metadata": json.dumps(json.loads(row["Metadata"]))} for row in read_table(duck)
        ]
    else:
        expected = read_table(duck)
    assert in_order(loaded) == in_order(expected)


def test_a_failed_load_job_is_no_export(packaged, bigquery, caplog):
    bigquery.fail = ["invalid"]
    job = run_table_export(packaged, BQ)
    assert job.code == 2
    assert job.operation["error"]["code"] == 9
    assert "bq show -j" in caplog.text
    assert "DOE^JOHN" not in caplog.text
    check_done(job, 0, failed=len(rows(packaged)))
    assert "data.instances" not in bigquery.tables


def test_a_store_in_a_bucket_goes_into_every_kind_of_table(gcs, tmp_path, bigquery):
    bucket = gcs.bucket(f"table-{os.urandom(6).hex()}")
    root = open_storage(f"gs://{bucket.name}/stores")
    new_store(root)
    run_import(root, write_files(tmp_path / "in", images(3)))
    for blob in bucket.client.list_blobs(bucket.name, prefix="stores"):
        if "/instances/" in blob.name:
            blob.delete()

    def upload():  # BigQuery reads the bucket by itself
        for blob in bucket.client.list_blobs(bucket.name, prefix="stores"):
            if "/rows/" in blob.name:
                bigquery.objects[f"gs://{bucket.name}/{blob.name}"] = blob.download_as_bytes()

    bigquery.before_load = upload
    duck = f"duckdb:{tmp_path}/t.duckdb#{NAME}"
    delta = f"delta:gs://{bucket.name}/tables/instances"
    for table in (duck, delta, BQ):
        job = run_table_export(root, table)
        assert job.code == 0
        check_done(job, 3)
    assert run_table_export(root, delta).code == 2
    assert uids(duck) == ["1.2.1.1.1", "1.2.1.1.2", "1.2.1.1.3"]
    assert in_order(read_table(delta)) == in_order(read_table(duck))
    assert in_order(bigquery.tables["data.instances"]["rows"]) == in_order(read_table(duck))


def test_the_corpus_is_the_same_in_all_three_destinations(tmp_path, bigquery):
    corpus_files()
    root = open_storage(str(tmp_path / "root"))
    corpus_outcomes.import_corpus(root, tmp_path / "in")
    duck, delta = f"duckdb:{tmp_path}/t.duckdb#{NAME}", f"delta:{tmp_path}/delta"
    for table in (duck, delta, BQ):
        assert run_table_export(root, table, workers=2).code == 0
    in_duckdb = {row["SOPInstanceUID"]: row for row in read_table(duck)}
    assert in_duckdb.keys() == rows(root).keys()
    assert in_order(read_table(delta)) == in_order(in_duckdb.values())
    in_bigquery = list(map(without_dropped, bigquery.tables["data.instances"]["rows"]))
    assert len(in_bigquery) == len(in_duckdb)
    for row, dropped in in_bigquery:
        ours = in_duckdb[row["SOPInstanceUID"]]
        kept = {name: value for name, value in ours.items() if name not in dropped}
        assert in_order([row]) == in_order([kept])


# The command line and docs/tables.md


def dicomferry(*argv):
    return subprocess.run(
        [sys.executable, "-c", "from dicomferry.cli.main import main; main()", *map(str, argv)],
        check=False,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )


def test_the_command_tells_what_was_exported_and_where_warnings_are(unfit, tmp_path):
    table = f"duckdb:{tmp_path}/t.duckdb#{NAME}"
    done = dicomferry("export", "table", STORE.id, table, "--root", unfit.root)
    assert done.returncode == 0, done.stderr
    assert re.search(r"exported\W+300\b", done.stdout)
    assert "300 values did not fit their columns; warnings-*.jsonl there lists them" in done.stdout
    assert f"table: {table}" in done.stdout
    assert uids(table) == sorted(rows(unfit))
    again = dicomferry("export", "table", STORE.id, table, "--root", unfit.root)
    assert again.returncode == 2
    assert "has rows already" in again.stderr
    assert "Traceback" not in again.stderr


def documented_queries():
    text = (REPOSITORY / "docs" / "tables.md").read_text()
    section = text.partition("## Query a store")[2]
    block = section.partition("```sql\n")[2].partition("```")[0]
    return [query for query in block.split(";") if query.strip()]


def test_the_queries_of_the_docs_answer_what_pydicom_finds_in_the_files(packaged, tmp_path):
    path = tmp_path / "trial.duckdb"
    run_table_export(packaged, f"duckdb:{path}#{NAME}")
    series, thickness, frames = (query(path, sql) for sql in documented_queries())
    found = [
        pydicom.dcmread(row["SourceUri"], force=True, stop_before_pixels=True)
        for row in rows(packaged).values()
    ]
    by_kind = collections.defaultdict(set)
    for header in found:
        kind = header.get("Modality") or None, header.get("BodyPartExamined") or None
        by_kind[kind].add(header.SeriesInstanceUID)
    assert {(r["Modality"], r["BodyPartExamined"]): r["series"] for r in series} == {
        kind: len(uids) for kind, uids in by_kind.items()
    }
    ct = [header for header in found if header.get("Modality") == "CT"]
    images_by_mm = collections.Counter(
        float(header.SliceThickness) if header.get("SliceThickness") else None for header in ct
    )
    assert {row["mm"]: row["images"] for row in thickness} == images_by_mm
    by_device = collections.Counter()
    for header in found:
        if "Rows" in header:
            device = header.get("Manufacturer") or None, header.get("ManufacturerModelName") or None
            written = header.get_item("NumberOfFrames")
            frames_text = written.value.decode().strip() if written and written.value else "1"
            by_device[device] += int(frames_text) if frames_text.isdecimal() else 1  # one is '1A'
    assert {
        (row["Manufacturer"], row["ManufacturerModelName"]): int(row["frames"]) for row in frames
    } == by_device
    assert ("CT", "CHEST") in by_kind or ("CR", "CHEST") in by_kind
    assert len(by_device) > 5
