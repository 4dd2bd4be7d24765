"""`gcloud healthcare`, as Google ships it, with nothing changed but where it calls."""

import json
import os
import shutil
import subprocess

import duckdb
import pytest

from tests.api.serving import DATASET, TRIAL, serving
from tests.factories import dicom_bytes
from tests.pipelines.jobs import images

pytestmark = pytest.mark.skipif(
    shutil.which("gcloud") is None, reason="gcloud, Google's command line, is not installed"
)
PLACE = ["--project=p", "--location=l", "--dataset=d"]


@pytest.fixture
def tables(tmp_path):
    """A folder that requests may name."""
    folder = tmp_path / "tables"
    folder.mkdir()
    return folder


@pytest.fixture
def gcloud(root, tmp_path, tables):
    """A function that runs a command of `gcloud healthcare` and returns what it prints."""
    with serving(root, allow_path=(str(tables),)) as ports:
        environment = {
            **os.environ,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_HEALTHCARE": f"{ports.rest}/",
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
            "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        }

        def run(command, *arguments, fails=False, track=(), place=PLACE):
            done = subprocess.run(
                [
                    "gcloud",
                    *track,
                    "healthcare",
                    *command.split(),
                    *arguments,
                    *place,
                    "--format=json",
                ],
                check=False,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert (done.returncode != 0) == fails, done.stderr
            return done.stderr if fails else json.loads(done.stdout or "null")

        yield run


def test_stores(gcloud):
    topic = "projects/p/topics/t"
    gcloud("dicom-stores create trial", f"--pubsub-topic={topic}", "--send-for-bulk-import")
    gcloud("dicom-stores create another")
    config = {"pubsubTopic": topic, "sendForBulkImport": True}
    assert gcloud("dicom-stores describe trial") == {"name": TRIAL, "notificationConfig": config}
    names = [store["name"] for store in gcloud("dicom-stores list", "--page-size=1")]
    assert [name.rpartition("/")[2] for name in names] == ["another", "trial"]

    gcloud("dicom-stores update trial", "--stream-configs=bq://project1.d.t")
    changed = gcloud("dicom-stores describe trial")
    destination = {"tableUri": "bq://project1.d.t"}
    assert changed["streamConfigs"] == [{"bigqueryDestination": destination}]
    assert changed["notificationConfig"] == config
    gcloud("dicom-stores update trial", "--pubsub-topic=")
    cleared = gcloud("dicom-stores describe trial")
    assert cleared == {**changed, "notificationConfig": {"sendForBulkImport": True}}

    assert gcloud("dicom-stores metrics trial") == {"name": TRIAL}
    gcloud("dicom-stores delete trial")
    assert "NOT_FOUND" in gcloud("dicom-stores describe trial", fails=True)
    assert "ALREADY_EXISTS" in gcloud("dicom-stores create another", fails=True)


def test_datasets(gcloud):
    place = ["--project=p", "--location=l"]
    made = gcloud("datasets create d", "--time-zone=UTC", place=place)
    assert made["name"] == DATASET
    assert gcloud("datasets list", place=place) == [{"name": DATASET, "timeZone": "UTC"}]
    assert gcloud("datasets get-iam-policy d", place=place) == {"etag": "ACAB"}
    gcloud("datasets delete d", place=place)


def test_jobs(gcloud, gcs, tables):
    bucket = gcs.bucket(f"gcloud-{os.urandom(6).hex()}")
    for name, content in images(3).items():
        bucket.blob(f"in/{name}").upload_from_string(content)
    bucket.blob("bad/a.dcm").upload_from_string(dicom_bytes()[:300])
    gcloud("dicom-stores create trial")

    # Each waits for its operation to end.
    gcloud("dicom-stores import gcs trial", f"--gcs-uri=gs://{bucket.name}/in/**.dcm")
    assert gcloud("dicom-stores metrics trial")["instanceCount"] == "3"
    said = gcloud(
        "dicom-stores import gcs trial", f"--gcs-uri=gs://{bucket.name}/bad/**", fails=True
    )
    assert "1 of 1 files failed" in said
    gcloud(
        "dicom-stores export gcs trial",
        f"--gcs-uri-prefix=gs://{bucket.name}/out",
        "--mime-type=application/dicom; transfer-syntax=*",
    )
    out = [blob.download_as_bytes() for blob in bucket.list_blobs(prefix="out/")]
    assert sorted(out) == sorted(images(3).values())
    table = f"--bq-table=duckdb:{tables}/t.duckdb#dicom.instances"
    gcloud("dicom-stores export bq trial", table, "--overwrite-table")
    with duckdb.connect(str(tables / "t.duckdb"), read_only=True) as connection:
        [(rows,)] = connection.execute("SELECT count(*) FROM dicom.instances").fetchall()
    assert rows == 3

    operations = gcloud("operations list")
    assert len(operations) == 4
    assert all(operation["done"] for operation in operations)
    newest = operations[0]["name"].rpartition("/")[2]
    assert gcloud(f"operations describe {newest}")["metadata"]["counter"] == {"success": "3"}
    gcloud(f"operations cancel {newest}", track=["alpha"])  # where gcloud has it
    assert "NOT_FOUND" in gcloud("operations describe missing", fails=True)
