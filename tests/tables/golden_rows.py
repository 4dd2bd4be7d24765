"""Golden rows: which files of pydicom's package, and how their expected rows are kept."""

import json
from pathlib import Path

import pydicom

from dicomferry.tables.bigquery_table import BIGQUERY
from dicomferry.tables.flattened import FlattenedRows
from tests.tables.instances import encoded, instance_of, packaged_files

FOLDER = Path(__file__).parent / "golden"
# What each is for: kind of object, byte order, character sets, private and broken content.
NAMES = (
    "CT_small.dcm",
    "MR_small_bigendian.dcm",
    "UN_sequence.dcm",
    "badVR.dcm",
    "chrFrenMulti.dcm",
    "chrH32.dcm",
    "chrKoreanMulti.dcm",
    "chrSQEncoding.dcm",
    "examples_overlay.dcm",
    "examples_palette.dcm",
    "image_dfl.dcm",
    "reportsi.dcm",
    "rtdose_1frame.dcm",
    "rtplan.dcm",
    "rtstruct.dcm",
    "test-SR.dcm",
)
# Fragments without the UIDs of an instance, which they get here.
_FRAGMENTS = {"UN_sequence.dcm", "chrSQEncoding.dcm"}


def golden_of(name):
    """What the file with this name becomes."""
    (path,) = (path for path in packaged_files() if path.name == name)
    data = encoded(pydicom.dcmread(path)) if name in _FRAGMENTS else path.read_bytes()
    writer = FlattenedRows(BIGQUERY)
    row = writer.row(instance_of(data))
    return {
        "row": json.loads(row.line),
        "warnings": [list(warning) for warning in row.warnings],
        "schema": _columns(writer.schema),
    }


def _columns(schema):
    return {
        field.name: f"{field.type} {field.mode}"
        if not field.fields
        else {f"{field.type} {field.mode}": _columns(field.fields)}
        for field in schema
    }


if __name__ == "__main__":
    for name in NAMES:
        text = json.dumps(golden_of(name), ensure_ascii=False, indent=1)
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
