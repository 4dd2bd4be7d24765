"""Datasets, made, read, changed and deleted."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from dicomferry.jobs import launch
from tests.api.serving import DATASET, TRIAL, Client

LOCATION, _, ID = DATASET.partition("/datasets/")
DATASETS = f"{LOCATION}/datasets"
TYPE = "type.googleapis.com/google.cloud.healthcare.v1.dataset.Dataset"


@pytest.fixture
def deletions(monkeypatch):
    """The names of stores whose data is deleted from now on, which starts no process."""
    names = []
    monkeypatch.setattr(launch, "_start", lambda *given: names.append(str(given[2].store)))
    return names


def listed(client, **parameters):
    page = client.ok("GET", DATASETS, **parameters)
    return [each["name"] for each in page.get("datasets", [])], page.get("nextPageToken")


class TestDatasets:
    def test_creation_is_an_operation_that_has_ended(self, client):
        made = client.ok("POST", DATASETS, {"timeZone": "America/New_York"}, datasetId=ID)
        assert made["done"] is True
        assert made["response"] == {"@type": TYPE, "name": DATASET, "timeZone": "America/New_York"}
        metadata = made["metadata"]
        assert metadata["apiMethodName"].endswith(".v1.dataset.DatasetService.CreateDataset")
        assert metadata["endTime"] == metadata["createTime"]
        assert client.ok("GET", made["name"]) == made
        assert client.ok("GET", f"{DATASET}/operations") == {"operations": [made]}
        assert client.ok("POST", f"{made['name']}:cancel", {}) == {}
        assert client.ok("GET", DATASET) == {"name": DATASET, "timeZone": "America/New_York"}

    @pytest.mark.parametrize("version", ["v1beta1", "v1alpha2"])
    def test_operations_have_the_names_of_the_version_that_is_asked(self, client, version):
        path = f"/{version}/{DATASETS}".encode()
        made = client.raw("POST", path, f"datasetId={ID}".encode()).content
        names = f"google.cloud.healthcare.{version}."
        assert made["response"]["@type"] == f"type.googleapis.com/{names}dataset.Dataset"
        assert made["metadata"]["@type"] == f"type.googleapis.com/{names}OperationMetadata"
        method = f"{names}dataset.DatasetService.CreateDataset"
        assert made["metadata"]["apiMethodName"] == method
        listed = client.raw("GET", f"/{version}/{DATASET}/operations".encode()).content
        assert listed == {"operations": [made]}
        assert client.ok("GET", made["name"])["response"]["@type"] == TYPE

    def test_a_dataset_exists_as_long_as_it_has_a_store(self, client, deletions):
        missing = client.call("GET", DATASET).refused(404, "NOT_FOUND")
        assert missing == f"{DATASET} does not exist"
        assert listed(client) == ([], None)
        client.ok("POST", f"{DATASET}/dicomStores", dicomStoreId="trial")
        assert client.ok("GET", DATASET) == {"name": DATASET}
        assert listed(client) == ([DATASET], None)
        taken = client.call("POST", DATASETS, datasetId=ID).refused(409, "ALREADY_EXISTS")
        assert taken == f"{DATASET} exists already"
        client.ok("DELETE", TRIAL)
        client.call("GET", DATASET).refused(404, "NOT_FOUND")
        client.ok("POST", DATASETS, datasetId=ID)

    def test_one_of_those_who_create_it_at_once_has_created_it(self, client):
        def create(_):
            return Client(client.app).call("POST", DATASETS, datasetId=ID).status

        with ThreadPoolExecutor(4) as threads:
            assert sorted(threads.map(create, range(4))) == [200, 409, 409, 409]

    @pytest.mark.usefixtures("any_ids")
    def test_deletion_takes_the_stores_along(self, client, deletions):
        client.ok("POST", DATASETS, {"timeZone": "Europe/Berlin"}, datasetId=ID)
        for store in ("trial", "x:y"):
            client.ok("POST", f"{DATASET}/dicomStores", dicomStoreId=store)
        assert client.ok("DELETE", DATASET) == {}
        assert deletions == [TRIAL, f"{DATASET}/dicomStores/x:y"]
        client.call("GET", DATASET).refused(404, "NOT_FOUND")
        client.call("GET", TRIAL).refused(404, "NOT_FOUND")
        client.call("DELETE", DATASET).refused(404, "NOT_FOUND")
        client.call("PATCH", DATASET, {}, updateMask="timeZone").refused(404, "NOT_FOUND")
        assert listed(client) == ([], None)
        client.ok("POST", f"{DATASET}/dicomStores", dicomStoreId="trial")
        assert client.ok("GET", DATASET) == {"name": DATASET}, "nothing of the former one"

    def test_only_what_the_mask_names_changes(self, client):
        client.ok("POST", f"{DATASET}/dicomStores", dicomStoreId="trial")
        zone = {"timeZone": "UTC", "satisfiesPzs": True}
        assert client.ok("PATCH", DATASET, zone, updateMask="timeZone")["timeZone"] == "UTC"
        assert client.ok("GET", DATASET) == {"name": DATASET, "timeZone": "UTC"}
        assert client.ok("PATCH", DATASET, {}, updateMask="timeZone") == {"name": DATASET}
        for mask in ("", "name", "satisfiesPzi", "labels"):
            answer = client.call("PATCH", DATASET, {}, updateMask=mask)
            answer.refused(400, "INVALID_ARGUMENT")

    def test_pages_follow_the_ids(self, client):
        ids = ["B", "a", "b", "été.1"]
        for each in reversed(ids):
            client.ok("POST", DATASETS, datasetId=each)
        names, token = listed(client, pageSize=3)
        assert names == [f"{DATASETS}/{each}" for each in ids[:3]]
        assert listed(client, pageSize=3, pageToken=token) == ([f"{DATASETS}/{ids[3]}"], None)
        other = client.call("GET", "projects/p/locations/m/datasets", pageToken=token)
        other.refused(400, "INVALID_ARGUMENT")

    @pytest.mark.parametrize("dataset_id", ["", "a/b", "a:b", "a b", "x" * 257, "a\n"])
    def test_other_ids_are_refused(self, client, dataset_id):
        answer = client.call("POST", DATASETS, datasetId=dataset_id)
        answer.refused(400, "INVALID_ARGUMENT")

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"timeZone": "Mars/Olympus"}, "IANA"),
            ({"encryptionSpec": {"kmsKeyName": "projects/p/k"}}, "encryption_spec"),
            ({"labels": {}}, "labels"),
        ],
    )
    def test_what_breaks_a_rule_is_not_created(self, client, body, said):
        answer = client.call("POST", DATASETS, body, datasetId=ID)
        assert said in answer.refused(400, "INVALID_ARGUMENT")
        assert listed(client) == ([], None)

    def test_the_page_links_to_datasets_without_stores(self, client):
        client.ok("POST", "projects/P/locations/l/datasets", datasetId="été")
        client.ok("POST", DATASETS, datasetId=ID)
        page = client.raw("GET", b"/").body.decode()
        assert ">projects/P/locations/l/datasets/été</a>" in page
        assert f">{DATASET}</a>" in page

    def test_the_page_of_its_creation_links_to_no_store(self, client):
        made = client.ok("POST", DATASETS, datasetId=ID)
        page = client.raw("GET", f"/console/{made['name']}".encode()).body.decode()
        assert "Create dataset" in page
        assert "dicomStores/" not in page
