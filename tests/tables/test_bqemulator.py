"""The wire of BigQuery, spoken with an emulator that others wrote.

It runs in an environment of its own (bqemulator-requirements.txt says how), whose Python
BQEMULATOR_PYTHON names. What it gets wrong (a job id used twice, new columns, WRITE_EMPTY on a full
table) is tested against the fake that follows the documentation.
"""

import json
import os
import socket
import subprocess
import time

import pytest
from google.cloud import bigquery

from headers.failures import InstanceError
from tables.bigquery_table import client_for
from tables.destination import WriteDisposition, parse_destination
from tables.errors import TableNotEmptyError
from tables.loading import check, load, row_writer
from tests.tables.fake_bigquery import PROJECT
from tests.tables.instances import instance_of, packaged_files

PYTHON = os.environ.get("BQEMULATOR_PYTHON")
pytestmark = pytest.mark.skipif(
    not PYTHON, reason="BQEMULATOR_PYTHON names no Python: see bqemulator-requirements.txt"
)
EMPTY, TRUNCATE, APPEND = WriteDisposition
DESTINATION = parse_destination(f"bq://{PROJECT}.data.instances")
# Its start would download an extension that loads do not need.
_START = """
import sys
from bqemulator.cli import main
from bqemulator.storage.engine import DuckDBEngine
DuckDBEngine._load_spatial = lambda self: None
sys.argv = ["bqemulator", "start", "--rest-port", sys.argv[1], "--grpc-port", "0"]
main()
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("bqemulator") / "log"
    with open(log, "wb") as output:
        emulator = subprocess.Popen(
            [PYTHON, "-c", _START, str(port)], stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _wait(port, emulator, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            emulator.terminate()
            emulator.wait(30)


def _wait(port, emulator, log):
    for _ in range(300):
        assert emulator.poll() is None, log.read_text()[-2000:]
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"bqemulator does not listen: {log.read_text()[-2000:]}")


@pytest.fixture
def client(address, monkeypatch):
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", address)
    client = client_for(DESTINATION)
    dataset = bigquery.DatasetReference(PROJECT, "data")
    client.delete_dataset(dataset, delete_contents=True, not_found_ok=True)
    client.create_dataset(dataset)
    return client


def uids(client):
    rows = client.list_rows(client.get_table(f"{PROJECT}.data.instances"))
    return sorted(row["SOPInstanceUID"] for row in rows)


@pytest.mark.parametrize("flattened", [True, False])
def test_real_rows_go_through_every_disposition(client, shards, flattened):
    writer = row_writer(DESTINATION, flattened=flattened)
    rows = []
    for path in packaged_files():
        try:
            rows.append(json.loads(writer.row(instance_of(path.read_bytes())).line))
        except InstanceError:
            continue
    loaded = shards(rows)
    schema, job = writer.schema, f"wire-{flattened}-{time.time_ns()}"
    expected = [row["SOPInstanceUID"] for row in rows]

    check(DESTINATION, EMPTY, schema)
    load(DESTINATION, loaded, schema, EMPTY, f"{job}-1")
    assert uids(client) == sorted(expected)
    with pytest.raises(TableNotEmptyError):
        check(DESTINATION, EMPTY, schema)
    check(DESTINATION, APPEND, schema)
    load(DESTINATION, loaded, schema, APPEND, f"{job}-2")
    assert uids(client) == sorted(expected * 2)
    load(DESTINATION, loaded, schema, TRUNCATE, f"{job}-3")
    load(DESTINATION, loaded, schema, TRUNCATE, f"{job}-3")
    assert uids(client) == sorted(expected)
