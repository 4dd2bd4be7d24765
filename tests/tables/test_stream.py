import pytest

from tables.errors import SchemaConflictError
from tables.stream import MAX_ROW_BYTES, append_rows
from tests.tables.instances import make_instance


def ct(number, **elements):
    return make_instance(
        {"00080060": {"vr": "CS", "Value": ["CT"]}, **elements}, SOPInstanceUID=f"1.2.{number}"
    )


def test_every_append_adds_rows_and_the_columns_that_they_need(table):
    first = append_rows(table.destination, [ct(1), ct(2)], "op-0", flattened=True)
    rows = ct(3, **{"00280010": {"vr": "US", "Value": [512]}})
    second = append_rows(table.destination, [rows], "op-1", flattened=True)
    assert (first.rows, first.skipped, second.rows) == (2, (), 1)
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


def test_rows_of_the_json_schema_are_appended_too(table):
    appended = append_rows(
        table.destination, [ct(1)], "op-0", flattened=False, source_store="stores/s"
    )
    assert appended.rows == 1
    (row,) = table.rows()
    assert row["SOPInstanceUID"] == "1.2.1"
    assert row["SourceDicomStore"] == "stores/s"


def test_a_row_above_the_limit_is_skipped_and_named_and_leaves_no_column(table):
    big = ct(2, **{"00104000": {"vr": "LT", "Value": ["x" * MAX_ROW_BYTES]}})
    large = ct(3, **{"00204000": {"vr": "LT", "Value": ["x" * (MAX_ROW_BYTES // 2)]}})
    appended = append_rows(table.destination, [ct(1), big, large], "op-0", flattened=True)
    assert (appended.rows, appended.skipped) == (2, ("1.2.2",))
    assert "PatientComments" not in table.columns()
    assert "ImageComments" in table.columns()
    assert len(table.rows()) == 2


def test_nothing_to_append_makes_no_table(table):
    big = ct(2, **{"00104000": {"vr": "LT", "Value": ["x" * MAX_ROW_BYTES]}})
    assert append_rows(table.destination, [big], "op-0", flattened=True).rows == 0
    assert append_rows(table.destination, [], "op-1", flattened=True).rows == 0
    assert table.columns() is None


def test_what_did_not_fit_is_told_by_instance(table):
    bad = ct(1, **{"00080020": {"vr": "DA", "Value": ["never"]}})
    appended = append_rows(table.destination, [bad, ct(2)], "op-0", flattened=True)
    ((uid, warning),) = appended.warnings
    assert (uid, *warning) == ("1.2.1", "00080020", "VALUE_UNFIT")


def test_a_table_of_another_schema_is_refused_by_the_column(table):
    append_rows(table.destination, [ct(1)], "op-0", flattened=True)
    private = {"00080018": {"vr": "UI", "Value": ["1.2.1"]}}
    append_rows(table.destination, [ct(1, **private)], "op-1", flattened=False)
    assert "Metadata" in table.columns()
    dropped = ct(9, **{"00081140": {"vr": "SQ", "Value": [deep(40)]}})
    with pytest.raises(SchemaConflictError, match="column DroppedTags is "):
        append_rows(table.destination, [dropped], "op-2", flattened=True)
    assert len(table.rows()) == 2


def deep(levels):
    item = {"00080060": {"vr": "CS", "Value": ["CT"]}}
    for _ in range(levels):
        item = {"00081140": {"vr": "SQ", "Value": [item]}}
    return item
