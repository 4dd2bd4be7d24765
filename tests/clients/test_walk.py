"""Google's client libraries, as published, from one runtime each, through the steps of its samples.

A program of each runtime (its folder has it) is given only where the server is, a token, and a
bucket. It checks nothing: it prints what its library read, one JSON object a line, and all
runtimes must have read the same.
"""

import json
import os
import subprocess

import pytest

from dicomferry.api.access import make_token
from tests.api.serving import serving
from tests.clients.runtimes import RUNTIMES
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


@pytest.fixture(params=RUNTIMES, ids=lambda runtime: runtime.name)
def said(request, root, bucket, tmp_path):
    """What the library of a runtime read at each step."""
    runtime = request.param
    if not runtime.is_ready:
        pytest.skip(f"the client of {runtime.name} is not installed here: make clients")
    token, entry = make_token("walker", ["healthcare.*"], [LOCATION])
    tokens = tmp_path / "auth.jsonl"
    tokens.write_text(json.dumps(entry) + "\n")
    tokens.chmod(0o600)
    with serving(root, auth=str(tokens)) as ports:
        done = subprocess.run(
            [*runtime.run, ports.rest, token, bucket.name],
            check=False,
            cwd=runtime.source,
            env={**os.environ, **runtime.environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    steps = {}
    for line in done.stdout.splitlines():
        steps |= json.loads(line)
    return steps


def test_walk(said, bucket):
    steps = iter(said.items())

    def ok(step, expected):
        assert next(steps) == (step, expected)

    def refused(step, code, status):
        name, error = next(steps)
        assert (name, error["code"], error["status"]) == (step, code, status)
        assert error["details"][0]["domain"] == "dicomferry"
        # What the library throws says why.
        assert error["message"] in error["raised"]
        return error["message"]

    def operation(step, method, **end):
        name, content = next(steps)
        assert (name, content["done"]) == (step, True)
        metadata = content["metadata"]
        assert metadata["@type"] == f"{TYPES}.OperationMetadata"
        assert metadata["apiMethodName"].endswith(method)
        assert {key: content[key] for key in end} == end
        return content

    zone = {"name": DATASET, "timeZone": "UTC"}
    created = {"@type": f"{TYPES}.dataset.Dataset", "name": DATASET}
    operation("datasets.create", "CreateDataset", response=created)
    ok("datasets.get", {"name": DATASET})
    ok("datasets.patch", zone)
    ok("datasets.list", {"datasets": [zone]})

    ok("dicomStores.create", {"name": STORE})
    ok("dicomStores.get", {"name": STORE})
    ok("dicomStores.patch", {"name": STORE, **TOPIC})
    ok("dicomStores.list in pages", {"ids": ["another", "trial"]})
    ok("dicomStores.list with a long filter", {"dicomStores": [ANOTHER]})

    ok("dicomStores.getIamPolicy", {"etag": "ACAB"})
    assert "tokens" in refused("dicomStores.setIamPolicy", 501, "UNIMPLEMENTED")
    ok("dicomStores.testIamPermissions", {"permissions": ["healthcare.dicomStores.get"]})

    imported = operation("dicomStores.import", "ImportDicomData")
    assert imported["metadata"]["counter"] == {"success": "3", "failure": "1"}
    assert imported["error"]["code"] == 3
    [failed] = imported["error"]["details"][0]["sampleErrors"]
    assert failed["resource"] == f"gs://{bucket.name}/in/cut.dcm"
    assert failed["error"]["message"].startswith("TRUNCATED: ")
    name, metrics = next(steps)
    assert (name, metrics["instanceCount"]) == ("dicomStores.getDICOMStoreMetrics", "3")
    answer = {"@type": f"{TYPES}.dicom.ExportDicomDataResponse"}
    exported = operation("dicomStores.export", "ExportDicomData", response=answer)
    assert exported["metadata"]["counter"] == {"success": "3"}
    assert len(list(bucket.list_blobs(prefix="out/"))) == 3
    name, listed = next(steps)
    assert name == "operations.list"
    assert listed["operations"][:2] == [exported, imported]
    ok("operations.cancel", {})

    ok("dicomStores.delete", {})
    assert STORE in refused("dicomStores.get after that", 404, "NOT_FOUND")
    ok("datasets.delete", {})
    assert "no token" in refused("without a token", 401, "UNAUTHENTICATED")
    assert next(steps, None) is None
