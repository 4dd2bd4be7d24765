import pytest

from dicomferry.tables.destination import Load, WriteDisposition
from dicomferry.tables.errors import SchemaConflictError
from dicomferry.tables.schema import Field
from dicomferry.tables.shards import Shards
from dicomferry.tables.stream import MAX_ROW_BYTES, StreamRows
from tests.tables.instances import make_instance, names


def ct(number, **elements):
    return make_instance(
        {"00080060": {"vr": "CS", "Value": ["CT"]}, **elements}, SOPInstanceUID=f"1.2.{number}"
    )


BIG = {"00104000": {"vr": "LT", "Value": ["x" * MAX_ROW_BYTES]}}


@pytest.fixture
def append(table, tmp_path):
    """Append rows of instances by a load of its own."""
    count = 0

    def _append(*instances, flattened=True, **options):
        nonlocal count
        count += 1
        writer = StreamRows(table.destination, flattened, **options)
        path = tmp_path / f"{count}.ndjson"
        path.write_bytes(b"".join(writer.row(each).line + b"\n" for each in instances))
        shards, disposition = Shards((str(path),)), WriteDisposition.WRITE_APPEND
        table.destination.load(Load(shards, writer.schema, disposition, f"j-{count}"))

    return _append


def test_every_append_adds_rows_and_the_columns_that_they_need(table, append):
    append(ct(1), ct(2))
    append(ct(3, **{"00280010": {"vr": "US", "Value": [512]}}))
    assert table.columns() == [
        "Modality",
        "StorageClass",
        "LastUpdated",
        "BlobStorageSize",
        "Type",
        "Rows",
    ]
    assert sorted(row.get("Rows") or 0 for row in table.rows()) == [0, 0, 512]
    assert {row["Type"] for row in table.rows()} == {"INSERT"}


def test_rows_of_the_json_schema_are_appended_too(table, append):
    append(ct(1), flattened=False, source_store="stores/s")
    (row,) = table.rows()
    assert row["SOPInstanceUID"] == "1.2.1"
    assert row["SourceDicomStore"] == "stores/s"


@pytest.mark.parametrize("flattened", [True, False])
def test_a_row_above_the_limit_is_none_and_leaves_no_column(table, flattened):
    writer = StreamRows(table.destination, flattened)
    large = ct(3, **{"00204000": {"vr": "LT", "Value": ["x" * (MAX_ROW_BYTES // 2)]}})
    assert writer.row(ct(1))
    assert writer.row(ct(2, **BIG)) is None
    assert writer.row(large)
    assert "PatientComments" not in names(writer.schema)
    assert ("ImageComments" in names(writer.schema)) == flattened


def test_the_limit_is_of_the_row_not_of_the_metadata(table):
    pixels = {"7FE00010": {"vr": "OW", "BulkDataURI": "?" + "x" * MAX_ROW_BYTES}}
    assert StreamRows(table.destination, True).row(ct(1, **pixels))
    assert StreamRows(table.destination, False).row(ct(1, **pixels)) is None


def test_a_table_of_another_schema_is_refused_by_the_column(table, append):
    append(ct(1))
    append(ct(2, **{"00080018": {"vr": "UI", "Value": ["1.2.2"]}}), flattened=False)
    assert "Metadata" in table.columns()
    schema = (Field("DroppedTags", "RECORD", "REPEATED", (Field("TagName", "STRING"),)),)
    with pytest.raises(SchemaConflictError, match="column DroppedTags is "):
        table.destination.load(Load(Shards(()), schema, WriteDisposition.WRITE_APPEND, "other"))
    assert len(table.rows()) == 2
