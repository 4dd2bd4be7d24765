"""google-api-python-client with its packaged discovery document, through every method, on gs://."""

import os
import time

import pytest
from google.auth.credentials import AnonymousCredentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from dicomferry.sources.source import EXPORT_MARKER
from tests.api.serving import DATASET, TRIAL, serving
from tests.factories import dicom_bytes
from tests.pipelines.jobs import images

FILES = {**images(3), "conflict.dcm": dicom_bytes(sop="1.2.1.1.1", pixels=b"\1" * 32)}


@pytest.fixture
def bucket(gcs):
    """A bucket with sources in it."""
    made = gcs.bucket(f"client-{os.urandom(6).hex()}")
    for name, content in FILES.items():
        made.blob(f"in/{name}").upload_from_string(content)
    return made


@pytest.fixture
def datasets(root):
    """The client's resource that has everything below it."""
    with serving(root) as ports:
        healthcare = build(
            "healthcare",
            "v1",
            static_discovery=True,
            client_options={"api_endpoint": ports.rest},
            credentials=AnonymousCredentials(),
        )
        yield healthcare.projects().locations().datasets()
        healthcare.close()


def finished(datasets, operation):
    """The operation when it has ended."""
    while not operation.get("done"):
        time.sleep(0.2)
        operation = datasets.operations().get(name=operation["name"]).execute()
    return operation


def test_datasets_and_policies(datasets):
    stores, operations = datasets.dicomStores(), datasets.operations()
    location, _, dataset_id = DATASET.partition("/datasets/")
    creation = datasets.create(parent=location, datasetId=dataset_id, body={"timeZone": "UTC"})
    created = creation.execute()
    assert operations.get(name=created["name"]).execute() == created
    assert datasets.get(name=DATASET).execute() == {"name": DATASET, "timeZone": "UTC"}
    patched = datasets.patch(name=DATASET, updateMask="timeZone", body={"timeZone": ""}).execute()
    assert datasets.list(parent=location).execute() == {"datasets": [patched]}

    stores.create(parent=DATASET, dicomStoreId="trial", body={}).execute()
    asked = {"permissions": ["healthcare.dicomStores.get", "healthcare.fhirStores.get"]}
    for resource, name in ((datasets, DATASET), (stores, TRIAL)):
        allowed = resource.testIamPermissions(resource=name, body=asked).execute()
        assert allowed == {"permissions": ["healthcare.dicomStores.get"]}
        policy = resource.getIamPolicy(resource=name, options_requestedPolicyVersion=3).execute()
        assert policy == {"etag": "ACAB"}
        with pytest.raises(HttpError) as caught:
            resource.setIamPolicy(resource=name, body={"policy": policy}).execute()
        assert caught.value.status_code == 501

    assert datasets.delete(name=DATASET).execute() == {}
    with pytest.raises(HttpError) as caught:
        stores.get(name=TRIAL).execute()
    assert caught.value.status_code == 404
    assert datasets.list(parent=location).execute() == {}
    listed = operations.list(name=DATASET).execute()["operations"]
    [deletion] = [operation for operation in listed if operation != created]
    assert deletion["metadata"]["apiMethodName"].endswith(".DeleteDicomStore")
    assert finished(datasets, deletion)["response"] == {
        "@type": "type.googleapis.com/google.protobuf.Empty"
    }


def test_every_method(datasets, bucket):
    stores, operations = datasets.dicomStores(), datasets.operations()

    made = stores.create(parent=DATASET, dicomStoreId="trial", body={"labels": {"site": "north"}})
    assert made.execute() == {"name": TRIAL, "labels": {"site": "north"}}
    stores.create(parent=DATASET, dicomStoreId="another", body={}).execute()
    assert stores.get(name=TRIAL).execute()["labels"] == {"site": "north"}

    patch = stores.patch(name=TRIAL, updateMask="labels", body={"labels": {"site": "south"}})
    assert patch.execute()["labels"] == {"site": "south"}

    first = stores.list(parent=DATASET, pageSize=1)
    found, request = [], first
    while request is not None:
        page = request.execute()
        found += page["dicomStores"]
        request = stores.list_next(request, page)
    assert [s["name"].rpartition("/")[2] for s in found] == ["another", "trial"]
    matching = stores.list(parent=DATASET, filter='labels.site="south"').execute()
    assert [s["name"] for s in matching["dicomStores"]] == [TRIAL]

    source = {"gcsSource": {"uri": f"gs://{bucket.name}/in/**"}}
    started = stores.import_(name=TRIAL, body=source).execute()
    imported = finished(datasets, started)
    assert imported["error"]["code"] == 3  # one conflicts
    counter = imported["metadata"]["counter"]
    assert {name: int(value) for name, value in counter.items()} == {"success": 3, "failure": 1}
    metrics = stores.getDICOMStoreMetrics(name=TRIAL).execute()
    assert (metrics["instanceCount"], metrics["studyCount"]) == ("3", "1")

    bucket.blob("paths").upload_from_string("/studies/1.2.1/series/1.2.1.1/instances/1.2.1.1.2\r\n")
    export = {
        "gcsDestination": {"uriPrefix": f"gs://{bucket.name}/out"},
        "filterConfig": {"resourcePathsGcsUri": f"gs://{bucket.name}/paths"},
    }
    exported = finished(datasets, stores.export(name=TRIAL, body=export).execute())
    assert exported["response"] == {
        "@type": "type.googleapis.com/google.cloud.healthcare.v1.dicom.ExportDicomDataResponse"
    }
    out = {blob.name: blob.download_as_bytes() for blob in bucket.list_blobs(prefix="out/")}
    assert out.pop(f"out/{EXPORT_MARKER}").decode().splitlines()[0] == TRIAL
    assert out == {"out/1.2.1/1.2.1.1/1.2.1.1.2.dcm": FILES["001.dcm"]}

    listed = operations.list(name=DATASET).execute()["operations"]
    assert [o["name"] for o in listed] == [exported["name"], imported["name"]]
    assert operations.cancel(name=exported["name"], body={}).execute() == {}
    assert operations.get(name=exported["name"]).execute() == exported

    assert stores.delete(name=TRIAL).execute() == {}
    with pytest.raises(HttpError) as caught:
        stores.get(name=TRIAL).execute()
    assert (caught.value.status_code, caught.value.reason) == (404, f"{TRIAL} does not exist")


def test_an_export_to_a_table_in_a_bucket(datasets, bucket):
    stores = datasets.dicomStores()
    stores.create(parent=DATASET, dicomStoreId="trial", body={}).execute()
    source = {"gcsSource": {"uri": f"gs://{bucket.name}/in/00*.dcm"}}
    assert "response" in finished(datasets, stores.import_(name=TRIAL, body=source).execute())
    table = {"tableUri": f"delta:gs://{bucket.name}/table", "schemaJson": {}}
    body = {"bigqueryDestination": table}
    exported = finished(datasets, stores.export(name=TRIAL, body=body).execute())
    assert exported["metadata"]["counter"] == {"success": "3"}
    refused = finished(datasets, stores.export(name=TRIAL, body=body).execute())
    assert "WRITE_TRUNCATE" in refused["error"]["message"]
    body["bigqueryDestination"]["writeDisposition"] = "WRITE_APPEND"
    assert "response" in finished(datasets, stores.export(name=TRIAL, body=body).execute())


def test_a_running_job_can_be_cancelled(datasets, bucket):
    """Whether it is caught while it runs or not, its end says which, and what is in stays."""
    stores = datasets.dicomStores()
    stores.create(parent=DATASET, dicomStoreId="trial", body={}).execute()
    source = {"gcsSource": {"uri": f"gs://{bucket.name}/in/00*.dcm"}}
    started = stores.import_(name=TRIAL, body=source).execute()
    datasets.operations().cancel(name=started["name"], body={}).execute()
    ended = finished(datasets, started)
    metrics = stores.getDICOMStoreMetrics(name=TRIAL).execute()
    if "error" in ended:
        assert ended["error"]["code"] == 1
        assert ended["metadata"]["cancelRequested"] is True
    else:
        assert metrics["instanceCount"] == "3"
