"""The server opens no table that a request names, so none can hold it up: the job does."""

import os
import socket

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from dicomferry.jobs import launch
from tests.api.serving import DATASET, TRIAL, client_of, wait_until
from tests.deadlines import within

SECONDS = 10
pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def silent_bigquery(monkeypatch):
    """A service that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        host = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", host)
        yield listener


@pytest.fixture
def tables(tmp_path):
    """Tables, by name, that hold up or ruin whoever opens them."""
    files = tmp_path / "files"
    files.mkdir()
    os.mkfifo(files / "pipe.duckdb")
    with (files / "huge.duckdb").open("wb") as huge:
        huge.truncate(3 << 30)
    write_deltalake(files / "table", pa.table({"a": [1]}))
    os.mkfifo(files / "table" / "_delta_log" / "_last_checkpoint")
    return {
        "a pipe": f"duckdb:{files}/pipe.duckdb#t",
        "a huge file": f"duckdb:{files}/huge.duckdb#t",
        "a Delta table with a pipe": f"delta:{files}/table",
        "BigQuery out of reach": "bq://some-project.dataset.table",
    }


@pytest.mark.parametrize(
    "name", ["a pipe", "a huge file", "a Delta table with a pipe", "BigQuery out of reach"]
)
def test_no_request_waits_for_a_table(root, tmp_path, tables, name, silent_bigquery, monkeypatch):
    monkeypatch.setattr(launch, "module_of", lambda _: "tests.jobs.held_up")
    (tmp_path / "end-1").touch()
    client = client_of(root, allow_path=(str(tmp_path / "files"),))
    stream = {"bigqueryDestination": {"tableUri": tables[name]}}

    def ok(*request, **parameters):
        return within(SECONDS, lambda: client.ok(*request, **parameters))

    made = {"streamConfigs": [stream]}
    ok("POST", f"{DATASET}/dicomStores", made, dicomStoreId="trial")
    ok("PATCH", TRIAL, {"streamConfigs": []}, updateMask="streamConfigs")
    changed = ok("PATCH", TRIAL, {"streamConfigs": [stream]}, updateMask="streamConfigs")
    assert changed["streamConfigs"] == [stream]
    ok("GET", TRIAL)
    ok("GET", f"{DATASET}/dicomStores")
    ok("GET", f"{TRIAL}:getDICOMStoreMetrics")
    page = within(SECONDS, lambda: client.raw("GET", f"/console/{TRIAL}".encode()))
    assert page.status == 200
    table = tables[name]
    operation = ok("POST", f"{TRIAL}:export", {"bigqueryDestination": {"tableUri": table}})
    ok("GET", operation["name"])
    wait_until((tmp_path / "begun").exists, SECONDS)
    ok("DELETE", TRIAL)
    with pytest.raises(BlockingIOError):
        silent_bigquery.accept()
