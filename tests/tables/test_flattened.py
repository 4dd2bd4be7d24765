import json

import pytest
from pydicom.dataset import Dataset

from dicomferry.tables.bigquery_table import BIGQUERY
from dicomferry.tables.flattened import FlattenedRows, merge_flattened
from dicomferry.tables.limits import EMBEDDED, Limits
from dicomferry.tables.rows import WARNINGS
from dicomferry.tables.schema import Field
from tests.tables.instances import (
    encoded,
    flattened,
    instance_of,
    make_instance,
    misfits,
    names,
    schema_of,
)


def nested(levels, leaf):
    """ContentSequence (0040,A730) in itself."""
    item = leaf
    for _ in range(levels):
        item = {"0040A730": {"vr": "SQ", "Value": [item]}}
    return item


@pytest.mark.parametrize(
    ("tag", "vr", "field"),
    [
        ("00080060", "CS", Field("Modality", "STRING")),
        ("00080008", "CS", Field("ImageType", "STRING", "REPEATED")),
        ("00180050", "DS", Field("SliceThickness", "STRING")),
        ("00280008", "IS", Field("NumberOfFrames", "STRING")),
        ("00200032", "DS", Field("ImagePositionPatient", "STRING", "REPEATED")),
        ("00080020", "DA", Field("StudyDate", "DATE")),
        ("00080030", "TM", Field("StudyTime", "TIME")),
        ("0008002A", "DT", Field("AcquisitionDateTime", "TIMESTAMP")),
        ("00189087", "FD", Field("DiffusionBValue", "FLOAT")),
        ("00280010", "US", Field("Rows", "INTEGER")),
        ("00280106", "SS", Field("SmallestImagePixelValue", "INTEGER")),
        ("00280009", "AT", Field("FrameIncrementPointer", "INTEGER", "REPEATED")),
        ("0008010B", "CS", Field("ContextGroupExtensionFlag", "STRING")),
        ("00081190", "UR", Field("RetrieveURL", "STRING")),
        ("00020010", "UI", Field("TransferSyntaxUID", "STRING")),
    ],
)
def test_a_column_has_the_keyword_and_the_type_and_mode_of_the_dictionary(tag, vr, field):
    row, warnings, schema = flattened({tag: {"vr": vr}})
    assert schema == (field,)
    assert row == {field.name: [] if field.mode == "REPEATED" else None}
    assert warnings == []


def test_a_person_name_is_always_the_full_record():
    _, _, schema = flattened({"00100010": {"vr": "PN"}})
    (name,) = schema
    assert names(name.fields) == ["Alphabetic", "Ideographic", "Phonetic"]
    for group in name.fields:
        assert group.type == "RECORD"
        assert names(group.fields) == [
            "FamilyName",
            "GivenName",
            "MiddleName",
            "NamePrefix",
            "NameSuffix",
        ]


def test_decimal_and_integer_strings_keep_every_digit():
    elements = {
        "00180050": {"vr": "DS", "Value": ["1.50"]},
        "00200013": {"vr": "IS", "Value": ["007"]},
        "00281050": {"vr": "DS", "Value": ["40.0", "not a number"]},
    }
    row, warnings, _ = flattened(elements)
    assert row == {
        "SliceThickness": "1.50",
        "InstanceNumber": "007",
        "WindowCenter": ["40.0", "not a number"],
    }
    assert warnings == []


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        ("7FE00010", "OW"),
        ("60003000", "OB"),
        ("00283006", "OW"),
        ("00283006", "US"),
        ("00420011", "OB"),
        ("00282000", "OB"),
        ("00091001", "UN"),
        ("00080000", "UL"),
        ("00090000", "UL"),
        ("00020000", "UL"),
        ("00020001", "OB"),
    ],
)
def test_bulk_data_and_group_lengths_are_in_no_column(tag, vr):
    reference = (
        {"BulkDataURI": "?offset=1&length=2"} if vr in ("OB", "OW", "UN") else {"Value": [1]}
    )
    assert flattened({tag: {"vr": vr, **reference}}) == ({}, [], ())


def test_columns_are_in_tag_order_then_private_sequences_then_other_elements():
    elements = {
        "00431001": {"vr": "LO", "Value": ["x"]},
        "00291140": {"vr": "SQ", "Value": [{"00080060": {"vr": "CS", "Value": ["CT"]}}]},
        "60000010": {"vr": "US", "Value": [4]},
        "00280010": {"vr": "US", "Value": [4]},
        "00081140": {
            "vr": "SQ",
            "Value": [
                {
                    "00431001": {"vr": "LO", "Value": ["x"]},
                    "00291140": {"vr": "SQ", "Value": [{"00080060": {"vr": "CS"}}]},
                    "00280010": {"vr": "US"},
                    "00081150": {"vr": "UI"},
                }
            ],
        },
        "00020010": {"vr": "UI", "Value": ["1.2"]},
    }
    _, _, schema = flattened(elements, source_store="s", stream=True)
    assert names(schema) == [
        "TransferSyntaxUID",
        "ReferencedImageSequence",
        "Rows",
        "OverlayRows",
        "Tag_00291140",
        "OtherElements",
        "SourceDicomStore",
        "StorageClass",
        "LastUpdated",
        "BlobStorageSize",
        "Type",
    ]
    sequence = schema[1]
    assert names(sequence.fields) == [
        "ReferencedSOPClassUID",
        "Rows",
        "Tag_00291140",
        "OtherElements",
    ]


def test_private_elements_are_text_in_other_elements_at_their_level():
    item = {"00091001": {"vr": "FD", "Value": [1.5, 2]}}
    elements = {
        "00090010": {"vr": "LO", "Value": ["GEMS"]},
        "00091002": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Phonetic": "C"}]},
        "00091003": {"vr": "SH"},
        "00291140": {"vr": "SQ", "Value": [item]},
    }
    row, warnings, schema = flattened(elements)
    assert row == {
        "Tag_00291140": [{"OtherElements": [{"Tag": "Tag_00091001", "Data": ["1.5", "2"]}]}],
        "OtherElements": [
            {"Tag": "Tag_00090010", "Data": ["GEMS"]},
            {"Tag": "Tag_00091002", "Data": ["A^B==C"]},
            {"Tag": "Tag_00091003", "Data": []},
        ],
    }
    assert warnings == []
    assert names(schema[0].fields) == ["OtherElements"]


def test_tags_that_the_dictionary_does_not_know_are_kept_as_text():
    row, warnings, _ = flattened({"00080999": {"vr": "LO", "Value": ["x"]}})
    assert row == {"OtherElements": [{"Tag": "Tag_00080999", "Data": ["x"]}]}
    assert warnings == []


def test_64_bit_values_have_no_column_but_are_kept_as_text():
    row, _, _ = flattened({"00720082": {"vr": "SV", "Value": [-5]}})
    assert row == {"OtherElements": [{"Tag": "Tag_00720082", "Data": ["-5"]}]}


def test_repeating_groups_share_a_column_and_say_which_is_whose():
    elements = {
        "60000010": {"vr": "US", "Value": [64]},
        "60000050": {"vr": "SS", "Value": [1, -1]},
        "60020010": {"vr": "US", "Value": [32]},
        "60020022": {"vr": "LO"},
        "50000030": {"vr": "SH", "Value": ["mm", "s"]},
    }
    row, _, schema = flattened(elements)
    assert row == {
        "AxisUnits": [{"Id": "5000", "Value": ["mm", "s"]}],
        "OverlayRows": [{"Id": "6000", "Value": 64}, {"Id": "6002", "Value": 32}],
        "OverlayOrigin": [{"Id": "6000", "Value": [1, -1]}],
        "OverlayDescription": [{"Id": "6002", "Value": None}],
    }
    assert schema[0] == Field(
        "AxisUnits",
        "RECORD",
        "REPEATED",
        (Field("Id", "STRING"), Field("Value", "STRING", "REPEATED")),
    )
    assert misfits(row, schema) == []


@pytest.mark.parametrize(
    ("tag", "vr", "given", "code", "data"),
    [
        ("00100030", "DA", ["2026"], "VALUE_UNFIT", ["2026"]),
        ("00080030", "TM", ["25"], "VALUE_UNFIT", ["25"]),
        ("0008002A", "DT", ["soon"], "VALUE_UNFIT", ["soon"]),
        ("00280010", "US", ["\x01"], "VALUE_UNFIT", ["\x01"]),
        ("00280010", "IS", ["512"], "VALUE_UNFIT", ["512"]),
        ("00189087", "DS", ["1.5"], "VALUE_UNFIT", ["1.5"]),
        ("00100010", "PN", [{"Alphabetic": "a^b^c^d^e^f"}], "VALUE_UNFIT", ["a^b^c^d^e^f"]),
        ("00180050", "DS", ["1", "2"], "VALUES_TOO_MANY", ["1", "2"]),
        ("00280010", "US", [1, 2], "VALUES_TOO_MANY", ["1", "2"]),
        ("60000010", "US", ["a"], "VALUE_UNFIT", ["a"]),
    ],
)
def test_what_does_not_fit_is_null_and_kept_as_text_and_warned_of(tag, vr, given, code, data):
    row, warnings, schema = flattened({tag: {"vr": vr, "Value": given}})
    other = row.pop("OtherElements")
    assert other == [{"Tag": f"Tag_{tag}", "Data": data}]
    ((_, left),) = row.items()
    assert left is None or left == [{"Id": "6000", "Value": None}]
    assert warnings == [(tag, code)]
    assert misfits({**row, "OtherElements": other}, schema) == []


def test_an_array_is_kept_whole_or_not_at_all():
    elements = {"00280009": {"vr": "AT", "Value": ["00181063", "oops"]}}
    row, warnings, _ = flattened(elements)
    assert row["FrameIncrementPointer"] == []
    assert row["OtherElements"][0]["Data"] == ["00181063", "oops"]
    assert warnings == [("00280009", "VALUE_UNFIT")]


def test_empty_values_keep_their_place_in_arrays_of_text():
    row, warnings, _ = flattened(
        {
            "00080008": {"vr": "CS", "Value": ["ORIGINAL", None, "AXIAL"]},
            "00081048": {"vr": "PN", "Value": [None, {"Alphabetic": "A"}]},
            "00080060": {"vr": "CS", "Value": [None]},
        }
    )
    assert row["ImageType"] == ["ORIGINAL", "", "AXIAL"]
    assert row["PhysiciansOfRecord"] == [{}, {"Alphabetic": {"FamilyName": "A"}}]
    assert row["Modality"] is None
    assert warnings == []


def test_an_empty_value_in_an_array_of_numbers_is_not_skipped_in_silence():
    row, warnings, _ = flattened({"00280009": {"vr": "AT", "Value": ["00181063", None]}})
    assert row["FrameIncrementPointer"] == []
    assert row["OtherElements"] == [{"Tag": "Tag_00280009", "Data": ["00181063", ""]}]
    assert warnings == [("00280009", "VALUE_UNFIT")]


def test_bytes_where_the_dictionary_says_text_are_warned_of():
    elements = {"00080060": {"vr": "UN", "BulkDataURI": "?offset=1&length=2"}}
    row, warnings, _ = flattened(elements)
    assert row == {"Modality": None, "OtherElements": [{"Tag": "Tag_00080060", "Data": []}]}
    assert warnings == [("00080060", "BINARY_UNEXPECTED")]


def test_a_sequence_where_the_dictionary_has_none_gets_a_column_named_by_its_tag():
    item = {"00080060": {"vr": "CS", "Value": ["CT"]}}
    row, warnings, _ = flattened({"00080070": {"vr": "SQ", "Value": [item]}})
    assert row == {"Tag_00080070": [{"Modality": "CT"}]}
    assert warnings == [("00080070", "SEQUENCE_UNEXPECTED")]


def test_text_where_the_dictionary_has_a_sequence_is_kept_and_warned_of():
    row, warnings, _ = flattened({"00081140": {"vr": "LO", "Value": ["x"]}})
    assert row == {"OtherElements": [{"Tag": "Tag_00081140", "Data": ["x"]}]}
    assert warnings == [("00081140", "SEQUENCE_EXPECTED")]


@pytest.mark.parametrize("items", [None, [], [{}], [{}, {"00081140": {"vr": "SQ", "Value": [{}]}}]])
def test_a_sequence_that_holds_nothing_has_no_column(items):
    element = {"vr": "SQ"} if items is None else {"vr": "SQ", "Value": items}
    assert flattened({"00081140": element}) == ({}, [], ())


def test_empty_items_among_others_are_kept():
    items = [{}, {"00081150": {"vr": "UI", "Value": ["1.2"]}}]
    row, _, schema = flattened({"00081140": {"vr": "SQ", "Value": items}})
    assert row == {"ReferencedImageSequence": [{}, {"ReferencedSOPClassUID": "1.2"}]}
    assert misfits(row, schema) == []


def test_a_warning_names_the_path_once_however_many_items_have_it():
    item = {"00080020": {"vr": "DA", "Value": ["never"]}}
    _, warnings, _ = flattened({"00081140": {"vr": "SQ", "Value": [item] * 50}})
    assert warnings == [("00081140.00080020", "VALUE_UNFIT")]


def test_every_warning_has_its_words():
    assert all(words for words in WARNINGS.values())
    codes = {"VALUE_UNFIT", "VALUES_TOO_MANY", "BINARY_UNEXPECTED", "SEQUENCE_UNEXPECTED"}
    codes |= {"SEQUENCE_EXPECTED", "SEQUENCE_AS_TEXT", "SEQUENCE_TOO_DEEP", "SEQUENCE_TOO_LARGE"}
    assert set(WARNINGS) == codes


def test_date_times_without_an_offset_are_in_the_zone_of_their_instance():
    item = {"0040A13A": {"vr": "DT", "Value": ["20260102030405"]}}
    elements = {
        "00080201": {"vr": "SH", "Value": ["+0200"]},
        "0040A730": {"vr": "SQ", "Value": [item]},
    }
    row, _, _ = flattened(elements)
    assert row["ContentSequence"] == [{"ReferencedDateTime": ["2026-01-02T01:04:05Z"]}]


def test_bigquery_gets_no_sequence_that_nests_deeper_than_it_takes():
    name = {"0040A123": {"vr": "PN", "Value": [{"Alphabetic": "A"}]}}
    deepest = nested(BIGQUERY.sequence_depth, name)
    row, warnings, schema = flattened(deepest, BIGQUERY)
    assert warnings == []
    assert depth(schema) == 15
    row, warnings, schema = flattened(nested(1, {**deepest, "00080060": {"vr": "CS"}}), BIGQUERY)
    path = ".".join(["0040A730"] * 14)
    assert warnings == [(path, "SEQUENCE_TOO_DEEP")]
    assert row["DroppedTags"] == [{"TagName": ".".join(["ContentSequence"] * 14)}]
    assert depth(schema) <= 15
    assert misfits(row, schema) == []


def test_other_tables_keep_what_is_too_deep_for_bigquery():
    leaf = {"00080060": {"vr": "CS", "Value": ["CT"]}}
    row, warnings, _ = flattened(nested(20, leaf), EMBEDDED)
    assert warnings == []
    for _ in range(20):
        (row,) = row["ContentSequence"]
    assert row == {"Modality": "CT"}


def test_other_tables_keep_what_is_too_deep_for_columns_as_dicom_json():
    leaf = {"00080060": {"vr": "CS", "Value": ["CT"]}, "00100010": {"vr": "PN"}}
    deep = nested(2, leaf)["0040A730"]
    row, warnings, schema = flattened(
        nested(EMBEDDED.sequence_depth, {"0040A730": deep, "0040A160": {"vr": "UT"}}), EMBEDDED
    )
    assert misfits(row, schema) == []
    for _ in range(EMBEDDED.sequence_depth):
        (row,) = row["ContentSequence"]
    ((other,), text) = row["OtherElements"], row["TextValue"]
    assert (text, other["Tag"]) == (None, "Tag_0040A730")
    assert [json.loads(item) for item in other["Data"]] == deep["Value"]
    path = ".".join(["0040A730"] * (EMBEDDED.sequence_depth + 1))
    assert warnings == [(path, "SEQUENCE_AS_TEXT")]


def test_an_empty_sequence_that_is_too_deep_is_no_loss():
    for limits in (EMBEDDED, BIGQUERY):
        elements = {"00080060": {"vr": "CS"}, "0040A730": {"vr": "SQ"}}
        _, warnings, _ = flattened(nested(limits.sequence_depth, elements), limits)
        assert warnings == []


def test_the_deepest_header_that_is_imported_makes_a_row():
    leaf = {"00080060": {"vr": "CS", "Value": ["CT"]}}
    row, warnings, _ = flattened(nested(128, leaf), BIGQUERY)
    assert [code for _, code in warnings] == ["SEQUENCE_TOO_DEEP"]
    row, warnings, _ = flattened(nested(128, leaf), EMBEDDED)
    assert [code for _, code in warnings] == ["SEQUENCE_AS_TEXT"]
    assert "CT" in json.dumps(row)


def test_a_sequence_too_large_for_bigquery_is_left_out_of_it_alone():
    items = [{"0040A160": {"vr": "UT", "Value": ["x" * 1000]}}] * 1100
    elements = {
        "00080060": {"vr": "CS", "Value": ["SR"]},
        "0040A730": {"vr": "SQ", "Value": items},
    }
    row, warnings, schema = flattened(elements, BIGQUERY)
    assert row == {"Modality": "SR", "DroppedTags": [{"TagName": "ContentSequence"}]}
    assert warnings == [("0040A730", "SEQUENCE_TOO_LARGE")]
    assert names(schema) == ["Modality", "DroppedTags"]
    row, warnings, schema = flattened(elements, EMBEDDED)
    assert len(row["ContentSequence"]) == 1100
    assert warnings == []
    assert names(schema) == ["Modality", "ContentSequence"]


def test_large_and_deep_at_once_is_no_obstacle():
    large = {"0040A160": {"vr": "UT", "Value": ["x" * (1 << 20)]}}
    row, warnings, _ = flattened(nested(128, large), BIGQUERY)
    assert row == {"DroppedTags": [{"TagName": "ContentSequence"}]}
    assert [code for _, code in warnings] == ["SEQUENCE_TOO_LARGE"]


def test_a_batch_export_has_no_system_columns_but_the_store_if_asked_for():
    elements = {"00080060": {"vr": "CS", "Value": ["CT"]}}
    assert flattened(elements)[0] == {"Modality": "CT"}
    row, _, schema = flattened(elements, source_store="projects/p/…/dicomStores/s")
    assert row == {"Modality": "CT", "SourceDicomStore": "projects/p/…/dicomStores/s"}
    assert names(schema) == ["Modality", "SourceDicomStore"]


def test_a_streamed_row_says_when_and_how_it_came():
    row, _, schema = flattened({"00080060": {"vr": "CS", "Value": ["CT"]}}, stream=True)
    assert row == {
        "Modality": "CT",
        "StorageClass": "STANDARD",
        "LastUpdated": "2026-11-24T10:20:30.000400Z",
        "BlobStorageSize": 1000,
        "Type": "INSERT",
    }
    assert misfits(row, schema) == []


def test_a_schema_is_the_union_of_what_its_writer_saw():
    one = {"00081140": {"vr": "SQ", "Value": [{"00080060": {"vr": "CS"}}]}}
    other = {
        "00080060": {"vr": "CS"},
        "00081140": {"vr": "SQ", "Value": [{"00081150": {"vr": "UI"}}]},
    }
    writer = FlattenedRows(EMBEDDED)
    for elements in (one, other):
        writer.row(make_instance(elements))
    schemas = [schema_of(json.dumps(elements), EMBEDDED) for elements in (one, other)]
    assert writer.schema == merge_flattened(*schemas)
    assert names(writer.schema) == ["Modality", "ReferencedImageSequence"]
    assert names(writer.schema[1].fields) == ["Modality", "ReferencedSOPClassUID"]


def test_a_value_without_limit_of_size_is_not_dropped():
    row, warnings, _ = flattened(
        {"00080081": {"vr": "ST", "Value": ["x" * 2000]}}, Limits(sequence_depth=5, sequence_size=9)
    )
    assert len(row["InstitutionAddress"]) == 2000
    assert warnings == []


def test_the_rows_of_an_import_come_through_the_encoder_of_metadata():
    dataset = Dataset()
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    dataset.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    dataset.SliceThickness = "1.50"
    dataset.PatientBirthDate = "19600230"
    row = FlattenedRows(EMBEDDED).row(instance_of(encoded(dataset)))
    columns = json.loads(row.line)
    assert columns["PatientName"]["Ideographic"] == {"FamilyName": "山田", "GivenName": "太郎"}
    assert columns["PatientName"]["Phonetic"]["GivenName"] == "たろう"
    assert columns["SliceThickness"] == "1.50"
    assert columns["PatientBirthDate"] is None
    assert columns["OtherElements"] == [{"Tag": "Tag_00100030", "Data": ["19600230"]}]
    assert columns["TransferSyntaxUID"] == "1.2.840.10008.1.2.1"


def depth(schema):
    return max((1 + depth(field.fields) for field in schema if field.fields), default=0)
