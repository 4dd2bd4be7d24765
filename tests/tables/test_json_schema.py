import datetime
import json

import pytest

from dicomferry.tables.bigquery_table import BIGQUERY
from dicomferry.tables.json_schema import JsonRows, json_schema
from dicomferry.tables.limits import EMBEDDED
from tests.tables.instances import make_instance, misfits, names

ELEMENTS = {"00080060": {"vr": "CS", "Value": ["CT"]}, "00100010": {"vr": "PN"}}


def test_the_columns_are_those_of_the_api_reference():
    assert [(field.name, field.type, field.mode) for field in json_schema(source_store=True)] == [
        ("StudyInstanceUID", "STRING", "NULLABLE"),
        ("SeriesInstanceUID", "STRING", "NULLABLE"),
        ("SOPInstanceUID", "STRING", "NULLABLE"),
        ("SourceDicomStore", "STRING", "NULLABLE"),
        ("Metadata", "JSON", "NULLABLE"),
        ("StructuredStorageSize", "INTEGER", "NULLABLE"),
        ("DroppedTags", "STRING", "REPEATED"),
        ("StorageClass", "STRING", "NULLABLE"),
        ("LastUpdated", "TIMESTAMP", "NULLABLE"),
        ("BlobStorageSize", "INTEGER", "NULLABLE"),
        ("Type", "STRING", "NULLABLE"),
    ]
    assert "SourceDicomStore" not in names(json_schema(source_store=False))


@pytest.mark.parametrize("store", ["", "projects/p/locations/l/datasets/d/dicomStores/s"])
def test_a_row_has_all_elements_in_one_column(store):
    writer = JsonRows(BIGQUERY, store)
    instance = make_instance(ELEMENTS)
    row = writer.row(instance)
    columns = json.loads(row.line)
    assert columns == {
        "StudyInstanceUID": "1.2.1",
        "SeriesInstanceUID": "1.2.1.1",
        "SOPInstanceUID": "1.2.1.1.1",
        **({"SourceDicomStore": store} if store else {}),
        "Metadata": ELEMENTS,
        "StructuredStorageSize": instance["StructuredStorageSize"],
        "DroppedTags": [],
        "StorageClass": "STANDARD",
        "LastUpdated": "2026-11-24T10:20:30.000400Z",
        "BlobStorageSize": 1000,
        "Type": "INSERT",
    }
    assert row.warnings == ()
    assert misfits(columns, writer.schema) == []


def test_the_metadata_is_passed_on_byte_by_byte():
    metadata = (
        '{"00180050":{"vr":"DS","Value":["1.50"]},"00100020":{"vr":"LO","Value":["é\\u0000"]}}'
    )
    line = JsonRows(BIGQUERY).row(make_instance(metadata)).line
    assert metadata.encode() in line


def test_metadata_on_several_lines_is_still_one_row():
    row = JsonRows(EMBEDDED).row(make_instance(json.dumps(ELEMENTS, indent=2)))
    assert b"\n" not in row.line
    assert json.loads(row.line)["Metadata"] == ELEMENTS


def test_the_time_of_an_instance_is_in_utc_whatever_zone_it_comes_in():
    zone = datetime.timezone(datetime.timedelta(hours=9))
    for moment in (
        datetime.datetime(2026, 1, 2, 12, 4, 5, tzinfo=zone),
        datetime.datetime(2026, 1, 2, 3, 4, 5),
    ):
        row = JsonRows(EMBEDDED).row(make_instance(ELEMENTS, LastUpdated=moment))
        assert json.loads(row.line)["LastUpdated"] == "2026-01-02T03:04:05Z"


def test_a_sequence_too_large_for_bigquery_is_left_out_of_it_alone():
    large = {
        "0040A730": {"vr": "SQ", "Value": [{"0040A160": {"vr": "UT", "Value": ["x" * 2**20]}}]}
    }
    row = JsonRows(BIGQUERY).row(make_instance({**ELEMENTS, **large}))
    columns = json.loads(row.line)
    assert columns["Metadata"] == ELEMENTS
    assert columns["DroppedTags"] == ["ContentSequence"]
    assert [tuple(warning) for warning in row.warnings] == [("0040A730", "SEQUENCE_TOO_LARGE")]
    row = JsonRows(EMBEDDED).row(make_instance({**ELEMENTS, **large}))
    assert json.loads(row.line)["Metadata"] == {**ELEMENTS, **large}
    assert row.warnings == ()
