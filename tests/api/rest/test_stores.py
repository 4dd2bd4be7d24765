"""Stores, made, read, changed and deleted."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dicomferry.resource_names import parse_dataset, parse_store
from dicomferry.store.dicom_store import create_store, get_store, list_stores
from tests.api.serving import DATASET, TRIAL, Client, client_of, ids
from tests.factories import dicom_bytes
from tests.pipelines.jobs import run_import, write_files

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
    @pytest.mark.usefixtures("any_ids")
    def test_ids_of_any_kind_have_their_path(self, client, wire, store_id):
        made = client.ok("POST", f"{DATASET}/dicomStores", dicomStoreId=store_id)
        assert made["name"] == f"{DATASET}/dicomStores/{store_id}"
        assert client.ok("GET", f"{DATASET}/dicomStores/{wire}") == made
        assert ids(client.ok("GET", f"{DATASET}/dicomStores")) == [store_id]
        metrics = client.ok("GET", f"{DATASET}/dicomStores/{wire}:getDICOMStoreMetrics")
        assert metrics["name"] == made["name"]
        assert client.ok("DELETE", f"{DATASET}/dicomStores/{wire}") == {}

    @pytest.mark.parametrize(
        "store_id",
        ["", "a/b", "x" * 257, "a\nb", "\x7f", "a\u202eb", "\u2066a", "a b", "a:b", "a%b", "a&b"],
    )
    def test_other_ids_are_refused(self, client, store_id):
        answer = client.call("POST", f"{DATASET}/dicomStores", dicomStoreId=store_id)
        answer.refused(400, "INVALID_ARGUMENT")

    @pytest.mark.parametrize("store_id", ["a.b-c_1", "été", "..", "Trial", "x" * 256, "放射線"])
    def test_new_ids_have_letters_digits_and_three_signs(self, client, store_id):
        made = client.ok("POST", f"{DATASET}/dicomStores", dicomStoreId=store_id)
        assert made["name"] == f"{DATASET}/dicomStores/{store_id}"

    def test_a_slash_cannot_be_smuggled_into_an_id(self, client):
        answer = client.call("GET", f"{DATASET}/dicomStores/a%2Fb")
        assert "cannot have a '/'" in answer.refused(400, "INVALID_ARGUMENT")

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
            ({"color": "red"}, "color"),
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
        assert trial.ok("GET", f"{DATASET}/dicomStores") == {}
        [operation] = trial.ok("GET", f"{DATASET}/operations")["operations"]
        assert operation["metadata"]["apiMethodName"].endswith(".DeleteDicomStore")
        until = time.monotonic() + 60
        while not trial.ok("GET", operation["name"]).get("done"):
            assert time.monotonic() < until
            time.sleep(0.1)
        assert "error" not in trial.ok("GET", operation["name"])
        assert list(data.list()) == []

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

    @pytest.mark.parametrize("mask", ["", "name", "color", "labels,name", "streamConfigs.x"])
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
