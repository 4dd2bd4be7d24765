"""The three kinds of table, each with a way to look at what it holds."""

import json

import duckdb
import pytest
from deltalake import DeltaTable

from dicomferry.tables import bigquery_load
from dicomferry.tables.destination import parse_destination
from dicomferry.tables.duckdb_types import field_of
from dicomferry.tables.shards import Shards
from tests.tables.fake_bigquery import PROJECT, FakeBigQuery, serving


@pytest.fixture
def shards(tmp_path):
    """Make shards of rows: shards([row, …], [row, …])."""
    made = []

    def make(*files):
        paths = []
        for rows in files:
            path = tmp_path / f"shard-{len(made)}.ndjson"
            made.append(path)
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            paths.append(str(path))
        return Shards(tuple(paths))

    return make


@pytest.fixture
def bigquery(monkeypatch):
    """The fake that follows BigQuery's documentation, and BIGQUERY_EMULATOR_HOST set to it."""
    fake = FakeBigQuery()
    with serving(fake) as address:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", address)
        monkeypatch.setattr(bigquery_load, "_BACKOFF_S", 0.0)
        yield fake


class Table:
    """A destination and what is in it: columns as names, rows without their empty values."""

    def __init__(self, destination, read):
        self.destination = destination
        self.read = read

    def rows(self):
        """Rows in any order; None if there is no table."""
        return self.read()[1]

    def columns(self):
        """Names of the columns; None if there is no table."""
        return self.read()[0]


def _duckdb_table(tmp_path):
    path = tmp_path / "t.duckdb"

    def read():
        if not path.exists():
            return None, None
        with duckdb.connect(str(path)) as connection:
            connection.begin()  # else columns and rows are two looks
            if not connection.execute("SELECT 1 FROM duckdb_tables()").fetchall():
                return None, None
            relation = connection.sql("FROM research.instances")
            assert all(map(field_of, relation.columns, relation.types))
            values = relation.fetchall()
            return relation.columns, [
                dict(zip(relation.columns, row, strict=True)) for row in values
            ]

    return Table(parse_destination(f"duckdb:{path}#research.instances"), read)


def _delta_table(tmp_path):
    path = tmp_path / "delta"

    def read():
        if not path.exists():
            return None, None
        table = DeltaTable(str(path)).to_pyarrow_table()
        return table.column_names, table.to_pylist()

    return Table(parse_destination(f"delta:{path}"), read)


def _bigquery_table(fake):
    def read():
        table = fake.tables.get("data.instances")
        if table is None:
            return None, None
        return [field["name"] for field in table["fields"]], table["rows"]

    return Table(parse_destination(f"bq://{PROJECT}.data.instances"), read)


@pytest.fixture(params=["duckdb", "delta", "bigquery"])
def table(request, tmp_path):
    """Each of the three kinds of table in turn, not made yet."""
    if request.param == "duckdb":
        return _duckdb_table(tmp_path)
    if request.param == "delta":
        return _delta_table(tmp_path)
    return _bigquery_table(request.getfixturevalue("bigquery"))
