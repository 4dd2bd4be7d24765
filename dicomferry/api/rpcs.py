"""Every method of the contract: its messages, its HTTP mapping and its handler.

It comes from the descriptors of the .proto files, and both gRPC and REST are built from it.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from google.api import annotations_pb2, http_pb2
from google.longrunning import operations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from dicomferry.api.access import Principal
from dicomferry.api.dicom_service import DicomService
from dicomferry.api.operations_service import OperationsService
from dicomferry.api.proto.generated import dicom_service_pb2

_DATASET = "projects/*/locations/*/datasets/*"
# Operations are a service of their own, whose annotations are for any API; these paths are those of
# the published discovery document, which lacks WaitOperation.
_OPERATIONS_HTTP = {
    "ListOperations": http_pb2.HttpRule(get=f"/v1/{{name={_DATASET}}}/operations"),
    "GetOperation": http_pb2.HttpRule(get=f"/v1/{{name={_DATASET}/operations/*}}"),
    "CancelOperation": http_pb2.HttpRule(
        post=f"/v1/{{name={_DATASET}/operations/*}}:cancel", body="*"
    ),
}


class Rpc(NamedTuple):
    """A method that can be called.

    Attributes:
        service: full name of its service.
        name: of the method.
        request_class: its request message.
        response_class: its response message.
        handler: function that answers it.
        http: its mapping in REST; None if it is not in REST.
    """

    service: str
    name: str
    request_class: Any
    response_class: Any
    handler: Callable[[Any, Principal], Any]
    http: http_pb2.HttpRule | None


def all_rpcs(dicom: DicomService, operations: OperationsService) -> list[Rpc]:
    """Return the methods of both services; the published API has no DeleteOperation."""
    dicom_methods = _service(dicom_service_pb2, "DicomService").methods
    operations_methods = _service(operations_pb2, "Operations").methods
    return [
        *(_rpc(method, dicom, _annotated(method)) for method in dicom_methods),
        *(
            _rpc(method, operations, _OPERATIONS_HTTP.get(method.name))
            for method in operations_methods
            if method.name != "DeleteOperation"
        ),
    ]


def _rpc(method: MethodDescriptor, service: Any, http: http_pb2.HttpRule | None) -> Rpc:
    return Rpc(
        method.containing_service.full_name,
        method.name,
        GetMessageClass(method.input_type),
        GetMessageClass(method.output_type),
        getattr(service, re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower()),
        http,
    )


def _annotated(method: MethodDescriptor) -> http_pb2.HttpRule:
    return method.GetOptions().Extensions[annotations_pb2.http]


def _service(module: Any, name: str) -> ServiceDescriptor:
    return module.DESCRIPTOR.services_by_name[name]
