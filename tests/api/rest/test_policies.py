"""Policies: callers ask what they may, and are told that tokens say it."""

import json

import pytest

from dicomferry.api.access import make_token
from dicomferry.resource_names import parse_store
from dicomferry.store.dicom_store import create_store
from tests.api.serving import DATASET, TRIAL, client_of

MISSING = f"{DATASET}/dicomStores/missing"
ASKED = [
    "healthcare.dicomStores.get",
    "healthcare.dicomStores.delete",
    "healthcare.dicomStores.setIamPolicy",
    "healthcare.fhirStores.get",
]


@pytest.fixture
def login(root, tmp_path):
    """A function that makes a call with a token of some permissions on a resource."""
    create_store(root, parse_store(TRIAL))
    create_store(root, parse_store(f"{DATASET}/dicomStores/other"))
    path = tmp_path / "tokens"
    path.touch(0o600)

    def make(permissions, resource):
        token, entry = make_token("someone", permissions, [resource])
        path.write_text(json.dumps(entry) + "\n")
        client = client_of(root, auth=str(path))
        headers = {"authorization": f"Bearer {token}"}
        return lambda *call, **given: client.call(*call, headers=headers, **given)

    return make


def permitted(call, resource):
    answer = call("POST", f"{resource}:testIamPermissions", {"permissions": ASKED})
    assert answer.status == 200
    return answer.content


def test_a_caller_has_what_its_token_grants_here(login):
    call = login(["healthcare.dicomStores.get"], TRIAL)
    assert permitted(call, TRIAL) == {"permissions": ["healthcare.dicomStores.get"]}
    assert permitted(call, f"{DATASET}/dicomStores/other") == {}
    assert permitted(call, DATASET) == {}
    call = login(["*"], DATASET)
    both = {"permissions": ["healthcare.dicomStores.get", "healthcare.dicomStores.delete"]}
    assert permitted(call, TRIAL) == both
    assert permitted(call, DATASET) == both
    assert permitted(call, MISSING) == {}
    assert permitted(login(["*"], "*"), "projects/p/locations/l/datasets/missing") == {}


def test_no_resource_has_a_policy_of_its_own(login):
    call = login(["healthcare.datasets.getIamPolicy"], DATASET)
    assert call("GET", f"{DATASET}:getIamPolicy").content == {"etag": "ACAB"}
    answer = call("GET", f"{TRIAL}:getIamPolicy")
    assert "dicomStores.getIamPolicy" in answer.refused(403, "PERMISSION_DENIED")
    call = login(["healthcare.*"], "projects/p")
    for version in (0, 1, 3):
        given = {"options.requestedPolicyVersion": version}
        assert call("GET", f"{TRIAL}:getIamPolicy", **given).content == {"etag": "ACAB"}
    given = {"options.requestedPolicyVersion": 2}
    call("GET", f"{TRIAL}:getIamPolicy", **given).refused(400, "INVALID_ARGUMENT")
    call("GET", f"{MISSING}:getIamPolicy").refused(404, "NOT_FOUND")


@pytest.mark.parametrize("resource", [DATASET, TRIAL, MISSING])
def test_none_can_be_set_and_the_reason_is_told(trial, resource):
    binding = {"role": "roles/viewer", "members": ["allUsers"]}
    body = {"policy": {"bindings": [binding]}}
    said = trial.call("POST", f"{resource}:setIamPolicy", body).refused(501, "UNIMPLEMENTED")
    assert "tokens" in said


def test_patterns_cannot_be_tested(trial):
    body = {"permissions": ["healthcare.*"]}
    trial.call("POST", f"{TRIAL}:testIamPermissions", body).refused(400, "INVALID_ARGUMENT")
    trial.call("POST", f"{TRIAL}:testIamPermissions", {}).refused(400, "INVALID_ARGUMENT")
