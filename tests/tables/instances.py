"""Index rows for the tests of tables, and the judge of whether a row fits a schema."""

import datetime
import io
import json
from pathlib import Path

import pydicom
from pydicom import config
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicomferry.dicom.header import read_header
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.tables.flattened import FlattenedRows
from dicomferry.tables.limits import EMBEDDED

LAST_UPDATED = datetime.datetime(2026, 11, 24, 10, 20, 30, 400, tzinfo=datetime.UTC)


def packaged_files():
    """Paths of the files in pydicom's package; its own functions would go to the internet."""
    root = Path(pydicom.__file__).parent / "data"
    return sorted([*root.glob("test_files/*.dcm"), *root.glob("charset_files/*.dcm")])


def instance_of(data):
    """The index row of a file, as an import would write it."""
    header = read_header(BytesReader(data))
    metadata = header.metadata.decode()
    return make_instance(
        metadata,
        StudyInstanceUID=header.study_instance_uid,
        SeriesInstanceUID=header.series_instance_uid,
        SOPInstanceUID=header.sop_instance_uid,
        BlobStorageSize=len(data),
    )


def make_instance(metadata, **overrides):
    """An index row; metadata is DICOM JSON text, or its elements as a dict."""
    text = metadata if isinstance(metadata, str) else json.dumps(metadata, ensure_ascii=False)
    return {
        "StudyInstanceUID": "1.2.1",
        "SeriesInstanceUID": "1.2.1.1",
        "SOPInstanceUID": "1.2.1.1.1",
        "Metadata": text,
        "StructuredStorageSize": len(text.encode()),
        "BlobStorageSize": 1000,
        "LastUpdated": LAST_UPDATED,
        **overrides,
    }


def encoded(dataset):
    """A data set as the bytes of a file with the UIDs that an instance needs."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = "1.2.1.1.1"
    dataset.StudyInstanceUID = "1.2.1"
    dataset.SeriesInstanceUID = "1.2.1.1"
    buffer = io.BytesIO()
    with config.disable_value_validation():
        dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def flattened(elements, limits=EMBEDDED, **options):
    """(row, warnings as pairs, schema) of one instance with these elements."""
    writer = FlattenedRows(limits, **options)
    row = writer.row(make_instance(elements))
    return json.loads(row.line), [tuple(warning) for warning in row.warnings], writer.schema


def schema_of(metadata, limits):
    """The columns that one instance needs; its metadata is DICOM JSON text."""
    writer = FlattenedRows(limits)
    writer.row({"Metadata": metadata})
    return writer.schema


def names(schema):
    return [field.name for field in schema]


_FORMS = {
    "STRING": lambda value: isinstance(value, str),
    "INTEGER": lambda value: type(value) is int and -(2**63) <= value < 2**63,
    "FLOAT": lambda value: (
        isinstance(value, int | float) or value in ("NaN", "Infinity", "-Infinity")
    ),
    "DATE": datetime.date.fromisoformat,
    "TIME": datetime.time.fromisoformat,
    "TIMESTAMP": lambda value: value.endswith("Z") and datetime.datetime.fromisoformat(value),
    "JSON": lambda value: True,
}


def misfits(row, schema, path=""):
    """Names of what BigQuery would refuse in a row: unknown fields, values of another type."""
    fields = {field.name: field for field in schema}
    found = [path + name for name in row if name not in fields]
    for name in row.keys() & fields.keys():
        field, value = fields[name], row[name]
        if field.mode == "REPEATED":
            if not isinstance(value, list) or None in value:
                found.append(path + name)
                continue
            values = value
        else:
            values = [] if value is None else [value]
        for one in values:
            if field.type == "RECORD":
                found += misfits(one, field.fields, f"{path}{name}.")
            elif not _fits(field.type, one):
                found.append(path + name)
    return found


def _fits(type_, value):
    try:
        return bool(_FORMS[type_](value) is not False)
    except (ValueError, TypeError, AttributeError):
        return False
