"""The requests of Terraform's Google provider, in their order, for datasets and DICOM stores.

The provider is not run: its sources say what it sends (google/services/healthcare and
google/transport of hashicorp/terraform-provider-google). Every call has alt=json and a content
type, also those without a body. Queries are sorted by name. Bodies have the short name, which
is not that of the resource. After each change the resource is read, and what is read has to be
what was asked. A value that the configuration no longer has is in the mask and not in the body.
"""

import json
from urllib.parse import quote, urlencode

import pytest

from dicomferry.jobs import launch
from tests.api.serving import client_of

PLACE = "projects/my-project/locations/us-central1"
DATASET = f"{PLACE}/datasets/tf-test-dataset"
STORE = f"{DATASET}/dicomStores/tf-test-store"
HEADERS = {
    "User-Agent": "Terraform/1.11.4 (+https://www.terraform.io) Terraform-Plugin-SDK/2.37.0"
    " terraform-provider-google/dev",
    "Content-Type": "application/json",
    "Accept-Encoding": "gzip",
    "X-Goog-User-Project": "my-project",  # of user_project_override
    "X-Goog-Api-Client": "gl-go/1.26.8 gdcl/0.312.0",
}


class Provider:
    """What the provider sends, and what it makes of the answers."""

    def __init__(self, client):
        self._client = client

    def send(self, method, path, body=None, **query):
        """One request: the status and the content of its answer."""
        query = urlencode(sorted({**query, "alt": "json"}.items()))
        content = b"" if body is None else json.dumps(body).encode() + b"\n"
        answer = self._client.raw(method, f"/v1/{path}".encode(), query.encode(), content, HEADERS)
        return answer.status, answer.content

    def create(self, collection, parameter, name, **fields):
        """Create a resource, then read it."""
        query = {parameter: name}
        status, answer = self.send("POST", collection, {"name": name, **fields}, **query)
        assert status == 200, answer
        return answer, self.read(f"{collection}/{name}")

    def read(self, resource):
        """The resource; None if it is gone, which is 404 and nothing else."""
        status, answer = self.send("GET", resource)
        if status == 404:
            return None
        assert status == 200, answer
        return answer

    def update(self, resource, mask, **fields):
        """Change what a mask names, then read it."""
        status, answer = self.send("PATCH", resource, fields, updateMask=",".join(mask))
        assert status == 200, answer
        assert answer == self.read(resource)
        return answer

    def delete(self, resource):
        """Delete; one that is gone already is fine. The answer has to be a JSON object."""
        status, answer = self.send("DELETE", resource)
        assert status in (200, 404)
        assert isinstance(answer, dict)
        return status


@pytest.fixture
def provider(root, monkeypatch):
    monkeypatch.setattr(launch, "_start", lambda *_: None)
    return Provider(client_of(root))


@pytest.fixture
def dataset(provider):
    provider.create(f"{PLACE}/datasets", "datasetId", "tf-test-dataset")
    return DATASET


def test_a_dataset(provider):
    assert provider.read(DATASET) is None
    operation, made = provider.create(f"{PLACE}/datasets", "datasetId", "tf-test-dataset")
    assert made == {"name": DATASET}  # the provider makes the short name of it
    # Its waiter asks for the operation by name until it is done, and takes the response.
    status, polled = provider.send("GET", operation["name"])
    assert (status, polled["done"]) == (200, True)
    assert polled["response"]["name"] == DATASET

    zone = {"timeZone": "America/New_York"}
    assert provider.update(DATASET, ["timeZone"], **zone) == {"name": DATASET, **zone}
    # Without time_zone in the configuration, it stays: the field is computed.
    assert provider.read(DATASET) == {"name": DATASET, **zone}
    assert provider.delete(DATASET) == 200
    assert provider.read(DATASET) is None
    assert provider.delete(DATASET) == 404


def test_a_dataset_that_exists_is_no_success(provider, dataset):
    """An error that the provider takes for a state that passes would be repeated for 20 minutes."""
    body = {"name": "tf-test-dataset"}
    status, answer = provider.send("POST", f"{PLACE}/datasets", body, datasetId="tf-test-dataset")
    assert (status, answer["error"]["status"]) == (409, "ALREADY_EXISTS")
    assert "not initialized" not in json.dumps(answer)


def test_a_dicom_store(provider, dataset):
    stores = f"{dataset}/dicomStores"
    _, made = provider.create(stores, "dicomStoreId", "tf-test-store")
    assert made == {"name": STORE}

    given = {
        "notificationConfig": {"pubsubTopic": "projects/my-project/topics/tf-test"},
        "labels": {"label1": "labelvalue1", "goog-terraform-provisioned": "true"},
    }
    changed = provider.update(STORE, ["notificationConfig", "labels"], **given)
    assert changed == {"name": STORE, **given}
    # The mask has what changed; the body has all that the configuration has.
    given["labels"] = {"label1": "other"}
    assert provider.update(STORE, ["labels"], **given) == {"name": STORE, **given}
    # A block that is gone from the configuration: in the mask, and not in the body.
    labels = {"labels": given["labels"]}
    assert provider.update(STORE, ["notificationConfig"], **labels) == {"name": STORE, **labels}
    assert provider.update(STORE, ["labels"]) == {"name": STORE}

    assert provider.delete(STORE) == 200
    assert provider.read(STORE) is None
    assert provider.delete(STORE) == 404
    # It is made again, as `terraform apply -replace` does.
    assert provider.create(stores, "dicomStoreId", "tf-test-store", **given)[1] == {
        "name": STORE,
        **given,
    }


def test_destroying_a_store_and_its_dataset_leaves_neither(provider, dataset):
    """Terraform destroys the store, then the dataset."""
    provider.create(f"{dataset}/dicomStores", "dicomStoreId", "tf-test-store")
    assert [provider.delete(STORE), provider.delete(DATASET)] == [200, 200]
    assert provider.read(DATASET) is None


@pytest.mark.parametrize("resource", [DATASET, STORE])
def test_policies_are_read_and_none_is_set(provider, dataset, resource):
    """google_healthcare_*_iam_*: a policy is read, changed, and set by Google's client for Go."""
    provider.create(f"{dataset}/dicomStores", "dicomStoreId", "tf-test-store")
    status, policy = provider.send("GET", f"{resource}:getIamPolicy", prettyPrint="false")
    assert (status, policy) == (200, {"etag": "ACAB"})
    policy["bindings"] = [{"members": ["user:a@example.org"], "role": "roles/viewer"}]
    status, answer = provider.send(
        "POST", f"{resource}:setIamPolicy", {"policy": policy}, prettyPrint="false"
    )
    # Of the codes that the provider does not repeat (500, 502, 503 are).
    assert (status, answer["error"]["status"]) == (501, "UNIMPLEMENTED")
    assert "dicomferry tokens create" in answer["error"]["message"]


def test_the_sweeper_of_its_tests_lists_and_deletes(provider, dataset):
    status, page = provider.send("GET", f"{PLACE}/datasets", pageSize="100")
    assert (status, page) == (200, {"datasets": [{"name": DATASET}]})
    # A project of a domain has a colon, which the provider does not escape.
    other = "projects/example.com:my-project/locations/us-central1/datasets"
    _, made = provider.create(other, "datasetId", "d")
    assert made == {"name": f"{other}/d"}
    assert provider.read(quote(f"{other}/d")) == made
