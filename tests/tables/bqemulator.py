"""A BigQuery emulator that others wrote, run in an environment of its own.

`make test` makes the environment; without it the tests that need it skip, and say so.
"""

import contextlib
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from google.cloud import bigquery

from dicomferry.tables.bigquery_load import client_for
from dicomferry.tables.destination import parse_destination
from tests.tables.fake_bigquery import PROJECT

PYTHON = Path(__file__).parents[2] / ".venv-bqemulator/bin/python"
TABLE = f"bq://{PROJECT}.data.instances"
# Its start would download an extension that loads do not need.
_START = """
import sys
from bqemulator.cli import main
from bqemulator.storage.engine import DuckDBEngine
DuckDBEngine._load_spatial = lambda self: None
sys.argv = ["bqemulator", "start", "--rest-port", sys.argv[1], "--grpc-port", "0"]
main()
"""


class Emulator(NamedTuple):
    """A running emulator.

    Attributes:
        address: for BIGQUERY_EMULATOR_HOST.
        objects: where it looks for gs://bucket/name, as bucket/name.
    """

    address: str
    objects: Path


@contextlib.contextmanager
def running(folder):
    """Give an emulator whose files are in a folder."""
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing: make .venv-bqemulator/run")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log, objects = folder / "log", folder / "objects"
    objects.mkdir()
    with open(log, "wb") as output:
        emulator = subprocess.Popen(
            [PYTHON, "-c", _START, str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "BQEMU_GCS_LOCAL_ROOT": str(objects)},
        )
        try:
            _wait(port, emulator, log)
            yield Emulator(f"http://127.0.0.1:{port}", objects)
        finally:
            emulator.terminate()
            emulator.wait(30)


def new_client(emulator, monkeypatch):
    """A client, as the product makes one, of an emulator with an empty dataset."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", emulator.address)
    client = client_for(parse_destination(TABLE))
    dataset = bigquery.DatasetReference(PROJECT, "data")
    client.delete_dataset(dataset, delete_contents=True, not_found_ok=True)
    client.create_dataset(dataset)
    return client


def read_rows(client):
    """The rows of the table, as Google's client reads them."""
    rows = client.list_rows(client.get_table(f"{PROJECT}.data.instances"))
    return [dict(row.items()) for row in rows]


def _wait(port, emulator, log):
    for _ in range(300):
        assert emulator.poll() is None, log.read_text()[-2000:]
        with socket.socket() as check_writable:
            if check_writable.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"bqemulator does not listen: {log.read_text()[-2000:]}")
