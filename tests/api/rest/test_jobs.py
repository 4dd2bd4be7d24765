"""Jobs and their operations."""

import json
import os

import pytest
from google.rpc.code_pb2 import DATA_LOSS

from dicomferry.jobs import launch
from dicomferry.jobs.launch import JobRunner
from dicomferry.operations.completion import MAX_SAMPLES, complete_from_outcomes
from dicomferry.operations.folder import OperationFolder, start_operation
from dicomferry.operations.outcomes import OutcomeCounts
from dicomferry.operations.owner import Owner
from dicomferry.operations.record import Method
from dicomferry.pixels.formats import AS_UPLOADED, parse_format
from dicomferry.places import Overwrite
from dicomferry.resource_names import parse_store
from tests.api.serving import DATASET, TRIAL, client_of

HERE = JobRunner(None, 4)  # not on Dataflow, and at most four at once


class TestJobs:
    """What is asked of jobs; that they run is for the real clients to see."""

    @pytest.fixture
    def asked(self, root, monkeypatch):
        """The requests of jobs that were started, and where; each has an operation of its own."""
        calls = []

        def start(request, runner, principal):
            calls.append((request, runner))
            folder = OperationFolder(root, request.store.parent, "op-1")
            folder.start(request.store, request.method, asked=request.asked(principal))
            return folder

        monkeypatch.setattr(launch, "start", start)
        return calls

    def test_an_import(self, trial, asked):
        body = {"gcs_source": {"uri": "gs://bucket/**"}}
        operation = trial.ok("POST", f"{TRIAL}:import", body)
        [(request, runner)] = asked
        assert request.source.uri == "gs://bucket/**"
        assert runner == HERE
        assert operation["name"] == f"{DATASET}/operations/op-1"
        assert operation["metadata"]["@type"].endswith(
            "google.cloud.healthcare.v1.OperationMetadata"
        )
        assert operation["metadata"]["createTime"].endswith("Z")
        recorded = operation["metadata"]["request"]
        assert recorded["flags"] == {"source": "gs://bucket/**", "on_conflict": "fail"}
        assert recorded["principal"] == "anyone"
        assert "store" not in operation
        assert "owner" not in operation

    def test_an_export_replaces_files_as_the_server_says(self, root, trial, asked):
        body = {"gcsDestination": {"uriPrefix": "gs://bucket/out"}}
        trial.ok("POST", f"{TRIAL}:export", body)
        client_of(root, overwrite=Overwrite.ANY).ok("POST", f"{TRIAL}:export", body)
        assert [request.overwrite for request, _ in asked] == ["own", "any"]

    def test_exports_to_files(self, trial, asked):
        destination = {"uriPrefix": "gs://bucket/out", "mimeType": "image/png"}
        trial.ok("POST", f"{TRIAL}:export", {"gcsDestination": destination})
        paths = {"resourcePathsGcsUri": "gs://bucket/paths"}
        body = {"gcsDestination": {"uriPrefix": "gs://b"}, "filterConfig": paths}
        trial.ok("POST", f"{TRIAL}:export", body)
        assert [runner for _, runner in asked] == [HERE, HERE]
        assert [
            (request.destination.root, request.mime_type, request.filter) for request, _ in asked
        ] == [
            ("gs://bucket/out", parse_format("image/png"), ""),
            ("gs://b", AS_UPLOADED, "gs://bucket/paths"),
        ]

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({}, ("WRITE_EMPTY", "flattened", False)),
            ({"force": True}, ("WRITE_TRUNCATE", "flattened", False)),
            ({"force": True, "writeDisposition": "WRITE_APPEND"},
             ("WRITE_APPEND", "flattened", False)),
            ({"force": True, "writeDisposition": "WRITE_DISPOSITION_UNSPECIFIED"},
             ("WRITE_TRUNCATE", "flattened", False)),
            ({"schemaJson": {}, "includeSourceStore": True}, ("WRITE_EMPTY", "json", True)),
            ({"schemaFlattened": {}}, ("WRITE_EMPTY", "flattened", False)),
        ],
    )  # fmt: skip
    def test_exports_to_tables(self, trial, asked, fields, expected):
        body = {"bigqueryDestination": {"tableUri": "bq://project1.d.t", **fields}}
        trial.ok("POST", f"{TRIAL}:export", body)
        [(request, runner)] = asked
        assert request.table.uri == "bq://project1.d.t"
        columns = request.schema, request.include_source_store
        assert (request.write_disposition, *columns) == expected
        assert (request.filter, runner) == ("", HERE)

    @pytest.mark.parametrize(
        ("verb", "body", "said"),
        [
            ("import", {}, "gcs_source"),
            ("import", {"gcsSource": {}}, "gcs_source"),
            ("import", {"gcsSource": {"uri": "gs://b/**"}, "color": 1}, "color"),
            ("import", {"gcsSource": {"uri": "gs://b/*/**"}}, "**"),
            ("export", {}, "required"),
            ("export", {"gcsDestination": {}}, "required"),
            ("export", {"gcsDestination": {"uriPrefix": "gs://b", "mimeType": "x/y"}}, "x/y"),
            ("export", {"gcsDestination": {}, "bigqueryDestination": {}}, "oneof"),
            ("export", {"bigqueryDestination": {"tableUri": "bq://x"}}, "bq://x"),
            ("export", {"bigqueryDestination": {"tableUri": "bq://project1.d.t",
                                                "writeDisposition": 7}}, "7"),
        ],
    )  # fmt: skip
    def test_wrong_requests_start_nothing(self, trial, verb, body, said):
        message = trial.call("POST", f"{TRIAL}:{verb}", body).refused(400, "INVALID_ARGUMENT")
        assert said in message
        assert trial.ok("GET", f"{DATASET}/operations") == {}

    def test_other_storage_classes_are_refused(self, trial, asked):
        body = {"gcsSource": {"uri": "gs://bucket/**"}}
        body["blobStorageSettings"] = {"blobStorageClass": "STANDARD"}
        assert trial.ok("POST", f"{TRIAL}:import", body)
        body["blobStorageSettings"] = {"blobStorageClass": "COLDLINE"}
        answer = trial.call("POST", f"{TRIAL}:import", body)
        assert "storage class" in answer.refused(501, "UNIMPLEMENTED")

    @pytest.mark.parametrize(
        ("verb", "body"),
        [
            ("import", {"gcsSource": {"uri": "/etc/**"}}),
            ("export", {"gcsDestination": {"uriPrefix": "/tmp/x"}}),
            ("export", {"bigqueryDestination": {"tableUri": "delta:/tmp/x"}}),
            ("export", {"gcsDestination": {"uriPrefix": "gs://b/out"},
                        "filterConfig": {"resourcePathsGcsUri": "/etc/passwd"}}),
        ],
    )  # fmt: skip
    def test_local_paths_need_to_be_allowed(self, trial, asked, verb, body):
        trial.call("POST", f"{TRIAL}:{verb}", body).refused(403, "PERMISSION_DENIED")
        assert asked == []


class TestBucketsThatAreNotThere:
    @pytest.mark.parametrize(
        ("verb", "body"),
        [
            ("import", {"gcsSource": {"uri": "gs://not-there/a/**"}}),
            ("export", {"gcsDestination": {"uriPrefix": "gs://not-there/out"}}),
            ("export", {"bigqueryDestination": {"tableUri": "delta:gs://not-there/table"}}),
            ("export", {"gcsDestination": {"uriPrefix": "{there}"},
                        "filterConfig": {"resourcePathsGcsUri": "gs://not-there/paths"}}),
        ],
    )  # fmt: skip
    def test_are_not_found_before_anything_begins(self, trial, gcs, verb, body):
        bucket = gcs.bucket(f"there-{os.urandom(6).hex()}")
        body = json.loads(json.dumps(body).replace("{there}", f"gs://{bucket.name}"))
        message = trial.call("POST", f"{TRIAL}:{verb}", body).refused(404, "NOT_FOUND")
        assert "there is no bucket 'not-there'" in message
        assert "http" not in message
        assert trial.ok("GET", f"{DATASET}/operations") == {}

    @pytest.mark.parametrize(
        ("verb", "body"),
        [
            ("import", {"gcsSource": {"uri": "bucket/dir/**"}}),
            ("export", {"gcsDestination": {"uriPrefix": "bucket/out"}}),
        ],
    )
    def test_a_path_without_a_scheme_is_told_so(self, trial, verb, body):
        message = trial.call("POST", f"{TRIAL}:{verb}", body).refused(400, "INVALID_ARGUMENT")
        assert "no scheme: use gs://" in message


class TestWhatFailed:
    @pytest.fixture
    def failed(self, trial, root):
        """An import of 33 files of which 30 failed, with its list of outcomes."""
        folder = start_operation(root, parse_store(TRIAL), Method.IMPORT, "2026-failed")
        lines = [
            {"source": f"gs://b/{number:02}", "outcome": "failed", "code": "NOT_DICOM",
             "reason": "not a DICOM file: leave it out"}
            for number in range(30)
        ]  # fmt: skip
        lines += [{"source": "gs://b/ok", "outcome": "imported", "other": "failed"}] * 2
        lines += [{"source": "gs://b/c", "outcome": "conflict"}]
        shard = "\n".join(map(json.dumps, reversed(lines))).encode()
        folder.write_outcomes("00000", shard)
        folder.write_counts("00000", OutcomeCounts(failed=30, imported=2, conflict=1))
        record = folder.read()
        complete_from_outcomes(record, folder, 33, "files")
        folder.write(record)
        return trial

    def test_reaches_callers_elsewhere_in_googles_form(self, failed, root):
        operation = failed.ok("GET", f"{DATASET}/operations/2026-failed")
        page = f"http://127.0.0.1:8080/console/{DATASET}/operations/2026-failed"
        assert operation["metadata"]["logsUrl"] == page
        assert f"every failure is listed in {page}/outcomes.jsonl" in operation["error"]["message"]
        assert root.root not in json.dumps(operation)
        [details] = operation["error"]["details"]
        assert details["@type"] == (
            "type.googleapis.com/google.cloud.healthcare.v1.dicom.ImportDicomDataErrorDetails"
        )
        assert len(details["sampleErrors"]) == MAX_SAMPLES
        assert details["sampleErrors"][0] == {
            "resource": "gs://b/29",
            "error": {"code": 3, "message": "NOT_DICOM: not a DICOM file: leave it out"},
        }
        listed = failed.ok("GET", f"{DATASET}/operations")["operations"]
        assert listed == [operation]

    def test_its_link_leads_to_the_page(self, failed):
        url = failed.ok("GET", f"{DATASET}/operations/2026-failed")["metadata"]["logsUrl"]
        page = failed.raw("GET", url.removeprefix("http://127.0.0.1:8080").encode())
        assert page.status == 200
        assert f"{DATASET}/operations/2026-failed/outcomes.jsonl" in page.body.decode()

    def test_what_a_system_says_of_local_files_stays_here(self, trial, root):
        folder = start_operation(root, parse_store(TRIAL), Method.EXPORT, "2026-broken")
        record = folder.read()
        message = f"storage failed: [Errno 28] No space left: '/mnt/x' at {root.root}/projects"
        record.finish(14, message)
        folder.write(record)
        operation = trial.ok("GET", f"{DATASET}/operations/2026-broken")
        said = "storage failed: [Errno 28] No space left at ROOT/projects"
        assert operation["error"] == {"code": 14, "message": said}

    def test_what_lags_behind_is_told_without_local_paths(self, trial, root):
        folder = start_operation(root, parse_store(TRIAL), Method.IMPORT, "2026-lagging")
        table = {"table": "bq://p.d.t", "code": "INTERNAL_ERROR", "reason": "ours"}
        lines = [table | {"sopInstanceUid": "1.2.3"}]
        folder.storage.write("stream-errors-a-1.jsonl", "\n".join(map(json.dumps, lines)).encode())
        folder.write_counts("00000", OutcomeCounts(imported=1))
        record = folder.read()
        complete_from_outcomes(record, folder, 1, "files")
        folder.write(record)
        operation = trial.ok("GET", f"{DATASET}/operations/2026-lagging")
        assert operation["error"]["code"] == DATA_LOSS
        assert root.root not in json.dumps(operation)
        [lagging] = operation["metadata"]["lagging"]
        assert lagging["error"]["message"].endswith(f"{DATASET}/operations/2026-lagging")

    def test_the_url_of_the_server_can_be_another_one(self, failed, root):
        behind = client_of(root, url="https://ferry.example.org/")
        operation = behind.ok("GET", f"{DATASET}/operations/2026-failed")
        assert operation["metadata"]["logsUrl"].startswith("https://ferry.example.org/console/")
        with pytest.raises(ValueError, match="--url ferry"):
            client_of(root, url="ferry.example.org")


class TestPlacesThatMeanOthers:
    @pytest.mark.parametrize("table", ["delta:/in", "duckdb:/in/a.duckdb#t", "bq://p.d.t"])
    def test_a_table_is_no_source(self, trial, table):
        answer = trial.call("POST", f"{TRIAL}:import", {"gcsSource": {"uri": table}})
        assert "names a table" in answer.refused(400, "INVALID_ARGUMENT")

    @pytest.mark.parametrize("part", ["%73tores", ".\t.", ".\r.", "a#b", "a?b", "", "."])
    def test_no_table_has_a_name_that_is_read_as_another(self, trial, part):
        uri = f"delta:gs://bucket/mine/{part}/x"
        stream = {"streamConfigs": [{"bigqueryDestination": {"tableUri": uri}}]}
        calls = [
            trial.call("POST", f"{TRIAL}:export", {"bigqueryDestination": {"tableUri": uri}}),
            trial.call("PATCH", TRIAL, stream, updateMask="streamConfigs"),
        ]
        for answer in calls:
            answer.refused(400, "INVALID_ARGUMENT")


class TestOperations:
    @pytest.fixture
    def running(self, trial, root):
        """Three operations that run, as far as can be told."""
        for number in range(3):
            start_operation(
                root,
                parse_store(TRIAL),
                Method.IMPORT,
                f"2026-{number}",
                Owner.this_process(),
            )
        return trial

    def test_are_listed_in_pages_the_newest_first(self, running):
        first = running.ok("GET", f"{DATASET}/operations", pageSize=2)
        token = first["nextPageToken"]
        second = running.ok("GET", f"{DATASET}/operations", pageToken=token)
        found = [o["name"].rpartition("/")[2] for o in first["operations"] + second["operations"]]
        assert found == ["2026-2", "2026-1", "2026-0"]
        assert "nextPageToken" not in second

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("", "210"),
            ("done=false", "20"),
            ("done = true", "1"),
            ("done != true AND metadata.create_time>2020-01-01", "20"),
            ('metadata.createTime < "2020-01-01T00:00:00Z"', ""),
            ("metadata.endTime > 2020-01-01", "1"),
            ("metadata.apiMethodName:Import", "210"),
            ("metadata.apiMethodName = Import", ""),
            ("metadata.cancelRequested=true", ""),
        ],
    )
    def test_are_filtered(self, running, root, text, found):
        folder = OperationFolder(root, parse_store(TRIAL).parent, "2026-1")
        record = folder.read()
        record.finish()
        folder.write(record)
        page = running.ok("GET", f"{DATASET}/operations", filter=text, returnPartialSuccess="true")
        assert "".join(each["name"][-1] for each in page.get("operations", [])) == found

    @pytest.mark.parametrize(
        "text", ["done", "done=maybe", "done=true OR done=false", "done>true", "color=1", "(",
                 "x=", "done=true AND", 'name="', "metadata.createTime>soon"],
    )  # fmt: skip
    def test_what_is_no_filter_does_not_look_like_the_whole_list(self, running, text):
        answer = running.call("GET", f"{DATASET}/operations", filter=text)
        assert "metadata.createTime" in answer.refused(400, "INVALID_ARGUMENT")

    def test_can_be_cancelled(self, running, root):
        assert running.ok("POST", f"{DATASET}/operations/2026-1:cancel", {}) == {}
        operation = running.ok("GET", f"{DATASET}/operations/2026-1")
        assert operation["metadata"]["cancelRequested"] is True
        other = running.ok("GET", f"{DATASET}/operations/2026-2")
        assert "cancelRequested" not in other["metadata"]

    @pytest.mark.parametrize("operation_id", ["nope", "..", "%2E%2E", "a%20b", "x" * 300])
    def test_that_are_not_there_are_not_found(self, running, operation_id):
        for method, path in (("GET", ""), ("POST", ":cancel")):
            answer = running.call(method, f"{DATASET}/operations/{operation_id}{path}")
            assert answer.status in (404, 400)
            assert "error" in answer.content
