"""The columns of the index: DICOM keywords, and what is known of a blob."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa


class Column:
    """Names of the columns."""

    STUDY_INSTANCE_UID: Final = "StudyInstanceUID"
    SERIES_INSTANCE_UID: Final = "SeriesInstanceUID"
    SOP_INSTANCE_UID: Final = "SOPInstanceUID"
    SOP_CLASS_UID: Final = "SOPClassUID"
    TRANSFER_SYNTAX_UID: Final = "TransferSyntaxUID"
    MODALITY: Final = "Modality"
    NUMBER_OF_FRAMES: Final = "NumberOfFrames"
    METADATA: Final = "Metadata"
    STRUCTURED_STORAGE_SIZE: Final = "StructuredStorageSize"
    BLOB_URI: Final = "BlobUri"
    BLOB_STORAGE_SIZE: Final = "BlobStorageSize"
    SHA256: Final = "Sha256"
    CRC32C: Final = "Crc32c"
    SOURCE_URI: Final = "SourceUri"
    OPERATION: Final = "Operation"
    LAST_UPDATED: Final = "LastUpdated"


SCHEMA = pa.schema(
    [
        (Column.STUDY_INSTANCE_UID, pa.string()),
        (Column.SERIES_INSTANCE_UID, pa.string()),
        (Column.SOP_INSTANCE_UID, pa.string()),
        (Column.SOP_CLASS_UID, pa.string()),
        (Column.TRANSFER_SYNTAX_UID, pa.string()),
        (Column.MODALITY, pa.string()),
        (Column.NUMBER_OF_FRAMES, pa.int64()),
        (
            Column.METADATA,
            pa.string(),
        ),  # DICOM JSON model, PS3.18 Annex F
        (Column.STRUCTURED_STORAGE_SIZE, pa.int64()),  # bytes of Metadata
        (Column.BLOB_URI, pa.string()),  # relative to the data folder
        (Column.BLOB_STORAGE_SIZE, pa.int64()),  # bytes of the blob
        (Column.SHA256, pa.string()),  # hex; null where a server-side copy read no bytes
        (Column.CRC32C, pa.int64()),
        (Column.SOURCE_URI, pa.string()),
        (Column.OPERATION, pa.string()),
        (Column.LAST_UPDATED, pa.timestamp("us", tz="UTC")),
    ]
)


def schema_of(names: Sequence[str]) -> pa.Schema:
    """Return some of the columns."""
    return pa.schema([SCHEMA.field(name) for name in names])


def fit(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows with the columns of a schema; one that they lack is null."""
    return pa.table(
        {
            field.name: rows.column(field.name)
            if field.name in rows.column_names
            else pa.nulls(len(rows), field.type)
            for field in schema
        },
        schema=schema,
    )


# What a lookup needs to tell a duplicate from a conflict.
LOOKUP_COLUMNS = [
    Column.STUDY_INSTANCE_UID,
    Column.SERIES_INSTANCE_UID,
    Column.SOP_INSTANCE_UID,
    Column.BLOB_STORAGE_SIZE,
    Column.SHA256,
    Column.CRC32C,
    Column.SOURCE_URI,
    Column.OPERATION,
]
UID_COLUMNS = [Column.STUDY_INSTANCE_UID, Column.SERIES_INSTANCE_UID, Column.SOP_INSTANCE_UID]
# Columns with statistics in the log and in footers: those of Metadata would be whole documents.
STATISTICS = [
    Column.SOP_INSTANCE_UID,
    Column.STUDY_INSTANCE_UID,
    Column.SERIES_INSTANCE_UID,
    Column.TRANSFER_SYNTAX_UID,
    Column.LAST_UPDATED,
]
