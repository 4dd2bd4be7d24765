"""Google's client libraries, as published, from one runtime each, through the steps of its samples.

A program of each runtime (its folder has it) is given only where the server is, a token, and a
bucket. It checks nothing: it prints what its library read, one JSON object a line, and all
runtimes must have read the same.
"""

import json
import os

import pytest

from tests.factories import dicom_bytes
from tests.pipelines.jobs import images

LOCATION = "projects/p/locations/us-central1"
DATASET = f"{LOCATION}/datasets/walk"
STORE = f"{DATASET}/dicomStores/trial"
ANOTHER = {"name": f"{DATASET}/dicomStores/another", "labels": {"site": "north"}}
TOPIC = {"notificationConfig": {"pubsubTopic": "projects/p/topics/t"}}
TYPES = "type.googleapis.com/google.cloud.healthcare.v1"
FILES = {**images(3), "cut.dcm": dicom_bytes()[:300]}


@pytest.fixture
def bucket(gcs):
    """A bucket with sources in it."""
    made = gcs.bucket(f"walk-{os.urandom(6).hex()}")
    for name, content in FILES.items():
        made.blob(f"in/{name}").upload_from_string(content)
    return made


class Steps:
    """What the library of a runtime read at each step, in order."""

    def __init__(self, lines):
        self._steps = [step for line in lines for step in json.loads(line).items()]

    def next(self, step):
        """What was read at the next step, which must be this."""
        name, content = self._steps.pop(0)
        assert name == step
        return content

    def ok(self, step, expected):
        assert self.next(step) == expected

    def refused(self, step, code, status):
        """The message of a refusal; the library throws it too."""
        error = self.next(step)
        assert (error["code"], error["status"]) == (code, status)
        assert error["details"][0]["domain"] == "dicomferry"
        assert error["message"] in error["raised"]
        return error["message"]

    def operation(self, step, method, **end):
        """An operation that has ended, so."""
        content = self.next(step)
        assert content["done"] is True
        assert content["metadata"]["@type"] == f"{TYPES}.OperationMetadata"
        assert content["metadata"]["apiMethodName"].endswith(method)
        assert {key: content[key] for key in end} == end
        return content

    @property
    def are_done(self):
        return not self._steps


def test_walk(runtime, served, bucket):
    said = runtime.call(*runtime.run, *served, bucket.name)
    steps = Steps(said.splitlines())
    zone = {"name": DATASET, "timeZone": "UTC"}
    created = {"@type": f"{TYPES}.dataset.Dataset", "name": DATASET}
    steps.operation("datasets.create", "CreateDataset", response=created)
    steps.ok("datasets.get", {"name": DATASET})
    steps.ok("datasets.patch", zone)
    steps.ok("datasets.list", {"datasets": [zone]})

    steps.ok("dicomStores.create", {"name": STORE})
    steps.ok("dicomStores.get", {"name": STORE})
    steps.ok("dicomStores.patch", {"name": STORE, **TOPIC})
    steps.ok("dicomStores.list in pages", {"ids": ["another", "trial"]})
    steps.ok("dicomStores.list with a long filter", {"dicomStores": [ANOTHER]})

    steps.ok("dicomStores.getIamPolicy", {"etag": "ACAB"})
    assert "tokens" in steps.refused("dicomStores.setIamPolicy", 501, "UNIMPLEMENTED")
    steps.ok("dicomStores.testIamPermissions", {"permissions": ["healthcare.dicomStores.get"]})

    imported = steps.operation("dicomStores.import", "ImportDicomData")
    assert imported["metadata"]["counter"] == {"success": "3", "failure": "1"}
    assert imported["error"]["code"] == 3
    [failed] = imported["error"]["details"][0]["sampleErrors"]
    assert failed["resource"] == f"gs://{bucket.name}/in/cut.dcm"
    assert failed["error"]["message"].startswith("TRUNCATED: ")
    assert steps.next("dicomStores.getDICOMStoreMetrics")["instanceCount"] == "3"
    answer = {"@type": f"{TYPES}.dicom.ExportDicomDataResponse"}
    exported = steps.operation("dicomStores.export", "ExportDicomData", response=answer)
    assert exported["metadata"]["counter"] == {"success": "3"}
    names = [blob.name for blob in bucket.list_blobs(prefix="out/")]
    assert len([name for name in names if name.endswith(".dcm")]) == 3
    listed = steps.next("operations.list")["operations"]
    assert len(listed) == 3
    assert exported in listed
    assert imported in listed
    steps.ok("operations.cancel", {})

    steps.ok("dicomStores.delete", {})
    assert STORE in steps.refused("dicomStores.get after that", 404, "NOT_FOUND")
    steps.ok("datasets.delete", {})
    assert "no token" in steps.refused("without a token", 401, "UNAUTHENTICATED")
    assert steps.are_done
