"""`gcloud healthcare`, as Google ships it, in its three tracks: only where it calls is changed.

Jobs run for the first track alone, unless all are asked for (`make test-clients`).
"""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import duckdb
import pytest

from dicomferry.jobs import launch
from dicomferry.operations.folder import start_operation
from dicomferry.operations.record import Method
from dicomferry.pixels.formats import parse_format
from dicomferry.resource_names import parse_store
from tests.api.serving import DATASET, TRIAL, serving
from tests.factories import dicom_bytes
from tests.pipelines.jobs import images

pytestmark = pytest.mark.skipif(
    shutil.which("gcloud") is None, reason="gcloud, Google's command line, is not installed"
)
TRACKS = {"ga": [], "beta": ["beta"], "alpha": ["alpha"]}
VERSIONS = {"ga": "v1", "beta": "v1beta1", "alpha": "v1alpha2"}
WITH_JOBS = TRACKS if os.environ.get("DICOMFERRY_ALL_CLIENTS") else ["ga"]
LOCATION = ["--project=p", "--location=l"]
PLACE = [*LOCATION, "--dataset=d"]


@pytest.fixture(scope="module")
def start():
    """A function that starts gcloud with an environment; see gcloud_forks.py."""
    fields = "value(installation.sdk_root,basic.python_location)"
    command = ["gcloud", "info", f"--format={fields}"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    sdk, python = said.strip().split("\t")
    script = Path(__file__).parent / "gcloud_forks.py"
    pipe = subprocess.PIPE

    def started(environment):
        arguments = [python, "-S", str(script), f"{sdk}/lib"]
        return subprocess.Popen(arguments, env=environment, stdin=pipe, stdout=pipe, text=True)

    return started


@pytest.fixture
def tables(tmp_path):
    """A folder that requests may name."""
    folder = tmp_path / "tables"
    folder.mkdir()
    return folder


@pytest.fixture
def gcloud(root, tmp_path, tables, start, track):
    """A function that runs a command of `gcloud healthcare` and returns what it prints."""
    with serving(root, allow_path=(str(tables),)) as ports:
        environment = {
            **os.environ,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_HEALTHCARE": f"{ports.rest}/",
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
            "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        }
        with start(environment) as process, tempfile.TemporaryDirectory() as said:

            def run(command, *arguments, fails=False, place=PLACE):
                argv = [*TRACKS[track], "healthcare", *command.split(), *arguments, *place]
                files = {name: f"{said}/{name}" for name in ("stdout", "stderr")}
                line = json.dumps({"argv": [*argv, "--format=json"], **files})
                process.stdin.write(f"{line}\n")
                process.stdin.flush()
                code = int(process.stdout.readline())
                printed, error = (Path(path).read_text() for path in files.values())
                assert (code != 0) == fails, error
                return error if fails else json.loads(printed or "null")

            yield run
            process.stdin.close()


@pytest.mark.parametrize("track", TRACKS)
def test_datasets(gcloud, track):
    made = gcloud("datasets create d", "--time-zone=UTC", place=LOCATION)
    assert made["name"] == DATASET
    assert "ALREADY_EXISTS" in gcloud("datasets create d", place=LOCATION, fails=True)
    begun = gcloud("datasets create e", "--async", place=LOCATION)
    types = f"google.cloud.healthcare.{VERSIONS[track]}"
    assert begun["metadata"]["@type"] == f"type.googleapis.com/{types}.OperationMetadata"
    assert begun["metadata"]["apiMethodName"] == f"{types}.dataset.DatasetService.CreateDataset"
    described = gcloud("datasets describe d", place=LOCATION)
    assert described == {"name": DATASET, "timeZone": "UTC"}
    gcloud("datasets update d", "--time-zone=Europe/Berlin", place=LOCATION)
    listed = gcloud("datasets list", place=LOCATION)
    assert listed == [{"name": DATASET, "timeZone": "Europe/Berlin"}, {"name": f"{DATASET[:-1]}e"}]
    assert gcloud("datasets get-iam-policy d", place=LOCATION) == {"etag": "ACAB"}
    gcloud("datasets delete d", place=LOCATION)
    assert "NOT_FOUND" in gcloud("datasets describe d", place=LOCATION, fails=True)


@pytest.mark.parametrize("track", TRACKS)
def test_stores(gcloud, track):
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
    assert gcloud("dicom-stores get-iam-policy trial") == {"etag": "ACAB"}
    gcloud("dicom-stores delete trial")
    assert "NOT_FOUND" in gcloud("dicom-stores describe trial", fails=True)
    assert "ALREADY_EXISTS" in gcloud("dicom-stores create another", fails=True)


@pytest.mark.parametrize("track", WITH_JOBS)
def test_jobs(gcloud, gcs, tables, track):
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
    blobs = [blob for blob in bucket.list_blobs(prefix="out/") if blob.name.endswith(".dcm")]
    out = [blob.download_as_bytes() for blob in blobs]
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
    described = gcloud(f"operations describe {newest}")
    assert described["metadata"]["counter"] == {"success": "3"}
    types = f"type.googleapis.com/google.cloud.healthcare.{VERSIONS[track]}."
    assert described["response"]["@type"] == f"{types}dicom.ExportDicomDataResponse"
    assert "NOT_FOUND" in gcloud("operations describe missing", fails=True)


@pytest.fixture
def asked(root, monkeypatch):
    """The requests of jobs; instead of a process, each gets an operation that has ended."""
    requests = []

    def start(request, *_):
        requests.append(request)
        folder = start_operation(root, request.store, request.method)
        record = folder.read()
        record.finish()
        folder.write(record)
        return folder

    monkeypatch.setattr(launch, "start", start)
    return requests


@pytest.mark.parametrize("track", TRACKS)
def test_what_jobs_are_asked_for(gcloud, asked, root, track):
    gcloud("dicom-stores create trial")
    gcloud("dicom-stores import gcs trial", "--gcs-uri=gs://bucket/in/**.dcm")
    assert asked.pop().source.uri == "gs://bucket/in/**.dcm"
    # The second is what the help of gcloud and Google's samples say.
    for mime_type in ("image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50", "application/dicom"):
        mime = f"--mime-type={mime_type}"
        gcloud("dicom-stores export gcs trial", "--gcs-uri-prefix=gs://bucket/out", mime)
        assert asked.pop().mime_type == parse_format(mime_type)
    table = "--bq-table=bq://my-project.d.t"
    for flag, disposition in (
        ("--overwrite-table", "WRITE_TRUNCATE"),
        ("--write-disposition=write-append", "WRITE_APPEND"),
        ("--write-disposition=write-empty", "WRITE_EMPTY"),
    ):
        gcloud("dicom-stores export bq trial", table, flag)
        request = asked.pop()
        assert (request.table.uri, request.write_disposition) == (table[11:], disposition)
    if track != "ga":  # where gcloud has it
        paths = "--filter-config-gcs-uri=gs://bucket/paths"
        gcloud("dicom-stores export bq trial", table, paths)
        assert asked.pop().filter == "gs://bucket/paths"
        gcloud("dicom-stores export gcs trial", "--gcs-uri-prefix=gs://bucket/out", paths)
        assert asked.pop().filter == "gs://bucket/paths"
    begun = gcloud("dicom-stores export bq trial", table, "--async")
    operation = begun["name"].rpartition("/")[2]
    assert gcloud(f"operations describe {operation}")["name"] == begun["name"]
    assert begun["name"] in [each["name"] for each in gcloud("operations list", "--limit=2")]
    if track == "alpha":
        running = start_operation(root, parse_store(TRIAL), Method.EXPORT)
        gcloud(f"operations cancel {running.id}")
        assert running.is_cancel_requested()
    missing = gcloud("dicom-stores import gcs absent", "--gcs-uri=gs://bucket/**", fails=True)
    assert "NOT_FOUND" in missing
