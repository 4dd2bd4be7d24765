"""SchemaJSON of the API reference: all of an instance's elements in one JSON column."""

import json
from collections.abc import Mapping
from typing import Any

import orjson

from dicomferry.tables.limits import Limits
from dicomferry.tables.rows import (
    STORAGE_CLASS,
    TYPE_OF_NEW_INSTANCE,
    Dropped,
    Row,
    drop_large,
    timestamp_text,
)
from dicomferry.tables.schema import REPEATED, Field, Schema

_SOURCE_STORE = "SourceDicomStore"
_COLUMNS = (
    Field("StudyInstanceUID", "STRING"),
    Field("SeriesInstanceUID", "STRING"),
    Field("SOPInstanceUID", "STRING"),
    Field(_SOURCE_STORE, "STRING"),
    Field("Metadata", "JSON"),
    Field("StructuredStorageSize", "INTEGER"),
    Field("DroppedTags", "STRING", REPEATED),
    Field("StorageClass", "STRING"),
    Field("LastUpdated", "TIMESTAMP"),
    Field("BlobStorageSize", "INTEGER"),
    Field("Type", "STRING"),
)


def json_schema(*, source_store: bool) -> Schema:
    """Return the columns.

    Args:
        source_store: whether SourceDicomStore is one of them.
    """
    return tuple(field for field in _COLUMNS if source_store or field.name != _SOURCE_STORE)


class JsonRows:
    """Writer of rows of SchemaJSON."""

    def __init__(self, limits: Limits, source_store: str = "") -> None:
        """Create a writer.

        Args:
            limits: of the destination.
            source_store: the store's name for the column SourceDicomStore; no such column if ''.
        """
        self._limits = limits
        self._source_store = source_store

    @property
    def schema(self) -> Schema:
        """The columns, which do not depend on the rows."""
        return json_schema(source_store=bool(self._source_store))

    def row(self, instance: Mapping[str, Any]) -> Row:
        """Return the row of an instance, given its index row."""
        metadata: str = instance["Metadata"]
        dropped: tuple[Dropped, ...] = ()
        too_large = 0 < self._limits.sequence_size < len(metadata)
        if too_large or "\n" in metadata:  # a line break would end the row
            dataset = json.loads(metadata)
            if too_large:
                dropped = drop_large(dataset, self._limits.sequence_size)
            metadata = json.dumps(dataset, ensure_ascii=False, separators=(",", ":"))
        row = {
            "StudyInstanceUID": instance["StudyInstanceUID"],
            "SeriesInstanceUID": instance["SeriesInstanceUID"],
            "SOPInstanceUID": instance["SOPInstanceUID"],
            "Metadata": orjson.Fragment(metadata),
            "StructuredStorageSize": instance["StructuredStorageSize"],
            "DroppedTags": [drop.name for drop in dropped],
            "StorageClass": STORAGE_CLASS,
            "LastUpdated": timestamp_text(instance["LastUpdated"]),
            "BlobStorageSize": instance["BlobStorageSize"],
            "Type": TYPE_OF_NEW_INSTANCE,
        }
        if self._source_store:
            row[_SOURCE_STORE] = self._source_store
        return Row(orjson.dumps(row), tuple(drop.warning for drop in dropped))
