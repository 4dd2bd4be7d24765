"""Whole exports into a BigQuery that others emulate, from a folder and from a bucket."""

import json
import os

import pytest

from dicomferry.storage.registry import open_storage
from dicomferry.tables.bigquery_table import BigQueryTable
from tests.pipelines.jobs import PACKAGED, images, new_store, run_import, write_files
from tests.pipelines.tables import NAME, in_order, read_table, run_table_export
from tests.tables import bqemulator


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    with bqemulator.running(tmp_path_factory.mktemp("bqemulator")) as emulator:
        yield emulator


@pytest.fixture
def client(emulator, monkeypatch):
    return bqemulator.new_client(emulator, monkeypatch)


@pytest.mark.parametrize("schema", ["flattened", "json"])
def test_bigquery_gets_what_duckdb_gets_by_an_upload(root, tmp_path, client, schema):
    new_store(root)
    run_import(root, f"{PACKAGED}/**")
    duck = f"duckdb:{tmp_path}/t.duckdb#{NAME}"
    for table in (duck, bqemulator.TABLE):
        assert run_table_export(root, table, f"--schema={schema}").code == 0
    assert len(read_table(duck)) > 100
    assert in_order(map(parsed, bqemulator.read_rows(client))) == in_order(
        map(parsed, read_table(duck))
    )
    assert run_table_export(root, bqemulator.TABLE, f"--schema={schema}").code == 2
    replaced = run_table_export(root, bqemulator.TABLE, "--write-disposition=WRITE_TRUNCATE")
    assert replaced.code == 0
    assert len(bqemulator.read_rows(client)) == len(read_table(duck))


def test_bigquery_reads_the_shards_of_a_bucket_by_itself(
    gcs, tmp_path, emulator, client, monkeypatch
):
    bucket = gcs.bucket(f"bq-{os.urandom(6).hex()}")
    root = open_storage(f"gs://{bucket.name}/stores")
    new_store(root)
    run_import(root, write_files(tmp_path / "in", images(3)))
    load_rows = BigQueryTable.load

    def load_from_mirror(table, load):
        # It takes objects from a folder, where Cloud Storage's emulator has none.
        assert all(uri.startswith(f"gs://{bucket.name}/") for uri in load.shards.uris)
        for uri in load.shards.uris:
            path = emulator.objects / uri.removeprefix("gs://")
            path.parent.mkdir(parents=True, exist_ok=True)
            name = uri.removeprefix(f"gs://{bucket.name}/")
            path.write_bytes(bucket.client.bucket(bucket.name).blob(name).download_as_bytes())
        load_rows(table, load)

    monkeypatch.setattr(BigQueryTable, "load", load_from_mirror)
    assert run_table_export(root, bqemulator.TABLE).code == 0
    delta = f"delta:gs://{bucket.name}/tables/instances"
    assert run_table_export(root, delta).code == 0
    assert in_order(bqemulator.read_rows(client)) == in_order(read_table(delta))
    assert len(bqemulator.read_rows(client)) == 3


def parsed(row):
    """A row whose JSON, a text in duckdb, is a value in BigQuery."""
    if isinstance(row.get("Metadata"), str):
        return {**row, "Metadata": json.loads(row["Metadata"])}
    return row
