"""Conversion between resources as stores keep them, proto JSON, and messages of the contract."""

import dataclasses
import re
from typing import Any
from urllib.parse import quote

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2, json_format  # noqa: F401

# Operations hold messages of the contract, which are found by their names once imported.
from dicomferry.api.proto.generated import (
    dataset_service_pb2,
    dicom_service_pb2,
    error_details_pb2,  # noqa: F401
    operation_metadata_pb2,  # noqa: F401
)
from dicomferry.operations.record import OperationRecord
from dicomferry.storage.registry import in_bucket
from dicomferry.store.dicom_store import Resource

# An error of the system, and the files that it names.
_OF_SYSTEM = re.compile(r"(\[Errno \d+\] [^:]+): b?'[^']*'(?: -> b?'[^']*')?")


def store_message(resource: Resource) -> Any:
    """Return the DicomStore message of a store's resource, which a later version may have made."""
    message = dicom_service_pb2.DicomStore()
    return json_format.ParseDict(resource, message, ignore_unknown_fields=True)


def store_resource(message: Any) -> Resource:
    """Return a DicomStore message as a store keeps it."""
    resource: Resource = json_format.MessageToDict(message)
    return resource


def dataset_message(resource: Resource) -> Any:
    """Return the Dataset message of a resource, which a later version may have made."""
    message = dataset_service_pb2.Dataset()
    return json_format.ParseDict(resource, message, ignore_unknown_fields=True)


def dataset_resource(message: Any) -> Resource:
    """Return a Dataset message as it is kept, without what the server sets."""
    kept = dataset_service_pb2.Dataset()
    kept.CopyFrom(message)
    for field in ("satisfies_pzs", "satisfies_pzi"):
        kept.ClearField(field)
    resource: Resource = json_format.MessageToDict(kept)
    return resource


def operation_message(record: OperationRecord, url: str = "") -> Any:
    """Return the google.longrunning.Operation of a record, as callers elsewhere can use it.

    Args:
        record: of the operation.
        url: of the server, whose page stands for a folder of this machine; '' for paths alone.
    """
    fields = without_folders(record, url).api_fields()
    return json_format.ParseDict(fields, operations_pb2.Operation(), ignore_unknown_fields=True)


def without_folders(record: OperationRecord, url: str = "") -> OperationRecord:
    """Return a record whose texts name no folder of this machine, for callers elsewhere.

    Args:
        record: of the operation.
        url: of the server, whose page stands for a folder of this machine; '' for paths alone.
    """
    folder = record.metadata.logs_url
    if in_bucket(folder):
        return record
    page = f"{url}/console/{quote(record.name)}"
    # What stands below the root is nobody's business.
    root = folder.removesuffix(f"/{record.store.parent.folder}/operations/{record.id}")

    def told(text: str) -> str:
        text = text.replace(f"{folder}/outcomes-*.jsonl", f"{page}/outcomes.jsonl")
        text = _OF_SYSTEM.sub(r"\1", text.replace(f"{folder}/*-errors-*.jsonl", page))
        return text.replace(root, "ROOT") if root != folder else text

    lagging = tuple(each._replace(message=told(each.message)) for each in record.metadata.lagging)
    return dataclasses.replace(
        record,
        metadata=dataclasses.replace(record.metadata, logs_url=page, lagging=lagging),
        error=record.error and record.error._replace(message=told(record.error.message)),
    )
