import contextlib
import dataclasses
import gc
import os
import pickle
import subprocess
import sys
import tempfile

import pytest

from dicomferry.tables.bigquery_table import BigQueryTable
from dicomferry.tables.delta_table import DeltaTablePath
from dicomferry.tables.destination import (
    WriteDisposition,
    parse_destination,
    parse_disposition,
    refuse_local_table,
)
from dicomferry.tables.duckdb_table import DuckDBTable
from dicomferry.tables.errors import TableError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bq://my-project.my_data.my-table", BigQueryTable("my-project", "my_data", "my-table")),
        ("bq://example.com:pacs-1.d.t", BigQueryTable("example.com:pacs-1", "d", "t")),
        ("bq://my-project.d.Röntgen 2", BigQueryTable("my-project", "d", "Röntgen 2")),
        ("duckdb:/a/b.duckdb#research.ct", DuckDBTable("/a/b.duckdb", "research", "ct")),
        ("duckdb:b.duckdb#ct", DuckDBTable("b.duckdb", "main", "ct")),
        ("duckdb:odd#name.duckdb#ct", DuckDBTable("odd#name.duckdb", "main", "ct")),
        ("delta:out/table/", DeltaTablePath("out/table")),
        ("delta:gs://bucket/a/b", DeltaTablePath("gs://bucket/a/b")),
    ],
)
def test_a_destination_is_parsed_into_its_parts(text, expected):
    assert parse_destination(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no table. Give bq://"),
        ("s3://bucket/table", "names no table. Give bq://"),
        ("bq://project.dataset", "does not have three parts"),
        ("bq://Project.d.t", "is not a project id: it has 6 to 30"),
        ("bq://my-project.my-data.t", "is not a dataset id: it has letters"),
        ("bq://my-project.d.t$20260101", "is not a table id"),
        ("bq://my-project.d.`", "is not a table id"),
        ("bq://my-project.d." + "t" * 2000, "at most 2000"),
        ("duckdb:file.duckdb", "names no file or no table"),
        ("duckdb:#t", "names no file or no table"),
        ("duckdb::memory:#t", "is not a local file"),
        ("duckdb:gs://b/f.duckdb#t", "is not a local file"),
        ('duckdb:f.duckdb#a"b', "is not a table or schema name"),
        ("duckdb:f.duckdb#a.b.c", "is not a table or schema name"),
        ("delta:", "names no folder"),
        ("delta:/", "names no folder"),
        ("delta:s3://bucket/t", "is a local folder or gs://"),
        ("delta:out/[x]", "cannot have '['"),
        ("delta:out/a%2e", "cannot have '%2e'"),
        ("delta:gs://bucket/mine/%73tores", "cannot have '%73'"),
        ("delta:gs://bucket/mine/.\t./x", "cannot have '\\t'"),
        ("delta:gs://bucket/mine/.\r./x", "cannot have '\\r'"),
        ("delta:gs://bucket/mine/x#y", "cannot have '#'"),
        ("delta:gs://bucket/mine/x?y", "cannot have '?'"),
        ("delta:gs://bucket/mine/../x", "cannot have '..'"),
        ("delta:gs://bucket/mine/./x", "cannot have '.'"),
        ("delta:gs://bucket/mine//x", "cannot have ''"),
        ("delta:gs://bucket", "has no bucket or no prefix"),
        ("delta:gs://bucket/", "has no bucket or no prefix"),
    ],
)
def test_what_is_no_destination_is_refused_with_the_remedy(text, message):
    with pytest.raises(ValueError, match=r".") as refused:
        parse_destination(text)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "text", ["bq://my-project.d.t", "duckdb:/a/b.duckdb#main.t", "delta:/a/b", "delta:gs://bkt/a/b"]
)
def test_a_destination_is_a_value_that_can_be_pickled_and_reads_as_its_uri(text):
    destination = parse_destination(text)
    assert pickle.loads(pickle.dumps(destination)) == destination
    assert hash(destination) == hash(parse_destination(text))
    assert str(destination) == destination.uri == text
    with pytest.raises(dataclasses.FrozenInstanceError):
        destination.table = "other"


@pytest.mark.parametrize(
    ("text", "is_local"),
    [
        ("bq://my-project.d.t", False),
        ("duckdb:b.duckdb#t", True),
        ("delta:b", True),
        ("delta:gs://bkt/b", False),
    ],
)
def test_a_table_on_a_local_disk_is_refused_for_a_remote_runner(text, is_local):
    destination = parse_destination(text)
    assert destination.is_local == is_local
    with pytest.raises(ValueError, match="use bq://") if is_local else contextlib.nullcontext():
        refuse_local_table(destination)


def test_destinations_are_parsed_without_the_libraries_that_load_them():
    code = """
import sys
from dicomferry.tables.destination import parse_destination
for uri in ("bq://my-project.d.t", "duckdb:b.duckdb#t", "delta:gs://bkt/b"):
    parse_destination(uri)
print({"duckdb", "deltalake", "google.cloud.bigquery", "pyarrow"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_two_spellings_of_one_table_have_one_uri():
    spelled = {parse_destination(text).uri for text in ("duckdb:a.duckdb#t", "duckdb:./a.duckdb#t")}
    assert spelled == {f"duckdb:{os.getcwd()}/a.duckdb#main.t"}
    assert parse_destination("delta:x/").uri == parse_destination("delta:./x").uri
    assert parse_destination("delta:gs://bkt/x/").uri == "delta:gs://bkt/x"
    assert parse_destination("bq://my-project.d.t").uri == "bq://my-project.d.t"


@pytest.mark.parametrize(
    ("name", "force", "expected"),
    [
        (None, None, "WRITE_EMPTY"),
        ("", False, "WRITE_EMPTY"),
        ("WRITE_DISPOSITION_UNSPECIFIED", None, "WRITE_EMPTY"),
        ("WRITE_DISPOSITION_UNSPECIFIED", True, "WRITE_TRUNCATE"),
        (None, True, "WRITE_TRUNCATE"),
        ("WRITE_EMPTY", True, "WRITE_EMPTY"),
        ("WRITE_APPEND", True, "WRITE_APPEND"),
        ("WRITE_TRUNCATE", False, "WRITE_TRUNCATE"),
    ],
)
def test_force_counts_only_where_no_write_disposition_is_given(name, force, expected):
    assert parse_disposition(name, force=force) is WriteDisposition(expected)


def test_an_unknown_disposition_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="Choose one of WRITE_EMPTY, WRITE_TRUNCATE, WRITE_APPEND"):
        parse_disposition("WRITE_ONCE")


@contextlib.contextmanager
def as_nobody():
    """As a user whom permissions bind; `os.access` asks for the real one."""
    is_superuser = os.getuid() == 0
    gc.disable()  # what others have left is theirs to remove
    if is_superuser:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        if is_superuser:
            os.setresuid(0, 0, 0)
        gc.enable()


@pytest.mark.parametrize("form", ["duckdb:{}/t.duckdb#t", "delta:{}/t"])
def test_a_folder_that_cannot_be_written_is_refused_before_any_work(form):
    with tempfile.TemporaryDirectory() as folder:
        destination = parse_destination(form.format(folder))
        os.chmod(folder, 0o555)
        with as_nobody(), pytest.raises(TableError, match=f"the folder {folder}.* written"):
            destination.check(WriteDisposition.WRITE_EMPTY)
        os.chmod(folder, 0o777)
        with as_nobody():
            destination.check(WriteDisposition.WRITE_EMPTY)
        assert os.listdir(folder) == []


def test_a_delta_table_below_a_file_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TableError, match="cannot be made or written"):
        parse_destination(f"delta:{tmp_path}/file/t").check(WriteDisposition.WRITE_EMPTY)
