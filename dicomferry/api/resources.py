"""Conversion between resources as stores keep them, proto JSON, and messages of the contract."""

from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2, json_format  # noqa: F401

# Operations hold messages of the contract, which are found by their names once imported.
from dicomferry.api.proto.generated import (
    dataset_service_pb2,
    dicom_service_pb2,
    operation_metadata_pb2,  # noqa: F401
)
from dicomferry.operations.record import OperationRecord
from dicomferry.store.dicom_store import Resource


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


def operation_message(record: OperationRecord) -> Any:
    """Return the google.longrunning.Operation of a record."""
    return json_format.ParseDict(record.api_fields(), operations_pb2.Operation())
