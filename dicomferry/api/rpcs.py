"""Every method of the contract: its messages, its HTTP mapping and its handler.

It comes from the descriptors of the .proto files, and both gRPC and REST are built from it.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from google.api import annotations_pb2, http_pb2
from google.iam.v1 import iam_policy_pb2
from google.longrunning import operations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from dicomferry.api.access import Principal
from dicomferry.api.dataset_service import DatasetService
from dicomferry.api.dicom_service import DicomService
from dicomferry.api.operations_service import OperationsService
from dicomferry.api.policy_service import PolicyService
from dicomferry.api.proto.generated import dataset_service_pb2, dicom_service_pb2
from dicomferry.jobs.launch import JobRunner
from dicomferry.places import PlaceRules
from dicomferry.storage.base import Storage

_DATASET = "projects/*/locations/*/datasets/*"
_STORE = f"{_DATASET}/dicomStores/*"
# Services whose annotations are for any API; these paths are those of the published discovery
# document, which lacks WaitOperation.
_SHARED_HTTP = {
    "ListOperations": http_pb2.HttpRule(get=f"/v1/{{name={_DATASET}}}/operations"),
    "GetOperation": http_pb2.HttpRule(get=f"/v1/{{name={_DATASET}/operations/*}}"),
    "CancelOperation": http_pb2.HttpRule(
        post=f"/v1/{{name={_DATASET}/operations/*}}:cancel", body="*"
    ),
    "GetIamPolicy": http_pb2.HttpRule(
        get=f"/v1/{{resource={_DATASET}}}:getIamPolicy",
        additional_bindings=[http_pb2.HttpRule(get=f"/v1/{{resource={_STORE}}}:getIamPolicy")],
    ),
    **{
        method: http_pb2.HttpRule(
            post=f"/v1/{{resource={_DATASET}}}:{verb}",
            body="*",
            additional_bindings=[
                http_pb2.HttpRule(post=f"/v1/{{resource={_STORE}}}:{verb}", body="*")
            ],
        )
        for method, verb in (
            ("SetIamPolicy", "setIamPolicy"),
            ("TestIamPermissions", "testIamPermissions"),
        )
    },
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

    @property
    def full_name(self) -> str:
        """The name with its service, as gRPC has it on the wire."""
        return f"{self.service}/{self.name}"


class Handlers:
    """Who answers: one object for each service.

    Attributes:
        datasets: of DatasetService.
        dicom: of DicomService.
        operations: of google.longrunning.Operations.
        policies: of google.iam.v1.IAMPolicy.
    """

    def __init__(
        self, root: Storage, rules: PlaceRules, runner: JobRunner | None = None, url: str = ""
    ) -> None:
        """Serve what is below a root.

        Args:
            root: where stores are.
            rules: for the places that requests name.
            runner: where jobs run; default: as processes on this machine, any number at once.
            url: of the server, for links to its page.
        """
        self.datasets = DatasetService(root, runner, url)
        self.dicom = DicomService(root, rules, runner, url)
        self.operations = OperationsService(root, url)
        self.policies = PolicyService(root)


def all_rpcs(handlers: Handlers) -> list[Rpc]:
    """Return the methods of all services; the published API has no DeleteOperation."""
    dataset_methods = _service(dataset_service_pb2, "DatasetService").methods
    dicom_methods = _service(dicom_service_pb2, "DicomService").methods
    operations_methods = _service(operations_pb2, "Operations").methods
    policy_methods = _service(iam_policy_pb2, "IAMPolicy").methods
    return [
        *(_rpc(method, handlers.datasets, _annotated(method)) for method in dataset_methods),
        *(_rpc(method, handlers.dicom, _annotated(method)) for method in dicom_methods),
        *(
            _rpc(method, handlers.operations, _SHARED_HTTP.get(method.name))
            for method in operations_methods
            if method.name != "DeleteOperation"
        ),
        *(_rpc(method, handlers.policies, _SHARED_HTTP[method.name]) for method in policy_methods),
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
