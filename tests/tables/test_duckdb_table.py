import os
import subprocess
import sys
import threading

import duckdb
import pytest

from dicomferry.tables import duckdb_load
from dicomferry.tables.destination import Load, WriteDisposition, parse_destination
from dicomferry.tables.duckdb_types import MEMORY_BUDGETS, MemoryBudget
from dicomferry.tables.errors import TableBusyError, TableError
from dicomferry.tables.schema import Field

EMPTY, TRUNCATE, APPEND = WriteDisposition
SCHEMA = (Field("Modality", "STRING"),)


def load(destination, shards, schema, disposition, job="job"):
    destination.load(Load(shards, schema, disposition, job))


_HOLD = """
import duckdb, sys, time
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def destination(tmp_path):
    return parse_destination(f"duckdb:{tmp_path}/t.duckdb#instances")


@pytest.fixture
def hold(destination):
    """Have another process hold the file: hold(seconds)."""
    holders = []

    def _hold(seconds):
        command = [sys.executable, "-c", _HOLD, destination.path, str(seconds)]
        holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        holders.append(holder)
        assert holder.stdout.readline() == b"open\n"
        return holder

    yield _hold
    for holder in holders:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def rows(destination):
    with duckdb.connect(destination.path) as connection:
        return connection.sql(f"SELECT Modality FROM {destination.table}").fetchall()


def test_a_process_that_keeps_the_file_is_named(destination, shards, hold, monkeypatch, caplog):
    monkeypatch.setattr(duckdb_load, "LOCK_WAIT_S", 0.5)
    holder = hold(60)
    for refused in (
        lambda: destination.check(EMPTY),
        lambda: load(destination, shards([{"Modality": "CT"}]), SCHEMA, EMPTY),
    ):
        with pytest.raises(TableBusyError, match=f"process {holder.pid} .* Close it there"):
            refused()
        [said] = caplog.messages
        assert f"process {holder.pid} " in said, "it says at once for whom it waits"
        caplog.clear()


def test_a_process_that_closes_the_file_is_waited_for(destination, shards, hold):
    hold(1.0)
    load(destination, shards([{"Modality": "CT"}]), SCHEMA, EMPTY)
    assert rows(destination) == [("CT",)]


def test_a_folder_that_does_not_exist_is_refused_before_any_work(tmp_path):
    with pytest.raises(TableError, match="Create it"):
        parse_destination(f"duckdb:{tmp_path}/no/t.duckdb#t").check(EMPTY)


def test_a_file_of_another_kind_is_refused_and_left_alone(destination, shards):
    with open(destination.path, "wb") as file:
        file.write(b"DICM" * 5000)
    for refused in (
        lambda: destination.check(TRUNCATE),
        lambda: load(destination, shards([]), SCHEMA, TRUNCATE),
    ):
        with pytest.raises(TableError, match="cannot be opened as a DuckDB file"):
            refused()
    assert os.path.getsize(destination.path) == 20000


def test_a_view_is_not_written_to(destination, shards):
    with duckdb.connect(destination.path) as connection:
        connection.execute("CREATE VIEW instances AS SELECT 'CT' AS Modality")
    for disposition in WriteDisposition:
        with pytest.raises(TableError, match="is not a table but a view"):
            destination.check(disposition)
        with pytest.raises(TableError, match="is not a table but a view"):
            load(destination, shards([]), SCHEMA, disposition)


def test_other_tables_of_the_file_stay(destination, shards):
    with duckdb.connect(destination.path) as connection:
        connection.execute("CREATE TABLE mine AS SELECT 42 AS answer")
    load(destination, shards([{"Modality": "CT"}]), SCHEMA, TRUNCATE)
    with duckdb.connect(destination.path) as connection:
        assert connection.sql("FROM mine").fetchall() == [(42,)]


def test_columns_of_the_users_own_stay_and_keep_their_type(destination, shards):
    with duckdb.connect(destination.path) as connection:
        connection.execute("CREATE TABLE instances (Modality VARCHAR, checked BOOLEAN)")
        connection.execute("INSERT INTO instances VALUES ('MR', true)")
    load(destination, shards([{"Modality": "CT"}]), SCHEMA, APPEND)
    with duckdb.connect(destination.path) as connection:
        found = connection.sql("FROM instances ORDER BY Modality").fetchall()
    assert found == [("CT", None), ("MR", True)]


_READ = """
import duckdb, sys
while True:
    try:
        with duckdb.connect(sys.argv[1], read_only=True) as connection:
            relation = connection.sql("FROM instances")
            print(*relation.columns, len(relation.fetchall()), flush=True)
    except duckdb.IOException as error:  # a load has the file
        if "lock" not in str(error):
            raise
"""


def test_a_reader_in_another_process_sees_the_old_table_or_the_new_one(destination, shards):
    load(destination, shards([{"Modality": "CT"}] * 10), SCHEMA, EMPTY)
    new = (Field("Rows", "INTEGER"),)
    many = shards([{"Rows": 1}] * 20_000)
    command = [sys.executable, "-c", _READ, destination.path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        try:
            assert reader.stdout.readline() == "Modality 10\n"
            load(destination, many, new, TRUNCATE)
            # What it printed before, and then the new table.
            while (line := reader.stdout.readline()) == "Modality 10\n":
                pass
            assert line == "Rows 20000\n"
        finally:
            reader.kill()


def test_a_reader_sees_the_old_table_or_the_new_one(destination, shards):
    load(destination, shards([{"Modality": "CT"}] * 10), SCHEMA, EMPTY)
    other = (Field("Rows", "INTEGER"),)
    many = shards(*[[{"Rows": 1}] * 5000] * 4)
    seen = set()
    with duckdb.connect(destination.path) as reader:
        writer = threading.Thread(target=load, args=(destination, many, other, TRUNCATE))
        writer.start()
        while writer.is_alive():
            reader.execute("FROM instances")
            columns = tuple(column[0] for column in reader.description)
            seen.add((columns, len(reader.fetchall())))
        writer.join()
        seen.add(("after", *reader.sql("SELECT count(*) FROM instances").fetchall()))
    assert seen <= {(("Modality",), 10), (("Rows",), 20000), ("after", (20000,))}
    assert (("Modality",), 10) in seen


def test_a_row_larger_than_the_usual_limit_is_loaded_with_more_effort(destination, shards):
    # duckdb takes twice what it is told.
    large = {"Modality": "x" * (2 * MEMORY_BUDGETS[0].max_row_bytes + 5)}
    load(destination, shards([large, {"Modality": "CT"}]), SCHEMA, EMPTY)
    assert sorted(len(value) for (value,) in rows(destination)) == [2, len(large["Modality"])]


def test_a_row_larger_than_any_limit_is_refused_and_nothing_changes(
    destination, shards, monkeypatch
):
    load(destination, shards([{"Modality": "CT"}]), SCHEMA, EMPTY)
    budgets = (MemoryBudget(16 << 20, "512MB"), MemoryBudget(16 << 20, "512MB"))
    monkeypatch.setattr("dicomferry.tables.duckdb_load.MEMORY_BUDGETS", budgets)
    monkeypatch.setattr("dicomferry.tables.duckdb_types.MEMORY_BUDGETS", budgets)
    with pytest.raises(TableError, match="Leave instances out with a filter"):
        load(destination, shards([{"Modality": "x" * (33 << 20)}]), SCHEMA, APPEND)
    assert rows(destination) == [("CT",)]


def test_names_of_shards_are_no_patterns(destination, tmp_path):
    from dicomferry.tables.shards import Shards

    odd = tmp_path / "a[1-2]*?.ndjson"
    odd.write_text('{"Modality": "CT"}\n')
    (tmp_path / "a1xx.ndjson").write_text('{"Modality": "MR"}\n')
    load(destination, Shards((str(odd),)), SCHEMA, EMPTY)
    assert rows(destination) == [("CT",)]


def test_which_jobs_were_appended_is_kept_beside_the_table(destination, shards):
    for job in ("operation-1", "operation-1", "operation-2"):
        load(destination, shards([{"Modality": "CT"}]), SCHEMA, APPEND, job)
    assert rows(destination) == [("CT",), ("CT",)]
    other = parse_destination(f"duckdb:{destination.path}#other")
    load(other, shards([{"Modality": "MR"}]), SCHEMA, APPEND, "operation-1")
    assert rows(other) == [("MR",)]


@pytest.mark.slow
def test_thousands_of_large_rows_are_loaded_with_more_effort(destination, shards, monkeypatch):
    # As many as one row group of duckdb has, which it compresses in memory.
    budgets = (MemoryBudget(16 << 20, "64MB"), MEMORY_BUDGETS[1])
    monkeypatch.setattr("dicomferry.tables.duckdb_load.MEMORY_BUDGETS", budgets)
    many = [{"Modality": os.urandom(100_000).hex()} for _ in range(600)]
    load(destination, shards(many), SCHEMA, EMPTY)
    assert len(rows(destination)) == 600


@pytest.mark.parametrize("disposition", WriteDisposition)
@pytest.mark.parametrize("name", ["dicom.duckdb", "dicomferry.duckdb"])
def test_a_file_may_be_named_like_a_schema(tmp_path, shards, disposition, name):
    schema = name.partition(".")[0]
    destination = parse_destination(f"duckdb:{tmp_path}/{name}#{schema}.instances")
    for job in ("one", "two"):
        if job == "one" or disposition is not EMPTY:
            destination.check(disposition, SCHEMA)
            load(destination, shards([{"Modality": "CT"}]), SCHEMA, disposition, job)
    with duckdb.connect(destination.path) as connection:
        found = connection.sql(f"FROM {schema}.{schema}.instances").fetchall()
    assert found == [("CT",)] * (2 if disposition is APPEND else 1)
