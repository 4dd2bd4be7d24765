"""The contract: the committed code is what the .proto files make, and Google's own description
of the API, the discovery document of google-api-python-client, names the same."""

import json
import re
from pathlib import Path

import googleapiclient
import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor import FieldDescriptor

from dicomferry.api import access
from dicomferry.api.access.permissions import permissions_of_methods
from dicomferry.api.proto import generate
from dicomferry.api.proto.generated import (
    dataset_service_pb2,
    dicom_service_pb2,
    operation_metadata_pb2,
)
from dicomferry.api.rest.http_rule import routes_of
from dicomferry.api.rpcs import Handlers, all_rpcs
from dicomferry.places import Bounds, PlaceRules

GENERATED = Path(generate.__file__).parent / "generated"
DISCOVERY = json.loads(
    (
        Path(googleapiclient.__file__).parent / "discovery_cache/documents/healthcare.v1.json"
    ).read_text()
)
# Where the discovery document, which has one space of names for the whole API, calls it otherwise.
RENAMED = {
    "StreamConfig": "GoogleCloudHealthcareV1DicomStreamConfig",
    "GcsSource": "GoogleCloudHealthcareV1DicomGcsSource",
    "GcsDestination": "GoogleCloudHealthcareV1DicomGcsDestination",
    "BigQueryDestination": "GoogleCloudHealthcareV1DicomBigQueryDestination",
}
# Not of the published API: clients leave out what they do not know.
OWN_FIELDS = {"OperationMetadata": {"request", "placeInQueue", "lagging"}}
OWN_MESSAGES = {"OperationRequest"}
POLICY_KINDS = ("datasets", "dicomStores")
# Their fields are parameters of URLs there.
OF_URLS = re.compile("(Create|Get|List|Update|Delete).*Request")
MESSAGES = [
    message
    for module in (dataset_service_pb2, dicom_service_pb2, operation_metadata_pb2)
    for message in module.DESCRIPTOR.message_types_by_name.values()
    if not OF_URLS.fullmatch(message.name) and message.name not in OWN_MESSAGES
]
# By the messages of requests.
PARTS_OF_URLS = {
    method.input_type.name: re.findall(
        r"\{(\w+)=", str(method.GetOptions().Extensions[annotations_pb2.http])
    )
    for method in dicom_service_pb2.DESCRIPTOR.services_by_name["DicomService"].methods
}


def schema_of(message):
    return DISCOVERY["schemas"][RENAMED.get(message.name, message.name)].get("properties", {})


def discovered_methods():
    datasets = DISCOVERY["resources"]["projects"]["resources"]["locations"]["resources"]["datasets"]
    return {
        name: method
        for resource, of_it in (
            ("datasets", datasets),
            ("dicomStores", datasets["resources"]["dicomStores"]),
            ("operations", datasets["resources"]["operations"]),
        )
        for name, method in (
            (f"{resource}.{name}", method) for name, method in of_it["methods"].items()
        )
    }


@pytest.fixture
def rpcs(root):
    return all_rpcs(Handlers(root, PlaceRules(Bounds.of_server())))


def test_the_committed_code_is_what_the_proto_files_make(tmp_path):
    (tmp_path / "dicomferry/api/proto/generated").mkdir(parents=True)
    assert generate.generate(tmp_path) == 0
    made = {path.name: path.read_text() for path in tmp_path.rglob("*_pb2*")}
    assert made == {path.name: path.read_text() for path in GENERATED.glob("*_pb2*.py*")}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_messages_have_the_fields_of_the_published_api(message):
    schema = schema_of(message)
    fields = {field.json_name: field for field in message.fields}
    if message.name.endswith("Request"):
        for name in PARTS_OF_URLS[message.name]:
            fields.pop(name)
    own = OWN_FIELDS.get(message.name, set())
    assert set(fields) == set(schema) | own
    for name, field in fields.items():
        if name in own:
            assert field.number > 1000, "the published API may number its fields on"
            continue
        published = schema[name]
        if field.type == FieldDescriptor.TYPE_INT64:
            assert (published["type"], published["format"]) == ("string", "int64")
        if field.enum_type:
            assert published["enum"] == field.enum_type.values_by_name.keys()
        is_map = field.message_type and field.message_type.GetOptions().map_entry
        assert (published.get("type") == "array") == (bool(field.is_repeated) and not is_map)


def test_routes_are_those_of_the_published_api(rpcs):
    published = discovered_methods()
    served = {}
    for route in routes_of(rpcs):
        # A store's own path fits any verb too, as an id may hold ':'; verbs come first.
        places = {
            name
            for name, method in published.items()
            if method["httpMethod"] == route.method
            and route.path.fullmatch("/" + re.sub(r"\{\w+\}", "x", method["flatPath"]))
            and bool(method["flatPath"].partition(":")[2]) == route.has_verb
        }
        served[route.rpc.name] = served.get(route.rpc.name, set()) | places
    assert served == {
        "CreateDataset": {"datasets.create"},
        "GetDataset": {"datasets.get"},
        "ListDatasets": {"datasets.list"},
        "UpdateDataset": {"datasets.patch"},
        "DeleteDataset": {"datasets.delete"},
        "CreateDicomStore": {"dicomStores.create"},
        "GetDicomStore": {"dicomStores.get"},
        "ListDicomStores": {"dicomStores.list"},
        "UpdateDicomStore": {"dicomStores.patch"},
        "DeleteDicomStore": {"dicomStores.delete"},
        "ImportDicomData": {"dicomStores.import"},
        "ExportDicomData": {"dicomStores.export"},
        "GetDicomStoreMetrics": {"dicomStores.getDICOMStoreMetrics"},
        "GetOperation": {"operations.get"},
        "ListOperations": {"operations.list"},
        "CancelOperation": {"operations.cancel"},
        **{
            method: {f"{kind}.{method[0].lower()}{method[1:]}" for kind in POLICY_KINDS}
            for method in ("GetIamPolicy", "SetIamPolicy", "TestIamPermissions")
        },
    }


def test_every_method_needs_a_permission_that_tokens_can_have(rpcs):
    needed = permissions_of_methods()
    assert {rpc.name for rpc in rpcs} == set(needed)
    assert {each for permissions in needed.values() for each in permissions} <= set(
        access.ALL_PERMISSIONS
    )
