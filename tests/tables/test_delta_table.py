import concurrent.futures
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from dicomferry.tables import delta_load
from dicomferry.tables.destination import Load, WriteDisposition, parse_destination
from dicomferry.tables.errors import TableBusyError, TableError, TableNotEmptyError
from dicomferry.tables.schema import Field
from dicomferry.tables.shards import Shards

EMPTY, TRUNCATE, APPEND = WriteDisposition
SCHEMA = (Field("Modality", "STRING"),)


@pytest.fixture
def destination(tmp_path):
    return parse_destination(f"delta:{tmp_path}/delta")


def modalities(destination):
    table = DeltaTable(destination.location).to_pyarrow_table()
    return sorted(table.column("Modality").to_pylist())


def parquet_files(destination):
    return sorted(Path(destination.location).rglob("*.parquet"))


def test_a_folder_with_other_files_is_refused_and_left_alone(destination, shards):
    os.makedirs(destination.location)
    with open(f"{destination.location}/thesis.txt", "w") as file:
        file.write("mine")
    for disposition in WriteDisposition:
        with pytest.raises(TableError, match="is not a Delta table"):
            destination.check(disposition)
        with pytest.raises(TableError, match="is not a Delta table"):
            destination.load(Load(shards([]), SCHEMA, disposition, "j"))
    assert os.listdir(destination.location) == ["thesis.txt"]


def test_a_file_in_the_place_of_the_folder_is_refused(destination):
    with open(destination.location, "w") as file:
        file.write("mine")
    with pytest.raises(TableError, match="is not a Delta table"):
        destination.check(TRUNCATE)


def test_an_empty_folder_becomes_the_table(destination, shards):
    os.makedirs(destination.location)
    destination.load(Load(shards([{"Modality": "CT"}]), SCHEMA, EMPTY, "j"))
    assert modalities(destination) == ["CT"]


@pytest.mark.parametrize("disposition", [EMPTY, TRUNCATE, APPEND])
def test_a_job_that_is_asked_for_again_is_not_loaded_again(destination, shards, disposition):
    for _ in range(2):
        destination.load(Load(shards([{"Modality": "CT"}]), SCHEMA, disposition, "operation-1"))
    destination.load(Load(shards([{"Modality": "MR"}]), SCHEMA, APPEND, "operation-2"))
    assert modalities(destination) == ["CT", "MR"]


def at_once(count, target):
    """Run target(0), target(1), … in threads; what they raised."""
    barrier = threading.Barrier(count)

    def run(number):
        barrier.wait()
        target(number)

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        done = [pool.submit(run, number) for number in range(count)]
        raised = [future.exception() for future in done]
    return [error for error in raised if error is not None]


def test_appends_at_the_same_time_all_arrive_with_their_columns(destination, shards):
    files = [shards([{"Modality": "CT", f"C{n}": n}]) for n in range(4)]

    def append(n):
        schema = (*SCHEMA, Field(f"C{n}", "INTEGER"))
        destination.load(Load(files[n], schema, APPEND, f"operation-{n}"))

    assert at_once(4, append) == []
    table = DeltaTable(destination.location).to_pyarrow_table()
    assert sorted(table.column_names) == ["C0", "C1", "C2", "C3", "Modality"]
    for n in range(4):
        values = table.column(f"C{n}").to_pylist()
        assert sorted(value for value in values if value is not None) == [n]
        assert len(values) == 4


def test_of_two_exports_into_an_empty_place_one_is_refused(destination, shards):
    files = [shards([{"Modality": str(n)}] * 1000) for n in range(3)]
    raised = at_once(3, lambda n: destination.load(Load(files[n], SCHEMA, EMPTY, f"operation-{n}")))
    assert [type(error) for error in raised] == [TableNotEmptyError] * 2
    assert len(set(modalities(destination))) == 1
    assert len(modalities(destination)) == 1000


def test_a_load_that_is_always_overtaken_gives_up_and_says_so(destination, shards, monkeypatch):
    destination.load(Load(shards([{"Modality": "CT"}]), SCHEMA, EMPTY, "first"))
    monkeypatch.setattr(delta_load, "_ATTEMPTS", 2)
    overtaking = shards([{"Modality": "MR"}])
    real, count = delta_load._add, 0

    def overtaken(*args):
        nonlocal count
        count += 1
        if count in (1, 3):  # the loads that overtake come here too
            destination.load(Load(overtaking, SCHEMA, APPEND, f"overtaking-{count}"))
        real(*args)

    monkeypatch.setattr(delta_load, "_add", overtaken)
    with pytest.raises(TableBusyError, match="Try again when fewer run"):
        destination.load(Load(shards([{"Modality": "XA"}]), SCHEMA, TRUNCATE, "slow"))
    assert modalities(destination) == ["CT", "MR", "MR"]
    assert len(parquet_files(destination)) == 3


def test_a_reader_keeps_the_version_it_has(destination, shards):
    destination.load(Load(shards([{"Modality": "CT"}]), SCHEMA, EMPTY, "a"))
    reader = DeltaTable(destination.location)
    destination.load(Load(shards([{"Rows": 5}]), (Field("Rows", "INTEGER"),), TRUNCATE, "b"))
    assert reader.to_pyarrow_table().to_pylist() == [{"Modality": "CT"}]
    assert DeltaTable(destination.location).to_pyarrow_table().to_pylist() == [{"Rows": 5}]


def test_instants_are_in_utc_whatever_the_zone_of_the_machine(destination, shards, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    schema = (Field("LastUpdated", "TIMESTAMP"), Field("StudyTime", "TIME"))
    row = {"LastUpdated": "2026-01-02T03:04:05Z", "StudyTime": "10:11:12"}
    destination.load(Load(shards([row]), schema, EMPTY, "a"))
    table = DeltaTable(destination.location).to_pyarrow_table()
    assert table.schema.field("LastUpdated").type == pa.timestamp("us", tz="UTC")
    (stored,) = table.to_pylist()
    assert stored["LastUpdated"].isoformat() == "2026-01-02T03:04:05+00:00"
    assert stored["StudyTime"] == "10:11:12"


def test_a_users_table_with_types_that_we_have_not_is_appended_to(destination, shards):
    made = pa.table({"Modality": ["MR"], "checked": [True]})
    write_deltalake(destination.location, made)
    destination.load(Load(shards([{"Modality": "CT"}]), SCHEMA, APPEND, "a"))
    assert modalities(destination) == ["CT", "MR"]
    with pytest.raises(TableError, match="column checked is delta"):
        destination.check(APPEND, (Field("checked", "STRING"),))


def test_remote_shards_are_fetched_one_by_one(destination):
    objects = {f"gs://bucket/{n}.ndjson": b'{"Modality": "%d"}\n' % n for n in range(3)}
    asked = []

    def read(uri):
        asked.append(uri)
        return [objects[uri]]

    destination.load(Load(Shards(tuple(objects), read), SCHEMA, EMPTY, "a"))
    assert modalities(destination) == ["0", "1", "2"]
    assert asked == list(objects)


def test_a_shard_that_cannot_be_fetched_is_the_error_that_comes_out(destination):
    def read(uri):
        raise ConnectionResetError(uri)

    with pytest.raises(ConnectionResetError):
        destination.load(Load(Shards(("gs://bucket/0",), read), SCHEMA, EMPTY, "a"))
    assert modalities(destination) == []


def test_a_load_that_fails_leaves_no_files(destination, shards):
    good, bad = [{"Rows": n} for n in range(5000)], [{"Rows": "many"}]
    with pytest.raises(TableError, match="does not fit the columns"):
        destination.load(Load(shards(good, bad), (Field("Rows", "INTEGER"),), EMPTY, "a"))
    assert parquet_files(destination) == []
    assert [path.name for path in Path(destination.location).iterdir()] == ["_delta_log"]


_LOAD = """
import sys
from dicomferry.tables.destination import Load, WriteDisposition, parse_destination
from dicomferry.tables.schema import Field
from dicomferry.tables.shards import Shards
schema = (Field("Metadata", "JSON"),)
table = parse_destination("delta:" + sys.argv[1])
table.load(Load(Shards((sys.argv[2],)), schema, WriteDisposition.WRITE_EMPTY, "a"))
from tests.pixels.fuzz import peak_mib
print(peak_mib())
"""


@pytest.mark.slow
def test_rows_with_large_metadata_do_not_lie_in_memory_together(destination, tmp_path):
    path = tmp_path / "rows.ndjson"
    with open(path, "wb") as file:
        for number in range(1200):
            text = hashlib.sha256(b"%d" % number).hexdigest() * 16_000
            file.write(
                b'{"Metadata": {"00104000": {"vr": "LT", "Value": ["%s"]}}}\n' % text.encode()
            )
    command = [sys.executable, "-c", _LOAD, destination.location, str(path)]
    repository = Path(__file__).parents[2]
    done = subprocess.run(command, check=True, cwd=repository, capture_output=True, text=True)
    assert DeltaTable(destination.location).count() == 1200
    # The rows are 1.2 GB.
    assert int(done.stdout) < 800
