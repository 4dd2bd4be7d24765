"""A worker that waits for storage is not a worker that hangs: an outage costs no file."""

import pytest

from dicomferry.sources.source import Source
from dicomferry.storage.registry import open_storage
from dicomferry.storage.retries import RETRY_SECONDS
from dicomferry.transforms import export_files, read_and_store
from dicomferry.transforms.read_index import StoredInstance
from dicomferry.transforms.write_instance import FileTarget

LOCAL, BUCKET = "/data", "gs://bucket/data"
# Two requests, one after the other, each repeated as long as clients repeat it.
OUTAGE = 2 * RETRY_SECONDS


@pytest.mark.parametrize("source", [LOCAL, BUCKET])
@pytest.mark.parametrize("data", [LOCAL, BUCKET])
def test_reading_waits_until_the_storage_is_given_up(source, data):
    seconds = read_and_store._timeout_for(Source(f"{source}/a.dcm", 5, "1"), open_storage(data))
    assert (seconds > OUTAGE) == (BUCKET in (source, data))


@pytest.mark.parametrize("destination", [LOCAL, BUCKET])
@pytest.mark.parametrize("data", [LOCAL, BUCKET])
def test_writing_waits_until_the_storage_is_given_up(destination, data):
    target = FileTarget(open_storage(data), open_storage(destination))
    instance = StoredInstance(*[""] * len(StoredInstance._fields))._replace(size=5)
    seconds = export_files._timeout_for(instance, target)
    assert (seconds > OUTAGE) == (BUCKET in (destination, data))
