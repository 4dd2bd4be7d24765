"""Every field of a request that names a place has a rule: by server, by token, by permission."""

import functools
import itertools
from typing import NamedTuple
from unittest.mock import patch

import pytest
from google.iam.v1 import iam_policy_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.rpc.code_pb2 import PERMISSION_DENIED

from dicomferry.api.access import Grant, Principal
from dicomferry.api.errors import ApiError
from dicomferry.api.rpcs import Handlers, all_rpcs
from dicomferry.jobs import launch
from dicomferry.operations.folder import OperationFolder
from dicomferry.places import Access, Bounds, PlaceRules, parse_places
from dicomferry.resource_names import parse_store
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store
from tests.api.serving import DATASET, TRIAL

FILES = ("{folder}/x", "file://{folder}/x", "gs://bucket-{letter}/x")
TABLES = (
    "duckdb:{folder}/x.duckdb#t",
    "delta:{folder}/table",
    "delta:gs://bucket-{letter}/table",
    "bq://project-{letter}.d.t",
)
TOPICS = ("projects/project-{letter}/topics/t",)
_STORES = "healthcare.dicomStores."
_DELIVERIES = {
    "stream_configs.bigquery_destination.table_uri": TABLES,
    "notification_config.pubsub_topic": TOPICS,
    "notification_configs.pubsub_topic": TOPICS,
}
# Field: what it is a place for, its spellings, and the permissions that naming one takes.
PLACES = {
    "ImportDicomDataRequest.gcs_source.uri": (Access.READ, FILES, ("import",)),
    "ExportDicomDataRequest.gcs_destination.uri_prefix": (Access.WRITE, FILES, ("export",)),
    "ExportDicomDataRequest.bigquery_destination.table_uri": (Access.WRITE, TABLES, ("export",)),
    "ExportDicomDataRequest.filter_config.resource_paths_gcs_uri": (
        Access.READ,
        FILES,
        ("export",),
    ),
    **{
        f"{method}DicomStoreRequest.dicom_store.{field}": (
            Access.WRITE,
            spellings,
            (method.lower(), "export"),
        )
        for method in ("Create", "Update")
        for field, spellings in _DELIVERIES.items()
    },
}
# All other fields of text. One that is added is a place, or it is listed here.
NO_PLACES = {
    # Names, which permissions are for.
    *(f"{method}Request.name" for method in (
        "GetDataset", "DeleteDataset", "GetDicomStore", "DeleteDicomStore", "GetDicomStoreMetrics",
        "ImportDicomData", "ExportDicomData", "GetOperation", "WaitOperation", "ListOperations",
        "CancelOperation")),
    *(f"{method}Request.parent" for method in (
        "CreateDataset", "ListDatasets", "CreateDicomStore", "ListDicomStores")),
    *(f"{method}IamPolicyRequest.resource" for method in ("Get", "Set")),
    "TestIamPermissionsRequest.resource",
    *(f"{method}DatasetRequest.dataset.name" for method in ("Create", "Update")),
    *(f"{method}DicomStoreRequest.dicom_store.name" for method in ("Create", "Update")),
    "CreateDatasetRequest.dataset_id",
    "CreateDicomStoreRequest.dicom_store_id",
    # Pages, filters, masks, labels.
    *(f"List{kind}Request.page_token" for kind in ("Datasets", "DicomStores", "Operations")),
    *(f"List{kind}Request.filter" for kind in ("DicomStores", "Operations")),
    *(f"Update{kind}Request.update_mask.paths" for kind in ("Dataset", "DicomStore")),
    *(f"{method}DicomStoreRequest.dicom_store.labels.{part}"
      for method in ("Create", "Update") for part in ("key", "value")),
    *(f"{method}DatasetRequest.dataset.time_zone" for method in ("Create", "Update")),
    "ExportDicomDataRequest.gcs_destination.mime_type",
    "TestIamPermissionsRequest.permissions",
    # Refused, whatever they say.
    *(f"{method}DatasetRequest.dataset.encryption_spec.kms_key_name"
      for method in ("Create", "Update")),
    *(f"SetIamPolicyRequest.{field}" for field in (
        "policy.bindings.role", "policy.bindings.members", "policy.etag", "update_mask.paths",
        "policy.bindings.condition.expression", "policy.bindings.condition.title",
        "policy.bindings.condition.description", "policy.bindings.condition.location",
        "policy.audit_configs.service", "policy.audit_configs.audit_log_configs.exempted_members",
    )),
}  # fmt: skip
_numbers = itertools.count()


def texts_of(message, path):
    """The paths of all fields of text in a message."""
    for field in message.fields:
        here = f"{path}.{field.name}"
        if field.message_type is not None:
            yield from texts_of(field.message_type, here)
        elif field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
            yield here


def test_every_field_of_text_is_a_place_with_a_rule_or_known_to_be_none(root):
    rpcs = all_rpcs(Handlers(root, PlaceRules(Bounds.of_server())))
    fields = {
        path
        for rpc in rpcs
        for path in texts_of(rpc.request_class.DESCRIPTOR, rpc.request_class.DESCRIPTOR.name)
    }
    assert fields == NO_PLACES | set(PLACES)
    assert not NO_PLACES & set(PLACES)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A root with a store, and a folder for each letter."""
    folder = tmp_path_factory.mktemp("disk")
    for letter in "abc":
        (folder / letter).mkdir()
        (folder / letter / "x").touch()
    root = open_storage(str(folder / "root"))
    create_store(root, parse_store(TRIAL))
    return folder, root


def spelled(text, letter, disk):
    return text.format(letter=letter, folder=f"{disk[0]}/{letter}")


def all_of(letters, disk):
    """Flags that allow all places of some letters."""
    forms = ("{folder}", "gs://bucket-{letter}", "bq://project-{letter}")
    forms += ("projects/project-{letter}/topics",)
    return [spelled(form, letter, disk) for letter in letters for form in forms]


def request_of(handlers, field, place, disk):
    """A handler, and a request whose only doubtful place is in a field; c is always allowed."""
    message, _, path = field.partition(".")
    [rpc] = [rpc for rpc in all_rpcs(handlers) if rpc.request_class.DESCRIPTOR.name == message]
    request = rpc.request_class()
    if message.startswith("Create"):
        request.parent, request.dicom_store_id = DATASET, f"new-{next(_numbers)}"
    elif message.startswith("Update"):
        request.dicom_store.name = TRIAL
        request.update_mask.paths.append(path.split(".")[1])
    else:
        request.name = TRIAL
    if path.startswith("filter_config"):
        request.gcs_destination.uri_prefix = f"{disk[0]}/c/out"
    at = request
    *parents, last = path.split(".")
    for name in parents:
        at = getattr(at, name)
        if hasattr(at, "add"):
            at = at.add()
    setattr(at, last, place)
    return rpc, request


def code_of(call, *arguments):
    try:
        call(*arguments)
    except ApiError as error:
        return error.code
    return 0


class Case(NamedTuple):
    """Who allows place a of the access that a field has: the server, the token, permissions."""

    server: bool = True
    token: bool = True
    lacks: str = ""


def cases_of(field):
    """The case in which all allow it, and those in which one of them does not."""
    return [
        Case(),
        Case(server=False),
        Case(token=False),
        *(Case(lacks=p) for p in PLACES[field][2]),
    ]


def flags_of(field, is_allowed, disk):
    """Lists of places to read and to write; what is not allowed is so for the other access."""
    access, other = PLACES[field][0], {Access.READ: Access.WRITE, Access.WRITE: Access.READ}
    letters = {access: "a" if is_allowed else "b", other[access]: "b" if is_allowed else "a"}
    return {str(each): all_of([*letters[each], "c"], disk) for each in Access}


@pytest.mark.parametrize("field", sorted(PLACES))
def test_a_place_is_let_through_if_server_token_and_permissions_all_say_so(disk, field):
    _, spellings, needed = PLACES[field]
    for spelling, case in itertools.product(spellings, cases_of(field)):
        rules = PlaceRules(Bounds.of_server(**flags_of(field, case.server, disk)), root=disk[1])
        places = flags_of(field, case.token, disk)
        bounds = Bounds(parse_places(places["read"], "x"), parse_places(places["write"], "x"))
        permissions = tuple(_STORES + each for each in needed if each != case.lacks)
        principal = Principal("p", (Grant(permissions, (DATASET,)),), bounds)
        handlers = Handlers(disk[1], rules)
        rpc, request = request_of(handlers, field, spelled(spelling, "a", disk), disk)
        started = []
        with patch.object(launch, "start", functools.partial(start, started, disk[1])):
            code = code_of(rpc.handler, request, principal)
        is_allowed = case == Case()
        assert code == (0 if is_allowed else PERMISSION_DENIED), (spelling, case)
        # What callers are told of their permissions is what counts.
        ask = iam_policy_pb2.TestIamPermissionsRequest(
            resource=TRIAL, permissions=[_STORES + each for each in needed]
        )
        told = handlers.policies.test_iam_permissions(ask, principal).permissions
        assert tuple(told) == permissions
        assert len(started) == (is_allowed and "DicomData" in field)


def start(started, root, job, _runner, _principal):
    """Stand in for `launch.start`."""
    started.append(job)
    folder = OperationFolder(root, job.store.parent, f"op-{next(_numbers)}")
    folder.start(job.store, job.method)
    return folder


@pytest.mark.parametrize("field", sorted(field for field in PLACES if "DicomData" in field))
def test_a_job_gets_the_bounds_of_its_server_and_its_token(disk, field):
    everything = all_of("abc", disk)
    server = Bounds.of_server(read=everything, write=everything)
    own = parse_places(all_of("ac", disk), "x")
    principal = Principal("p", (Grant(("*",), ("*",)),), Bounds(own, own))
    handlers = Handlers(disk[1], PlaceRules(server, root=disk[1]))
    rpc, request = request_of(handlers, field, spelled(PLACES[field][1][0], "a", disk), disk)
    started = []
    with patch.object(launch, "start", functools.partial(start, started, disk[1])):
        rpc.handler(request, principal)
    [job] = started
    assert set(job.bounds.read.folders) == set(own.folders)
    assert set(job.bounds.read.remote) == set(own.remote)
    # Who imports does not choose where the streams and topics of the store are.
    writes = server.write if field.startswith("Import") else own
    assert set(job.bounds.write.folders) == set(writes.folders)
    assert set(job.bounds.write.remote) == set(writes.remote)


@pytest.mark.parametrize(
    ("mask", "change", "code"),
    [
        ("labels", {"labels": {"a": "b"}}, 0),
        ("stream_configs", {}, 0),  # to end a delivery needs no more
        ("notification_configs", {}, 0),
        ("notification_config.send_for_bulk_import",
         {"notification_config": {"send_for_bulk_import": True}}, PERMISSION_DENIED),
        ("notificationConfig.pubsubTopic",
         {"notification_config": {"pubsub_topic": "projects/p/topics/t"}}, PERMISSION_DENIED),
        ("labels", {"notification_configs": [{"pubsub_topic": "projects/p/topics/t"}]}, 0),
    ],
)  # fmt: skip
def test_an_update_alone_never_sends_metadata_elsewhere(disk, mask, change, code):
    handlers = Handlers(disk[1], PlaceRules(Bounds.of_server(), root=disk[1]))
    [rpc] = [rpc for rpc in all_rpcs(handlers) if rpc.name == "UpdateDicomStore"]
    request = rpc.request_class(
        dicom_store={"name": TRIAL, **change}, update_mask={"paths": [mask]}
    )
    updater = Principal("u", (Grant((_STORES + "update",), (DATASET,)),))
    assert code_of(rpc.handler, request, updater) == code
