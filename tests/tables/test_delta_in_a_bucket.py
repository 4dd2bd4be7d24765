"""A Delta table in a bucket, its shards there too: the last step of a distributed job."""

import uuid

import obstore
import pytest
from deltalake import DeltaTable

from dicomferry.storage.gs_clients import bucket_store, delta_storage_options
from dicomferry.tables.destination import Load, WriteDisposition, parse_destination
from dicomferry.tables.errors import TableNotEmptyError
from dicomferry.tables.schema import Field
from dicomferry.tables.shards import Shards

EMPTY, TRUNCATE, APPEND = WriteDisposition
SCHEMA = (Field("Modality", "STRING"),)


@pytest.fixture
def bucket(gcs):
    return gcs.bucket(f"tables-{uuid.uuid4().hex[:12]}").name


def test_every_disposition_works_in_a_bucket(bucket):
    store = bucket_store(bucket)
    prefix = f"gs://{bucket}/"
    uris = []
    for number in range(3):
        key = f"temp/{number}.ndjson"
        obstore.put(store, key, b'{"Modality": "%d"}\n' % number)
        uris.append(prefix + key)

    def read(uri):
        return [obstore.get(store, uri.removeprefix(prefix)).bytes().to_bytes()]

    shards = Shards(tuple(uris), read)
    destination = parse_destination(f"delta:{prefix}tables/instances")
    options = delta_storage_options()

    def modalities():
        table = DeltaTable(destination.location, storage_options=options)
        return sorted(table.to_pyarrow_table().column("Modality").to_pylist())

    destination.check(EMPTY, SCHEMA)
    destination.load(Load(shards, SCHEMA, EMPTY, "operation-1"))
    destination.load(Load(shards, SCHEMA, EMPTY, "operation-1"))
    assert modalities() == ["0", "1", "2"]
    with pytest.raises(TableNotEmptyError):
        destination.check(EMPTY, SCHEMA)
    destination.load(Load(shards, SCHEMA, APPEND, "operation-2"))
    assert modalities() == ["0", "0", "1", "1", "2", "2"]
    destination.load(Load(shards, SCHEMA, TRUNCATE, "operation-3"))
    assert modalities() == ["0", "1", "2"]
