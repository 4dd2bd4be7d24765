"""A Delta table in a bucket that fails now and then gets all rows of an export, once."""

import json
import os

import pytest
from deltalake import DeltaTable

import dicomferry.tables.delta_load
from dicomferry.pipelines import export_dicom
from dicomferry.storage import retries
from dicomferry.storage.gs_clients import delta_storage_options
from dicomferry.storage.registry import open_storage
from dicomferry.tables.destination import Load, WriteDisposition, parse_destination
from dicomferry.tables.schema import Field
from dicomferry.tables.shards import Shards
from tests.faults.faulty_storage import LOST, TRANSIENT, UNMET
from tests.pipelines.jobs import images, new_store, run, run_import, write_files

EMPTY, TRUNCATE, APPEND = WriteDisposition


class ImportTarget:
    """A table that is not there yet, and how it is filled and looked at."""

    def __init__(self, uri, folder):
        self.destination = parse_destination(uri)
        self._folder = folder

    def load(self, job, disposition, *modalities):
        path = self._folder / f"{job}.ndjson"
        path.write_text("".join(json.dumps({"Modality": each}) + "\n" for each in modalities))
        schema = (Field("Modality", "STRING"),)
        self.destination.check(disposition, schema)
        self.destination.load(Load(Shards((str(path),)), schema, disposition, job))

    def rows(self):
        """What any reader sees, from the files themselves."""
        options = delta_storage_options()
        table = DeltaTable(self.destination.location, storage_options=options).to_pyarrow_table()
        return sorted(table.column("Modality").to_pylist())


@pytest.fixture
def target(bucket, tmp_path):
    """A table in a new bucket."""
    return ImportTarget(f"delta:gs://{bucket.name}/table", tmp_path)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", TRANSIENT)
def test_loads_get_over_each_fault(target, faults, fault):
    # Few requests have a precondition.
    chance = 0.7 if fault == UNMET else 0.3
    faults.reset(seed=1, chances={fault: chance})
    target.load("operation-1", EMPTY, "CT", "MR")
    target.load("operation-2", APPEND, "US")
    target.load("operation-2", APPEND, "US")
    injected = faults.injected
    faults.reset()
    assert target.rows() == ["CT", "MR", "US"]
    faults.reset(seed=2, chances={fault: chance})
    target.load("operation-3", TRUNCATE, "XA")
    assert (injected + faults.injected)[fault]
    faults.reset()
    assert target.rows() == ["XA"]


def test_a_commit_whose_answer_was_lost_keeps_its_rows(target, faults):
    """Its second try is told that another was faster, which was itself."""
    target.load("operation-1", EMPTY, "CT")
    faults.reset(chances={LOST: 1.0}, only="00000000000000000002", most_in_a_row=1)
    target.load("operation-2", APPEND, "MR")
    assert faults.injected[LOST]
    faults.reset()
    assert target.rows() == ["CT", "MR"]
    target.load("operation-2", APPEND, "MR")
    assert target.rows() == ["CT", "MR"]


@pytest.mark.timeout(120)
def test_storage_that_is_gone_right_after_a_commit_leaves_its_rows(target, faults, monkeypatch):
    monkeypatch.setattr(retries, "MAX_RETRIES", 1)
    monkeypatch.setattr(retries, "RETRY_SECONDS", 2)
    target.load("operation-1", EMPTY, "CT")
    add = dicomferry.tables.delta_load._add

    def committed_and_lost(*args):
        add(*args)
        faults.reset(down=True)
        raise OSError("the answer was lost")

    monkeypatch.setattr(dicomferry.tables.delta_load, "_add", committed_and_lost)
    monkeypatch.setattr("dicomferry.storage.retries._MAX_ATTEMPTS", 2)
    with pytest.raises(OSError):
        target.load("operation-2", APPEND, "MR")
    faults.reset()
    assert target.rows() == ["CT", "MR"]


def test_of_a_load_that_another_process_did_no_file_is_left(target, bucket, monkeypatch):
    target.load("operation-1", EMPTY, "CT")
    # It did it after this process had looked.
    monkeypatch.setattr(dicomferry.tables.delta_load, "_has", lambda *_: False)
    target.load("operation-1", APPEND, "CT")
    assert target.rows() == ["CT"]
    names = [blob.name for blob in bucket.client.list_blobs(bucket.name)]
    assert sum(name.endswith(".parquet") for name in names) == 1


@pytest.mark.timeout(300)
def test_an_export_to_a_table_ends_right_on_storage_that_fails(bucket, faults, tmp_path, seed):
    root = open_storage(f"gs://{bucket.name}/root")
    new_store(root)
    run_import(root, write_files(tmp_path / "in", images(20)))
    faults.reset(seed=seed, chances=dict.fromkeys(TRANSIENT, 0.1))
    location = f"gs://{bucket.name}/tables/{os.urandom(3).hex()}"
    job = run(export_dicom.main, root, f"--table=delta:{location}", "--workers=0")
    print(f"seed {seed}: {sum(faults.injected.values())} faults in {dict(faults.injected)}")
    assert job.code == 0
    assert sum(faults.injected.values()) > 5
    faults.reset()
    table = DeltaTable(location, storage_options=delta_storage_options()).to_pyarrow_table()
    uids = table.column("SOPInstanceUID").to_pylist()
    assert sorted(uids) == sorted(f"1.2.1.1.{n + 1}" for n in range(20))
