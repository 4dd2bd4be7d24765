"""Resources as they lie in stores, proto JSON, and the messages of the contract."""

from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import json_format

# Operations hold messages of the contract, which are found by their names once imported.
from dicomferry.api.proto.generated import dicom_service_pb2, operation_metadata_pb2  # noqa: F401
from dicomferry.operations.operations import Operation
from dicomferry.store.dicom_store import Resource

_OPERATION_FIELDS = ("name", "metadata", "done", "error", "response")


def store_message(resource: Resource) -> Any:
    """The DicomStore message of a store's resource."""
    return json_format.ParseDict(resource, dicom_service_pb2.DicomStore())


def store_resource(message: Any) -> Resource:
    """A DicomStore message as a store keeps it."""
    resource: Resource = json_format.MessageToDict(message)
    return resource


def operation_message(operation: Operation) -> Any:
    """The google.longrunning.Operation of an operation's record, without what is only ours."""
    shown = {name: operation[name] for name in _OPERATION_FIELDS if name in operation}
    return json_format.ParseDict(shown, operations_pb2.Operation())
