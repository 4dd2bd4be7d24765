"""A gRPC client made from the published proto, with the operations client of google.api_core."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.api_core import exceptions, operation
from google.api_core.operations_v1 import OperationsClient
from google.iam.v1 import iam_policy_pb2
from google.iam.v1.iam_policy_pb2_grpc import IAMPolicyStub
from google.longrunning import operations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, field_mask_pb2

from dicomferry.api.access import make_token
from dicomferry.api.grpc import reflection
from dicomferry.api.grpc.server import MAX_MESSAGE_BYTES
from dicomferry.api.proto.generated import dataset_service_pb2
from dicomferry.api.proto.generated import dicom_service_pb2 as pb
from dicomferry.api.proto.generated.dataset_service_pb2_grpc import DatasetServiceStub
from dicomferry.api.proto.generated.dicom_service_pb2_grpc import DicomServiceStub
from dicomferry.api.proto.generated.operation_metadata_pb2 import OperationMetadata
from dicomferry.operations.folder import start_operation
from dicomferry.operations.owner import Owner
from dicomferry.resource_names import parse_store
from dicomferry.store.dicom_store import get_store
from tests.api.serving import DATASET, TRIAL, serving
from tests.factories import dicom_bytes
from tests.pipelines.jobs import images, write_files

CREATE = pb.CreateDicomStoreRequest(parent=DATASET, dicom_store_id="trial")


@pytest.fixture
def files(tmp_path):
    """A folder that requests may name."""
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


@pytest.fixture
def channel(root, files):
    with (
        serving(root, allow_path=(str(files),)) as ports,
        grpc.insecure_channel(ports.grpc) as opened,
    ):
        yield opened


@pytest.fixture
def stub(channel):
    return DicomServiceStub(channel)


@pytest.fixture
def operations_client(channel):
    return OperationsClient(channel)


def refused(call, code):
    """What is said of a call that must fail with a code."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() == code
    return caught.value.details()


def polled(started, client, response):
    """An operation as google.api_core follows it."""
    return operation.from_gapic(started, client, response, metadata_type=OperationMetadata)


def running(root):
    """An operation that runs, as far as can be told."""
    return start_operation(
        root, parse_store(TRIAL), "ImportDicomData", "op-1", Owner.this_process()
    )


def test_a_dataset_and_what_its_caller_may(channel):
    datasets, policies = DatasetServiceStub(channel), IAMPolicyStub(channel)
    location, _, dataset_id = DATASET.partition("/datasets/")
    given = dataset_service_pb2.Dataset(time_zone="UTC")
    made = datasets.CreateDataset(
        dataset_service_pb2.CreateDatasetRequest(
            parent=location, dataset_id=dataset_id, dataset=given
        )
    )
    unpacked = dataset_service_pb2.Dataset()
    assert made.done
    assert made.response.Unpack(unpacked)
    assert unpacked == dataset_service_pb2.Dataset(name=DATASET, time_zone="UTC")
    listed = datasets.ListDatasets(dataset_service_pb2.ListDatasetsRequest(parent=location))
    assert list(listed.datasets) == [unpacked]
    asked = ["healthcare.datasets.update", "healthcare.datasets.deidentify"]
    allowed = policies.TestIamPermissions(
        iam_policy_pb2.TestIamPermissionsRequest(resource=DATASET, permissions=asked)
    )
    assert list(allowed.permissions) == asked[:1]
    with pytest.raises(grpc.RpcError) as caught:
        policies.GetIamPolicy(iam_policy_pb2.GetIamPolicyRequest(resource="projects/p"))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_store_lives_from_creation_to_deletion(stub, root):
    made = stub.CreateDicomStore(
        pb.CreateDicomStoreRequest(
            parent=DATASET, dicom_store_id="trial", dicom_store={"labels": {"site": "north"}}
        )
    )
    assert made == pb.DicomStore(name=TRIAL, labels={"site": "north"})
    assert stub.GetDicomStore(pb.GetDicomStoreRequest(name=TRIAL)) == made
    changed = stub.UpdateDicomStore(
        pb.UpdateDicomStoreRequest(
            dicom_store={"name": TRIAL, "labels": {"new": "x"}},
            update_mask=field_mask_pb2.FieldMask(paths=["labels.new"]),
        )
    )
    assert changed.labels == {"site": "north", "new": "x"}
    page = stub.ListDicomStores(pb.ListDicomStoresRequest(parent=DATASET, filter="labels.new=x"))
    assert list(page.dicom_stores) == [changed]
    metrics = stub.GetDicomStoreMetrics(pb.GetDicomStoreMetricsRequest(name=TRIAL))
    assert metrics == pb.DicomStoreMetrics(name=TRIAL)
    stub.DeleteDicomStore(pb.DeleteDicomStoreRequest(name=TRIAL))
    gone = refused(
        lambda: stub.GetDicomStore(pb.GetDicomStoreRequest(name=TRIAL)), grpc.StatusCode.NOT_FOUND
    )
    assert gone == f"{TRIAL} does not exist"


@pytest.mark.slow
def test_an_import_and_an_export_are_followed_to_their_ends(
    stub, operations_client, files, root, tmp_path
):
    stub.CreateDicomStore(CREATE)
    source = write_files(files, images(4))
    started = stub.ImportDicomData(
        pb.ImportDicomDataRequest(name=TRIAL, gcs_source={"uri": source})
    )
    imported = polled(started, operations_client, pb.ImportDicomDataResponse)
    assert imported.result(timeout=90) == pb.ImportDicomDataResponse()
    assert imported.metadata.counter.success == 4
    assert imported.metadata.api_method_name.endswith("DicomService.ImportDicomData")
    assert imported.metadata.end_time.ToDatetime() >= imported.metadata.create_time.ToDatetime()
    out = files / "out"
    started = stub.ExportDicomData(
        pb.ExportDicomDataRequest(
            name=TRIAL, gcs_destination={"uri_prefix": str(out), "mime_type": "image/png"}
        )
    )
    exported = polled(started, operations_client, pb.ExportDicomDataResponse)
    assert exported.result(timeout=90) == pb.ExportDicomDataResponse()
    assert len(list(out.rglob("*.png"))) == 4
    metrics = stub.GetDicomStoreMetrics(pb.GetDicomStoreMetricsRequest(name=TRIAL))
    assert metrics.instance_count == 4
    names = [o.name for o in operations_client.list_operations(DATASET, "")]
    assert names == [exported.operation.name, imported.operation.name]


@pytest.mark.slow
def test_failed_files_end_an_import_with_an_error_that_tells_how_many(
    stub, operations_client, files
):
    stub.CreateDicomStore(CREATE)
    source = write_files(files, {"a.dcm": dicom_bytes(), "b.txt": b"text" * 99})
    started = stub.ImportDicomData(
        pb.ImportDicomDataRequest(name=TRIAL, gcs_source={"uri": source})
    )
    imported = polled(started, operations_client, pb.ImportDicomDataResponse)
    with pytest.raises(exceptions.GoogleAPICallError, match="1 of 2 files failed"):
        imported.result(timeout=90)
    assert (imported.metadata.counter.success, imported.metadata.counter.failure) == (1, 1)


def test_waiting_ends_when_the_operation_does_and_not_much_after_its_timeout(stub, channel, root):
    stub.CreateDicomStore(CREATE)
    folder = running(root)
    wait = channel.unary_unary(
        "/google.longrunning.Operations/WaitOperation",
        operations_pb2.WaitOperationRequest.SerializeToString,
        operations_pb2.Operation.FromString,
    )
    brief = duration_pb2.Duration(nanos=1000)
    request = operations_pb2.WaitOperationRequest(name=folder.name, timeout=brief)
    assert not wait(request).done
    # More wait than there are threads to hold them: those beyond are answered at once.
    patient = operations_pb2.WaitOperationRequest(name=folder.name)
    with ThreadPoolExecutor(24) as threads:
        answers = [threads.submit(wait, patient) for _ in range(24)]
        record = folder.read()
        record.finish(1, "cancelled")
        folder.write(record)
        assert any(answer.result().done for answer in answers)


def test_an_operation_can_be_asked_to_end(stub, operations_client, root):
    stub.CreateDicomStore(CREATE)
    folder = running(root)
    operations_client.cancel_operation(folder.name)
    assert folder.is_cancel_requested()
    with pytest.raises(exceptions.NotFound):
        operations_client.get_operation(f"{DATASET}/operations/missing")
    with pytest.raises(exceptions.InvalidArgument):
        operations_client.get_operation("operations/missing")
    with pytest.raises(exceptions.MethodNotImplemented):
        operations_client.delete_operation(folder.name)


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("GetDicomStore", pb.GetDicomStoreRequest()),
        ("GetDicomStore", pb.GetDicomStoreRequest(name="trial")),
        ("GetDicomStore", pb.GetDicomStoreRequest(name=f"{TRIAL}/x")),
        ("DeleteDicomStore", pb.DeleteDicomStoreRequest(name=DATASET)),
        ("CreateDicomStore", pb.CreateDicomStoreRequest(parent=DATASET)),
        ("CreateDicomStore", pb.CreateDicomStoreRequest(dicom_store_id="x")),
        ("CreateDicomStore", pb.CreateDicomStoreRequest(parent="p", dicom_store_id="x")),
        ("CreateDicomStore", pb.CreateDicomStoreRequest(parent=DATASET, dicom_store_id="a/b")),
        ("UpdateDicomStore", pb.UpdateDicomStoreRequest(dicom_store={"name": TRIAL})),
        ("UpdateDicomStore", pb.UpdateDicomStoreRequest(update_mask={"paths": ["labels"]})),
        ("ListDicomStores", pb.ListDicomStoresRequest(parent=DATASET, page_token="x")),
        ("ImportDicomData", pb.ImportDicomDataRequest(name=TRIAL)),
        (
            "ExportDicomData",
            pb.ExportDicomDataRequest(
                name=TRIAL,
                bigquery_destination={"table_uri": "bq://project1.d.t", "write_disposition": 9},
            ),
        ),
    ],
)
def test_wrong_requests_are_refused(stub, method, request_):
    stub.CreateDicomStore(CREATE)
    assert refused(lambda: getattr(stub, method)(request_), grpc.StatusCode.INVALID_ARGUMENT)


def test_messages_have_a_limit(stub):
    request = pb.CreateDicomStoreRequest(
        parent=DATASET, dicom_store_id="x", dicom_store={"labels": {"k": "x" * MAX_MESSAGE_BYTES}}
    )
    refused(lambda: stub.CreateDicomStore(request), grpc.StatusCode.RESOURCE_EXHAUSTED)


def test_many_updates_at_once_lose_nothing(stub, root):
    stub.CreateDicomStore(CREATE)

    def add(number):
        return stub.UpdateDicomStore(
            pb.UpdateDicomStoreRequest(
                dicom_store={"name": TRIAL, "labels": {f"k{number}": "x"}},
                update_mask={"paths": [f"labels.k{number}"]},
            )
        )

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(16)))
    kept = get_store(root, parse_store(TRIAL)).resource
    assert set(kept["labels"]) == {f"k{number}" for number in range(16)}


def test_an_error_has_its_details(stub):
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetDicomStore(pb.GetDicomStoreRequest(name=TRIAL))
    error = exceptions.from_grpc_error(caught.value)
    assert (error.reason, error.domain) == ("NOT_FOUND", "dicomferry")
    long = pb.ListDicomStoresRequest(parent="ü" * 5000)
    assert "ü" in refused(lambda: stub.ListDicomStores(long), grpc.StatusCode.INVALID_ARGUMENT)


def check_health(channel, service="", seconds=5):
    """The status that grpc.health.v1 says of a service; the request and answer as on the wire."""
    method = channel.unary_unary("/grpc.health.v1.Health/Check")
    text = service.encode()
    request = bytes([0x0A, len(text)]) + text if text else b""
    return method(request, timeout=seconds)


def test_health_is_told_to_everybody(root, tmp_path):
    path = tmp_path / "tokens"
    path.touch(0o600)
    _, entry = make_token("reader", ["healthcare.dicomStores.list"], [DATASET])
    path.write_text(json.dumps(entry))
    serving_ = b"\x08\x01"  # HealthCheckResponse.status = SERVING
    with serving(root, auth=str(path)) as ports, grpc.insecure_channel(ports.grpc) as channel:
        for service in ("", "google.cloud.healthcare.v1.dicom.DicomService"):
            assert check_health(channel, service) == serving_
        refused(lambda: check_health(channel, "other"), grpc.StatusCode.NOT_FOUND)
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
        refused(lambda: next(watch(b"", timeout=5)), grpc.StatusCode.UNIMPLEMENTED)


def reflect(channel, requests, version="v1", **options):
    """The answers of server reflection, by messages of the tests' own making."""
    request, response = reflection._message_classes()
    method = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=lambda fields: request(**fields).SerializeToString(),
        response_deserializer=response.FromString,
    )
    return list(method(iter(requests), timeout=10, **options))


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_services_describe_themselves_completely(channel, version):
    service = "google.cloud.healthcare.v1.dicom.DicomService"
    asked = [
        {"list_services": ""},
        {"file_containing_symbol": service},
        {"file_containing_symbol": f"{service}.GetDicomStore"},
        {"file_by_filename": "google/longrunning/operations.proto"},
        {"file_containing_symbol": "google.protobuf.Nothing"},
        {"file_by_filename": "dicomferry/reflection.proto"},
        {},
    ]
    listed, described, method, file, *errors = reflect(channel, asked, version)
    assert service in [each.name for each in listed.list_services_response.service]
    assert method.file_descriptor_response == described.file_descriptor_response
    assert file.file_descriptor_response.file_descriptor_proto
    assert [each.error_response.error_code for each in errors] == [5, 5, 12]
    pool = descriptor_pool.DescriptorPool()
    todo = [
        descriptor_pb2.FileDescriptorProto.FromString(each)
        for each in described.file_descriptor_response.file_descriptor_proto
    ]
    while todo:  # in the order of their dependencies
        names = {each.name for each in todo}
        ready = [each for each in todo if names.isdisjoint(each.dependency)]
        assert ready, "a file is missing"
        for each in ready:
            pool.Add(each)
        todo = [each for each in todo if each not in ready]
    methods = pool.FindServiceByName(service).methods_by_name
    assert methods["GetDicomStore"].output_type.full_name.endswith(".DicomStore")


def test_open_calls_of_reflection_leave_threads_to_others(channel):
    method = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    end = threading.Event()

    def asked():
        yield b"\x3a\x00"  # list_services
        end.wait(30)

    open_ = [method(asked()) for _ in range(4)]
    try:
        assert all(next(call) for call in open_)
        refused(lambda: next(method(asked())), grpc.StatusCode.RESOURCE_EXHAUSTED)
    finally:
        end.set()
    assert [list(call) for call in open_] == [[]] * 4
    assert next(method(asked()))


def test_services_describe_themselves_to_known_callers_alone(root, tmp_path):
    token, entry = make_token("reader", ["healthcare.dicomStores.list"], [DATASET])
    path = tmp_path / "tokens"
    path.touch(0o600)
    path.write_text(json.dumps(entry))
    with serving(root, auth=str(path)) as ports, grpc.insecure_channel(ports.grpc) as channel:
        asked = [{"list_services": "*"}]
        refused(lambda: reflect(channel, asked), grpc.StatusCode.UNAUTHENTICATED)
        right = [("authorization", f"Bearer {token}")]
        [answer] = reflect(channel, asked, metadata=right)
        assert answer.list_services_response.service


def test_strangers_who_send_nothing_do_not_keep_health_from_others(channel):
    calls = channel.stream_unary("/grpc.health.v1.Health/Check")
    end = threading.Event()

    def silence():
        end.wait(30)
        yield b""

    waiting = [calls.future(silence()) for _ in range(40)]
    try:
        # Those beyond the bound are answered, whatever they send.
        assert check_health(channel) == b"\x08\x01"
    finally:
        end.set()
    assert {call.result(timeout=10) for call in waiting} == {b"\x08\x01"}


def test_tokens_are_asked_for_in_the_metadata(root, tmp_path):
    token, entry = make_token("reader", ["healthcare.dicomStores.list"], [DATASET])
    path = tmp_path / "tokens"
    path.touch(0o600)
    path.write_text(f"{entry}\n".replace("'", '"'))
    request = pb.ListDicomStoresRequest(parent=DATASET)
    with serving(root, auth=str(path)) as ports, grpc.insecure_channel(ports.grpc) as channel:
        stub = DicomServiceStub(channel)
        unknown = grpc.StatusCode.UNAUTHENTICATED
        refused(lambda: stub.ListDicomStores(request), unknown)
        wrong = [("authorization", "Bearer wrong")]
        refused(lambda: stub.ListDicomStores(request, metadata=wrong), unknown)
        right = [("authorization", f"Bearer {token}")]
        assert stub.ListDicomStores(request, metadata=right) == pb.ListDicomStoresResponse()
        denied = grpc.StatusCode.PERMISSION_DENIED
        said = refused(lambda: stub.CreateDicomStore(CREATE, metadata=right), denied)
        assert "healthcare.dicomStores.create" in said
