"""The wire of BigQuery, spoken with an emulator that others wrote.

What it gets wrong (a job id used twice, new columns, WRITE_EMPTY on a full table) is tested
against the fake that follows the documentation.
"""

import json
import time

import pytest

from dicomferry.errors import InstanceError
from dicomferry.tables.destination import Load, WriteDisposition, parse_destination
from dicomferry.tables.errors import TableNotEmptyError
from dicomferry.tables.row_writer import row_writer
from tests.tables import bqemulator
from tests.tables.instances import instance_of, packaged_files
from tests.tables.test_equal_content import by_uid

EMPTY, TRUNCATE, APPEND = WriteDisposition
DESTINATION = parse_destination(bqemulator.TABLE)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    with bqemulator.running(tmp_path_factory.mktemp("bqemulator")) as emulator:
        yield emulator


@pytest.fixture
def client(emulator, monkeypatch):
    return bqemulator.new_client(emulator, monkeypatch)


def uids(client):
    return sorted(row["SOPInstanceUID"] for row in bqemulator.read_rows(client))


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

    DESTINATION.check(EMPTY, schema)
    DESTINATION.load(Load(loaded, schema, EMPTY, f"{job}-1"))
    assert by_uid(bqemulator.read_rows(client)) == by_uid(rows)
    with pytest.raises(TableNotEmptyError):
        DESTINATION.check(EMPTY, schema)
    DESTINATION.check(APPEND, schema)
    DESTINATION.load(Load(loaded, schema, APPEND, f"{job}-2"))
    assert uids(client) == sorted(expected * 2)
    DESTINATION.load(Load(loaded, schema, TRUNCATE, f"{job}-3"))
    DESTINATION.load(Load(loaded, schema, TRUNCATE, f"{job}-3"))
    assert uids(client) == sorted(expected)
