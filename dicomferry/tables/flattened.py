"""SchemaFlattened of the API reference: one column per element that occurs, nested like data sets.

A row depends on its instance alone and names exactly the columns that the instance has, so one
pass makes both rows and schema: the schema of an export is the union of those of its writers.
"""

import json
from collections.abc import Mapping
from typing import Any

import orjson

from dicomferry.tables.columns import OTHER_ELEMENTS, Column, Kind, column_of, order_of
from dicomferry.tables.limits import Limits
from dicomferry.tables.rows import (
    STORAGE_CLASS,
    TYPE_OF_NEW_INSTANCE,
    Dropped,
    Row,
    RowWarning,
    drop_large,
    timestamp_text,
)
from dicomferry.tables.schema import REPEATED, Field, Schema, merge
from dicomferry.tables.values import UNFIT, text_of, zone_of

# The name is from memory of the service's tables, not confirmed.
DROPPED_TAGS = Field("DroppedTags", "RECORD", REPEATED, (Field("TagName", "STRING"),))
_SOURCE_STORE = Field("SourceDicomStore", "STRING")
_STREAM_COLUMNS = (
    Field("StorageClass", "STRING"),
    Field("LastUpdated", "TIMESTAMP"),
    Field("BlobStorageSize", "INTEGER"),
    Field("Type", "STRING"),
)
_TIMEZONE = "00080201"

# Tag and VR of an element to its place, a pure function of both. The bound is for files with ever
# new private sequences.
_COLUMNS: dict[str, Column] = {}
_MAX_COLUMNS = 1 << 17

# The columns so far by name: a field, or for a sequence the same dictionary of its items.
_Seen = dict[str, Any]


class FlattenedRows:
    """Writer of flattened rows that collects the columns that they need.

    Not thread safe. Memory: the schema.
    """

    def __init__(self, limits: Limits, source_store: str = "", stream: bool = False) -> None:
        """Start with no columns.

        Args:
            limits: of the destination.
            source_store: the store's name for the column SourceDicomStore; no such column if ''.
            stream: whether to add the columns of streamed tables (StorageClass, LastUpdated,
                BlobStorageSize, Type).
        """
        self._limits = limits
        self._source_store = source_store
        self._stream = stream
        self._seen: _Seen = {}

    @property
    def schema(self) -> Schema:
        """The columns of the rows so far."""
        return _fields_of(self._seen, True)

    def row(self, instance: Mapping[str, Any]) -> Row:
        """Return the row of an instance, given its index row."""
        metadata = instance["Metadata"]
        dataset = orjson.loads(metadata)
        walk = _Walk(self._limits, zone_of(dataset.get(_TIMEZONE, {}).get("Value")))
        if 0 < self._limits.sequence_size < len(metadata):
            for dropped in drop_large(dataset, self._limits.sequence_size):
                walk.drop(dropped)
        record = walk.record(dataset, self._seen, "", 1)
        if walk.dropped:
            record["DroppedTags"] = [{"TagName": name} for name in walk.dropped]
            self._seen["DroppedTags"] = DROPPED_TAGS
        if self._source_store:
            record["SourceDicomStore"] = self._source_store
            self._seen["SourceDicomStore"] = _SOURCE_STORE
        if self._stream:
            record["StorageClass"] = STORAGE_CLASS
            record["LastUpdated"] = timestamp_text(instance["LastUpdated"])
            record["BlobStorageSize"] = instance["BlobStorageSize"]
            record["Type"] = TYPE_OF_NEW_INSTANCE
            self._seen.update((field.name, field) for field in _STREAM_COLUMNS)
        return Row(orjson.dumps(record), tuple(walk.warnings))


def merge_flattened(*schemas: Schema) -> Schema:
    """Return the union of flattened schemas, its columns in tag order."""
    return merge(schemas, order_of)


class _Walk:
    """One pass over the elements of an instance."""

    def __init__(self, limits: Limits, zone: str) -> None:
        self._limits = limits
        self._zone = zone
        self.warnings: dict[RowWarning, None] = {}
        self.dropped: dict[str, None] = {}

    def record(self, dataset: dict[str, Any], seen: _Seen, path: str, depth: int) -> dict[str, Any]:
        """Return the elements of a data set or item as a record, and add their columns to `seen`.

        The record names every column that the data set needs, also of empty values, so an empty
        record means that it needs no column.
        """
        record: dict[str, Any] = {}
        other: list[dict[str, Any]] = []
        for tag, element in dataset.items():
            vr = element["vr"]
            column = _COLUMNS.get(tag + vr) or _remembered(tag, vr)
            kind = column.kind
            if kind is Kind.VALUE:
                name = column.name
                if name not in seen:
                    seen[name] = column.field
                converted = self._converted(column, element, path + tag)
                if converted is UNFIT:
                    converted = [] if column.repeated else None
                    other.append(_other(tag, element))
                record[name] = converted
            elif kind is Kind.SEQUENCE:
                if depth <= self._limits.sequence_depth:
                    self._sequence(record, column, tag, element, seen, path, depth)
                elif element.get("Value"):
                    other += self._too_deep(column, tag, element, path)
            elif kind is Kind.OTHER:
                if not column.expected:
                    self._warn(path + tag, "SEQUENCE_EXPECTED")
                other.append(_other(tag, element))
            elif kind is Kind.REPEATING:
                seen[column.name] = column.field
                converted = self._converted(column, element, path + tag)
                if converted is UNFIT:
                    converted = [] if column.repeated else None
                    other.append(_other(tag, element))
                entry = {"Id": column.group, "Value": converted}
                record.setdefault(column.name, []).append(entry)
        if other:
            record["OtherElements"] = other
            seen["OtherElements"] = OTHER_ELEMENTS
        return record

    def _converted(self, column: Column, element: dict[str, Any], path: str) -> Any:
        """Return the column's value, or `UNFIT` after a warning."""
        values = element.get("Value")
        if values is None:
            if len(element) > 1:  # BulkDataURI or InlineBinary
                return self._warn(path, "BINARY_UNEXPECTED")
            return [] if column.repeated else None
        convert, zone = column.convert, self._zone
        if not column.repeated:
            if len(values) > 1:
                return self._warn(path, "VALUES_TOO_MANY")
            value = values[0] if values else None
            if value is None or value == "":
                return None
            converted = convert(value, zone)
        elif column.takes_empty:
            converted = [convert(value, zone) for value in values]
        else:  # arrays have no NULL, and leaving the value out would shift those after it
            converted = [UNFIT if value == "" else convert(value, zone) for value in values]
        if converted is UNFIT or (column.repeated and UNFIT in converted):
            return self._warn(path, "VALUE_UNFIT")
        return converted

    def _sequence(
        self,
        record: dict[str, Any],
        column: Column,
        tag: str,
        element: dict[str, Any],
        seen: _Seen,
        path: str,
        depth: int,
    ) -> None:
        items = element.get("Value")
        if not items:
            return
        if not column.expected:
            self._warn(path + tag, "SEQUENCE_UNEXPECTED")
        name = column.name
        inner = seen.get(name)
        if inner is None:
            inner = {}
        records = [self.record(item, inner, path + tag + ".", depth + 1) for item in items]
        # No engine has a RECORD without fields, so a sequence with only empty items adds no column.
        if any(records):
            seen[name] = inner
            record[name] = records

    def _too_deep(
        self, column: Column, tag: str, element: dict[str, Any], path: str
    ) -> list[dict[str, Any]]:
        """Return the entries of OtherElements for a sequence nested too deep for columns."""
        if self._limits.drops:
            names = [column_of(parent, "SQ").name for parent in path.split(".")[:-1]]
            warning = RowWarning(path + tag, "SEQUENCE_TOO_DEEP")
            self.drop(Dropped(".".join((*names, column.name)), warning))
            return []
        self._warn(path + tag, "SEQUENCE_AS_TEXT")
        # json, because orjson writes at most 254 levels.
        items = [json.dumps(item, ensure_ascii=False) for item in element["Value"]]
        return [{"Tag": f"Tag_{tag}", "Data": items}]

    def drop(self, dropped: Dropped) -> None:
        """Add a sequence that was left out to DroppedTags, with its warning."""
        self.dropped[dropped.name] = None
        self.warnings[dropped.warning] = None

    def _warn(self, tag: str, code: str) -> object:
        self.warnings[RowWarning(tag, code)] = None
        return UNFIT


def _remembered(tag: str, vr: str) -> Column:
    column = column_of(tag, vr)
    if len(_COLUMNS) < _MAX_COLUMNS:
        _COLUMNS[tag + vr] = column
    return column


def _other(tag: str, element: dict[str, Any]) -> dict[str, Any]:
    return {"Tag": f"Tag_{tag}", "Data": [text_of(value) for value in element.get("Value") or ()]}


def _fields_of(seen: _Seen, top_level: bool) -> Schema:
    return tuple(
        Field(name, "RECORD", REPEATED, _fields_of(entry, False))
        if isinstance(entry, dict)
        else entry
        for name, entry in sorted(seen.items(), key=lambda item: order_of(item[0], top_level))
    )
