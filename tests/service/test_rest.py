"""The methods as REST serves them."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from service import dicom_service
from service.access import make_token
from service.rest import MAX_BODY_BYTES
from stores.dicom_store import create_store, get_store, list_stores
from stores.names import parse_dataset, parse_store
from stores.operations import start_operation
from stores.owner import Owner
from stores.storage import Storage
from tests.factories import dicom_bytes
from tests.pipelines.jobs import run_import, write_files
from tests.service.serving import DATASET, TRIAL, Client, client_of

FULL = {
    "notificationConfig": {"pubsubTopic": "projects/p/topics/t", "sendForBulkImport": True},
    "notificationConfigs": [{"pubsubTopic": "projects/p/topics/u"}],
    "labels": {"site": "north"},
    "streamConfigs": [
        {"bigqueryDestination": {"tableUri": "bq://project1.d.t", "schemaJson": {}}},
        {
            "bigqueryDestination": {
                "tableUri": "bq://project1.d.u",
                "writeDisposition": "WRITE_APPEND",
            }
        },
    ],
}

# What the text of an exception may hold, so what it must not be told by.
SECRET = "Doe^Jane"


@pytest.fixture
def client(root):
    return client_of(root)


@pytest.fixture
def trial(client):
    client.ok("POST", f"{DATASET}/dicomStores", dicomStoreId="trial")
    return client


def ids(page):
    return [store["name"].rpartition("/")[2] for store in page.get("dicomStores", [])]


class TestStores:
    def test_what_is_created_is_returned_as_it_is_kept(self, client):
        made = client.ok("POST", f"{DATASET}/dicomStores", FULL, dicomStoreId="trial")
        assert made == {**FULL, "name": TRIAL}
        assert client.ok("GET", TRIAL) == made

    def test_snake_case_is_understood_and_a_name_in_the_body_is_not(self, client):
        body = {
            "name": "elsewhere",
            "notification_config": {"pubsub_topic": "projects/p/topics/t"},
            "stream_configs": [{"bigquery_destination": {"table_uri": "bq://project1.d.t"}}],
        }
        made = client.ok("POST", f"{DATASET}/dicomStores", body, dicom_store_id="trial")
        assert made == {
            "name": TRIAL,
            "notificationConfig": {"pubsubTopic": "projects/p/topics/t"},
            "streamConfigs": [{"bigqueryDestination": {"tableUri": "bq://project1.d.t"}}],
        }

    @pytest.mark.parametrize(
        ("wire", "store_id"),
        [
            ("a%3Ab", "a:b"),
            ("a:b", "a:b"),
            ("%C3%A9t%C3%A9%202026", "été 2026"),
            ("x" * 256, "x" * 256),
            ("..", ".."),
            ("Trial", "Trial"),
            ("x%3Aexport", "x:export"),
        ],
    )
    def test_ids_of_any_kind_have_their_path(self, client, wire, store_id):
        made = client.ok("POST", f"{DATASET}/dicomStores", dicomStoreId=store_id)
        assert made["name"] == f"{DATASET}/dicomStores/{store_id}"
        assert client.ok("GET", f"{DATASET}/dicomStores/{wire}") == made
        assert ids(client.ok("GET", f"{DATASET}/dicomStores")) == [store_id]
        metrics = client.ok("GET", f"{DATASET}/dicomStores/{wire}:getDICOMStoreMetrics")
        assert metrics["name"] == made["name"]
        assert client.ok("DELETE", f"{DATASET}/dicomStores/{wire}") == {}

    @pytest.mark.parametrize("store_id", ["", "a/b", "x" * 257, "a\nb", "\x7f"])
    def test_other_ids_are_refused(self, client, store_id):
        answer = client.call("POST", f"{DATASET}/dicomStores", dicomStoreId=store_id)
        answer.refused(400, "INVALID_ARGUMENT")

    def test_a_slash_cannot_be_smuggled_into_an_id(self, client):
        answer = client.call("GET", f"{DATASET}/dicomStores/a%2Fb")
        assert "no '/'" in answer.refused(400, "INVALID_ARGUMENT")

    def test_a_name_is_taken_once(self, trial):
        answer = trial.call("POST", f"{DATASET}/dicomStores", dicomStoreId="trial")
        assert answer.refused(409, "ALREADY_EXISTS") == f"{TRIAL} exists already"

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"labels": {"Site": "x"}}, "label key 'Site'"),
            ({"labels": {f"k{n}": "" for n in range(65)}}, "at most 64"),
            ({"labels": {"k": "字" * 43}}, "128 bytes|and 128"),
            ({"labels": {"k": 1}}, "labels"),
            ({"labels": ["k"]}, "labels"),
            ({"colour": "red"}, "colour"),
            ({"notificationConfig": {"pubsubTopic": "t"}}, "projects/P/topics/T"),
            ({"notificationConfigs": [{}]}, "pubsubTopic"),
            ({"streamConfigs": [{}]}, "tableUri"),
            ({"streamConfigs": [{"bigqueryDestination": {"tableUri": "bq://p"}}]}, "bq://p"),
            ({"streamConfigs": [{"bigqueryDestination": {"tableUri": "x" * 2001}}]}, ""),
            ({"streamConfigs": [FULL["streamConfigs"][0]] * 2}, "of its own"),
            (
                {"streamConfigs": [{"bigqueryDestination": {"tableUri": f"bq://project1.d.t{n}"}}
                                   for n in range(6)]},
                "at most 5",
            ),
            (
                {"streamConfigs": [{"bigqueryDestination": {
                    "tableUri": "bq://project1.d.t", "writeDisposition": "WRITE_TWICE"}}]},
                "writeDisposition",
            ),
            (
                {"streamConfigs": [{"bigqueryDestination": {
                    "tableUri": "bq://project1.d.t", "schemaJson": {}, "schemaFlattened": {}}}]},
                "oneof",
            ),
            ([], "object"),
            ("text", "object"),
            (None, ""),
        ],
    )  # fmt: skip
    def test_what_breaks_a_rule_is_not_created(self, client, root, body, said):
        if body is None:
            answer = client.raw(
                "POST", f"/v1/{DATASET}/dicomStores".encode(), b"dicomStoreId=x", b"{not json"
            )
        else:
            answer = client.call("POST", f"{DATASET}/dicomStores", body, dicomStoreId="trial")
        message = answer.refused(400, "INVALID_ARGUMENT")
        assert any(part in message for part in said.split("|"))
        assert list(list_stores(root, parse_dataset(DATASET))) == []

    def test_a_stream_to_this_machine_needs_a_folder_that_is_allowed(self, root, tmp_path):
        table = f"duckdb:{tmp_path}/tables/x.duckdb#s.t"
        body = {"streamConfigs": [{"bigqueryDestination": {"tableUri": table}}]}
        answer = client_of(root).call("POST", f"{DATASET}/dicomStores", body, dicomStoreId="t")
        assert "--allow-path" in answer.refused(403, "PERMISSION_DENIED")
        (tmp_path / "tables").mkdir()
        allowed = client_of(root, allow_path=(str(tmp_path / "tables"),))
        assert allowed.ok("POST", f"{DATASET}/dicomStores", body, dicomStoreId="t")

    def test_what_is_deleted_is_gone(self, trial, root):
        data = get_store(root, parse_store(TRIAL)).data
        assert trial.ok("DELETE", TRIAL) == {}
        assert trial.call("GET", TRIAL).refused(404, "NOT_FOUND") == f"{TRIAL} does not exist"
        trial.call("DELETE", TRIAL).refused(404, "NOT_FOUND")
        trial.call("PATCH", TRIAL, {}, updateMask="labels").refused(404, "NOT_FOUND")
        trial.call("GET", f"{TRIAL}:getDICOMStoreMetrics").refused(404, "NOT_FOUND")
        uri = {"gcsSource": {"uri": "gs://bucket/**"}}
        trial.call("POST", f"{TRIAL}:import", uri).refused(404, "NOT_FOUND")
        assert list(data.list()) == []
        assert trial.ok("GET", f"{DATASET}/dicomStores") == {}

    def test_metrics_are_int64_so_text(self, root, tmp_path):
        create_store(root, parse_store("trial"))
        run_import(root, write_files(tmp_path, {"a.dcm": dicom_bytes()}))
        name = str(parse_store("trial"))
        metrics = client_of(root).ok("GET", f"{name}:getDICOMStoreMetrics")
        assert metrics.pop("structuredStorageSizeBytes").isdecimal()
        assert metrics == {
            "name": name,
            "studyCount": "1",
            "seriesCount": "1",
            "instanceCount": "1",
            "blobStorageSizeBytes": str(len(dicom_bytes())),
        }


class TestUpdate:
    def test_only_what_the_mask_names_changes(self, client):
        client.ok("POST", f"{DATASET}/dicomStores", FULL, dicomStoreId="trial")
        body = {"labels": {"site": "south", "new": "x"}, "streamConfigs": []}
        changed = client.ok(
            "PATCH", TRIAL, body, updateMask="labels.new,notificationConfig.sendForBulkImport"
        )
        assert changed == {
            **FULL,
            "name": TRIAL,
            "labels": {"site": "north", "new": "x"},
            "notificationConfig": {"pubsubTopic": "projects/p/topics/t"},
        }
        assert client.ok("GET", TRIAL) == changed
        cleared = client.ok("PATCH", TRIAL, {}, updateMask="labels,stream_configs")
        assert "labels" not in cleared
        assert "streamConfigs" not in cleared

    @pytest.mark.parametrize("mask", ["", "name", "colour", "labels,name", "streamConfigs.x"])
    def test_a_wrong_mask_is_refused(self, trial, mask):
        trial.call("PATCH", TRIAL, {}, updateMask=mask).refused(400, "INVALID_ARGUMENT")
        trial.call("PATCH", TRIAL, {}).refused(400, "INVALID_ARGUMENT")

    def test_a_change_that_breaks_a_rule_is_refused(self, trial):
        body = {"labels": {"A": ""}}
        answer = trial.call("PATCH", TRIAL, body, updateMask="labels")
        answer.refused(400, "INVALID_ARGUMENT")
        assert trial.ok("GET", TRIAL) == {"name": TRIAL}

    def test_many_at_once_lose_nothing(self, trial):
        def add(number):
            body = {"labels": {f"k{number}": "x"}}
            return Client(trial.app).call("PATCH", TRIAL, body, updateMask=f"labels.k{number}")

        with ThreadPoolExecutor(6) as threads:
            assert {answer.status for answer in threads.map(add, range(12))} == {200}
        assert set(trial.ok("GET", TRIAL)["labels"]) == {f"k{number}" for number in range(12)}


class TestList:
    @pytest.fixture
    def many(self, client, root):
        for number in range(7):
            labels = {"parity": "odd" if number % 2 else "even", "n": str(number)}
            create_store(root, parse_store(f"{DATASET}/dicomStores/s{number}"), {"labels": labels})
        return client

    def pages(self, client, **parameters):
        found, token = [], ""
        while True:
            page = client.ok("GET", f"{DATASET}/dicomStores", pageToken=token, **parameters)
            found.append(ids(page))
            token = page.get("nextPageToken")
            if not token:
                return found

    def test_pages_hold_every_store_once_by_name(self, many):
        assert self.pages(many, pageSize=3) == [["s0", "s1", "s2"], ["s3", "s4", "s5"], ["s6"]]
        assert self.pages(many, page_size=7) == [[f"s{n}" for n in range(7)]]

    def test_a_page_has_as_many_as_match(self, many):
        assert self.pages(many, pageSize=2, filter="labels.parity=even") == [
            ["s0", "s2"],
            ["s4", "s6"],
        ]
        assert self.pages(many, filter="labels.n>=2 AND NOT labels.n=4 AND labels.n<6") == [
            ["s2", "s3", "s5"]
        ]

    def test_a_page_is_right_whatever_happens_before_it(self, many):
        first = many.ok("GET", f"{DATASET}/dicomStores", pageSize=3)
        many.ok("DELETE", f"{DATASET}/dicomStores/s2")
        many.ok("DELETE", f"{DATASET}/dicomStores/s3")
        many.ok("POST", f"{DATASET}/dicomStores", dicomStoreId="s00")
        many.ok("POST", f"{DATASET}/dicomStores", dicomStoreId="s55")
        token = first["nextPageToken"]
        second = many.ok("GET", f"{DATASET}/dicomStores", pageToken=token)
        assert ids(second) == ["s4", "s5", "s55", "s6"]

    def test_a_token_is_for_the_same_request_only(self, many):
        token = many.ok("GET", f"{DATASET}/dicomStores", pageSize=3)["nextPageToken"]
        for parameters in ({"filter": "labels.n=1"}, {"pageToken": f"{token}x"}):
            answer = many.call(
                "GET", f"{DATASET}/dicomStores", **{"pageToken": token, **parameters}
            )
            answer.refused(400, "INVALID_ARGUMENT")
        other = DATASET.replace("datasets/d", "datasets/e")
        many.call("GET", f"{other}/dicomStores", pageToken=token).refused(400, "INVALID_ARGUMENT")

    @pytest.mark.parametrize("parameters", [{"pageSize": -1}, {"pageSize": "x"}, {"filter": "x"},
                                            {"pageSize": 2**31}, {"colour": 1}])  # fmt: skip
    def test_wrong_parameters_are_refused(self, client, parameters):
        answer = client.call("GET", f"{DATASET}/dicomStores", **parameters)
        answer.refused(400, "INVALID_ARGUMENT")

    def test_a_dataset_that_is_not_there_is_empty(self, client):
        assert client.ok("GET", f"{DATASET}/dicomStores") == {}
        assert client.ok("GET", f"{DATASET}/operations") == {}


NOT_ON_DATAFLOW = None


class TestJobs:
    """What is asked of jobs; that they run is for the real clients to see."""

    @pytest.fixture
    def asked(self, root, monkeypatch):
        """What the jobs were started with; each has an operation of its own."""
        calls = []

        def start(name):
            def started(_root, store, *arguments):
                calls.append((name, *arguments))
                return start_operation(
                    root, store, "ImportDicomData", "op-1", Owner.this_process(), "here"
                )

            return started

        for name in ("start_import", "start_export_files", "start_export_table"):
            monkeypatch.setattr(dicom_service.jobs, name, start(name))
        return calls

    def test_an_import(self, trial, asked):
        body = {"gcs_source": {"uri": "gs://bucket/**"}}
        operation = trial.ok("POST", f"{TRIAL}:import", body)
        assert [call[:2] for call in asked] == [("start_import", "gs://bucket/**")]
        assert operation["name"] == f"{DATASET}/operations/op-1"
        assert operation["metadata"]["@type"].endswith(
            "google.cloud.healthcare.v1.OperationMetadata"
        )
        assert operation["metadata"]["createTime"].endswith("Z")
        assert "store" not in operation
        assert "owner" not in operation

    def test_exports_to_files(self, trial, asked):
        destination = {"uriPrefix": "gs://bucket/out", "mimeType": "image/png"}
        trial.ok("POST", f"{TRIAL}:export", {"gcsDestination": destination})
        paths = {"resourcePathsGcsUri": "gs://bucket/paths"}
        body = {"gcsDestination": {"uriPrefix": "gs://b"}, "filterConfig": paths}
        trial.ok("POST", f"{TRIAL}:export", body)
        assert asked == [
            ("start_export_files", "gs://bucket/out", "image/png", "", NOT_ON_DATAFLOW),
            ("start_export_files", "gs://b", "", "gs://bucket/paths", NOT_ON_DATAFLOW),
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
        arguments = "bq://project1.d.t", *expected, "", NOT_ON_DATAFLOW
        assert asked == [("start_export_table", *arguments)]

    @pytest.mark.parametrize(
        ("verb", "body", "said"),
        [
            ("import", {}, "gcs_source"),
            ("import", {"gcsSource": {}}, "gcs_source"),
            ("import", {"gcsSource": {"uri": "gs://b/**"}, "colour": 1}, "colour"),
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
        body = {"gcsSource": {"uri": "gs://b/**"}}
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


class TestOperations:
    @pytest.fixture
    def running(self, trial, root):
        """Three operations that run, as far as can be told."""
        for number in range(3):
            start_operation(
                root,
                parse_store(TRIAL),
                "ImportDicomData",
                f"2026-{number}",
                Owner.this_process(),
                "here",
            )
        return trial

    def test_are_listed_in_pages_the_newest_first(self, running):
        first = running.ok("GET", f"{DATASET}/operations", pageSize=2)
        token = first["nextPageToken"]
        second = running.ok("GET", f"{DATASET}/operations", pageToken=token)
        found = [o["name"].rpartition("/")[2] for o in first["operations"] + second["operations"]]
        assert found == ["2026-2", "2026-1", "2026-0"]
        assert "nextPageToken" not in second
        # What a caller does not understand must not look like the whole list.
        answer = running.call("GET", f"{DATASET}/operations", filter="done=true")
        answer.refused(400, "INVALID_ARGUMENT")

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


class TestForm:
    def test_answers_are_pretty_unless_asked_otherwise(self, trial):
        pretty = trial.call("GET", TRIAL).body.decode()
        assert pretty == json.dumps({"name": TRIAL}, indent=2) + "\n"
        compact = trial.call("GET", TRIAL, prettyPrint="false").body.decode()
        assert compact == json.dumps({"name": TRIAL}) + "\n"

    def test_parameters_of_googles_clients_are_taken(self, trial):
        google = {
            "$.xgafv": "2",
            "alt": "json",
            "key": "k",
            "prettyPrint": "true",
            "fields": "name",
        }
        assert trial.ok("GET", TRIAL, **google, **{"$alt": "json"}) == {"name": TRIAL}
        answer = trial.call("GET", TRIAL, alt="media")
        assert "alt" in answer.refused(400, "INVALID_ARGUMENT")

    @pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha2"])
    def test_other_versions_are_names_of_the_same(self, trial, version):
        answer = trial.raw("GET", f"/{version}/{TRIAL}".encode())
        assert answer.content == {"name": TRIAL}
        trial.raw("GET", f"/v2/{TRIAL}".encode()).refused(404, "NOT_FOUND")

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", ""),
            ("GET", "/nothing"),
            ("POST", TRIAL),
            ("PUT", TRIAL),
            ("OPTIONS", TRIAL),
            ("GET", f"{TRIAL}/"),
            ("GET", f"{TRIAL}/dicomWeb/studies"),
            ("POST", f"{TRIAL}:setIamPolicy"),
        ],
    )
    def test_what_is_not_there_is_not_found(self, trial, method, path):
        trial.call(method, path).refused(404, "NOT_FOUND")

    def test_bodies_have_a_limit_and_belong_to_methods_that_take_one(self, trial):
        body = {"labels": {"k": "x" * MAX_BODY_BYTES}}
        answer = trial.call("PATCH", TRIAL, body, updateMask="labels")
        assert "at most" in answer.refused(400, "INVALID_ARGUMENT")
        trial.call("DELETE", TRIAL, {"a": 1}).refused(400, "INVALID_ARGUMENT")

    def test_an_object_with_a_key_twice_or_endless_depth_is_refused(self, trial):
        path = f"/v1/{TRIAL}".encode()
        for body in (b'{"labels": {}, "labels": {}}', b'{"labels":' * 5000, b"[" * 100_000):
            trial.raw("PATCH", path, b"updateMask=labels", body).refused(400, "INVALID_ARGUMENT")

    def test_a_parameter_twice_is_refused(self, trial):
        answer = trial.raw("GET", f"/v1/{DATASET}/dicomStores".encode(), b"pageSize=1&page_size=2")
        assert "twice" in answer.refused(400, "INVALID_ARGUMENT")

    def test_storage_that_fails_is_told_without_its_text(self, trial, monkeypatch, caplog):
        def fail(*_):
            raise OSError(SECRET)

        monkeypatch.setattr(dicom_service.dicom_store, "get_store", fail)
        answer = trial.call("GET", TRIAL)
        assert "try again" in answer.refused(503, "UNAVAILABLE")
        assert SECRET.encode() not in answer.body
        assert SECRET not in caplog.text

    def test_a_bug_is_an_answer_too_and_its_place_is_logged(self, trial, monkeypatch, caplog):
        def fail(*_):
            raise KeyError(SECRET)

        monkeypatch.setattr(dicom_service.dicom_store, "get_store", fail)
        trial.call("GET", TRIAL).refused(500, "INTERNAL")
        assert "in fail" in caplog.text
        assert SECRET not in caplog.text


class TestCallers:
    @pytest.fixture
    def login(self, root, tmp_path):
        """A function that makes a client and the header of a token with some permissions."""
        path = tmp_path / "tokens"
        path.touch(0o600)

        def make(permissions, resource):
            token, entry = make_token("someone", permissions, [resource])
            path.write_text(json.dumps(entry) + "\n")
            return client_of(root, auth=str(path)), {"authorization": f"Bearer {token}"}

        return make

    def test_without_a_token_nothing_is_answered(self, login):
        client, _ = login(["healthcare.*"], "*")
        for headers in ({}, {"authorization": "Bearer wrong"}):
            answer = client.call("GET", TRIAL, headers=headers)
            answer.refused(401, "UNAUTHENTICATED")
            assert answer.headers["www-authenticate"] == "Bearer"

    def test_a_token_is_good_for_its_permissions_and_stores(self, login, root):
        create_store(root, parse_store(TRIAL))
        create_store(root, parse_store(f"{DATASET}/dicomStores/other"))
        client, headers = login(["healthcare.dicomStores.get"], TRIAL)
        assert client.call("GET", TRIAL, headers=headers).content == {"name": TRIAL}
        for method, path in [
            ("DELETE", TRIAL),
            ("GET", f"{DATASET}/dicomStores/other"),
            ("GET", f"{DATASET}/dicomStores/missing"),
            ("GET", f"{DATASET}/dicomStores"),
            ("GET", f"{DATASET}/operations"),
            ("GET", f"{DATASET}/operations/missing"),
        ]:
            answer = client.call(method, path, headers=headers)
            assert "healthcare." in answer.refused(403, "PERMISSION_DENIED")

    def test_the_operations_of_a_store_are_seen_by_those_who_may_see_them(self, login, root):
        owner = Owner.this_process()
        for store in ("trial", "other"):
            name = parse_store(f"{DATASET}/dicomStores/{store}")
            start_operation(root, name, "ImportDicomData", store, owner, "here")
        client, headers = login(["healthcare.operations.*"], TRIAL)
        assert client.call("GET", f"{DATASET}/operations/trial", headers=headers).status == 200
        answer = client.call("GET", f"{DATASET}/operations/other", headers=headers)
        answer.refused(403, "PERMISSION_DENIED")

    def test_a_server_without_login_answers_this_machines_own_programs_only(self, trial):
        path = f"/v1/{TRIAL}".encode()
        for headers in (
            {"host": "rebound.example"},
            {"host": ""},
            {"host": "localhost.example:80"},
            {"origin": "https://evil.example"},
            {"origin": "null"},
        ):
            trial.raw("GET", path, headers=headers).refused(403, "PERMISSION_DENIED")
        for headers in (
            {"host": "127.0.0.1:8080"},
            {"host": "[::1]:8080"},
            {"origin": "http://localhost:8080"},
        ):
            assert trial.raw("GET", path, headers=headers).status == 200


def test_the_root_is_not_told_to_callers(root):
    answer = client_of(root).call("GET", TRIAL)
    assert root.root not in answer.refused(404, "NOT_FOUND")


def test_a_root_that_cannot_hold_stores_is_refused_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot hold a store"):
        client_of(Storage(str(tmp_path / "file")))
