"""Every method of the published API, as the packaged discovery document describes it, is called."""

import json
import re
from pathlib import Path

import googleapiclient
import pytest

from tests.api.serving import DATASET, TRIAL, client_of

DISCOVERY = json.loads(
    (
        Path(googleapiclient.__file__).parent / "discovery_cache/documents/healthcare.v1.json"
    ).read_text()
)
PREFIX = "healthcare.projects.locations."
STORES = f"{PREFIX}datasets.dicomStores."
OPERATIONS = f"{PREFIX}datasets.operations."
# What is served: query and body, the status of the answer.
SERVED = {
    f"{PREFIX}datasets.create": ({"datasetId": "new"}, {}, 200),
    f"{PREFIX}datasets.get": ({}, None, 200),
    f"{PREFIX}datasets.list": ({"pageSize": 1}, None, 200),
    f"{PREFIX}datasets.patch": ({"updateMask": "timeZone"}, {"timeZone": "UTC"}, 200),
    f"{PREFIX}datasets.getIamPolicy": ({"options.requestedPolicyVersion": 3}, None, 200),
    f"{PREFIX}datasets.testIamPermissions": (
        {},
        {"permissions": ["healthcare.datasets.get"]},
        200,
    ),
    f"{PREFIX}datasets.setIamPolicy": ({}, {"policy": {}}, 501),
    f"{STORES}create": ({"dicomStoreId": "new"}, {}, 200),
    f"{STORES}get": ({}, None, 200),
    f"{STORES}list": ({"pageSize": 1, "filter": "labels.a=b"}, None, 200),
    f"{STORES}patch": ({"updateMask": "labels"}, {"labels": {"a": "b"}}, 200),
    f"{STORES}getDICOMStoreMetrics": ({}, None, 200),
    f"{STORES}getIamPolicy": ({}, None, 200),
    f"{STORES}testIamPermissions": ({}, {"permissions": ["healthcare.dicomStores.get"]}, 200),
    f"{STORES}setIamPolicy": ({}, {"policy": {}}, 501),
    # Nothing is at these places, which is told before a job begins.
    f"{STORES}import": ({}, {"gcsSource": {"uri": "/elsewhere/**"}}, 403),
    f"{STORES}export": ({}, {"gcsDestination": {"uriPrefix": "/elsewhere"}}, 403),
    f"{OPERATIONS}list": ({"pageSize": 1}, None, 200),
    f"{OPERATIONS}get": ({}, None, 200),
    f"{OPERATIONS}cancel": ({}, {}, 200),
    # These end it.
    f"{STORES}delete": ({}, None, 200),
    f"{PREFIX}datasets.delete": ({}, None, 200),
}
NAMES = {"projectsId": "p", "locationsId": "l", "datasetsId": "d", "dicomStoresId": "trial"}


def all_methods(resource):
    yield from resource.get("methods", {}).values()
    for inner in resource.get("resources", {}).values():
        yield from all_methods(inner)


METHODS = {method["id"]: method for method in all_methods(DISCOVERY["resources"]["projects"])}


@pytest.fixture
def client(root, monkeypatch):
    """A client of a service that has a dataset and a store."""
    monkeypatch.setattr("dicomferry.jobs.launch._start", lambda *_: None)
    client = client_of(root)
    made = client.ok("POST", DATASET.rpartition("/")[0], {}, datasetId="d")
    client.ok("POST", f"{DATASET}/dicomStores", {}, dicomStoreId="trial")
    client.operation = made["name"].rpartition("/")[2]
    return client


def called(client, method, query, body):
    """The answer of a method; ids that are not there are 1."""
    names = NAMES | {"operationsId": client.operation}
    path = re.sub(r"\{(\w+)\}", lambda match: names.get(match[1], "1"), method["flatPath"])
    return client.call(method["httpMethod"], path.removeprefix("v1/"), body, **query)


def has_form(value, schema):
    """Whether a value is what the document describes; it describes neither Any nor maps closely."""
    if "$ref" in schema:
        schema = DISCOVERY["schemas"][schema["$ref"]]
    if schema["type"] == "object" and "properties" in schema:
        known = schema["properties"]
        return set(value) <= set(known) and all(
            has_form(inner, known[name]) for name, inner in value.items()
        )
    if schema["type"] == "array":
        return all(has_form(inner, schema["items"]) for inner in value)
    kinds = {"string": str, "boolean": bool, "integer": int, "number": float, "object": dict}
    return isinstance(value, kinds[schema["type"]])


def test_what_is_served_answers_as_described(client):
    for name, (query, body, status) in SERVED.items():
        answer = called(client, METHODS[name], query, body)
        if status == 200:
            assert answer.status == 200, (name, answer.body)
            assert has_form(answer.content, METHODS[name]["response"]), (name, answer.content)
        else:
            answer.refused(status, {501: "UNIMPLEMENTED", 403: "PERMISSION_DENIED"}[status])


def test_all_else_is_refused_as_not_implemented_and_named(client):
    others = set(METHODS) - set(SERVED)
    assert len(others) > 100
    for name in sorted(others):
        body = {} if "request" in METHODS[name] else None
        said = called(client, METHODS[name], {}, body).refused(501, "UNIMPLEMENTED")
        assert f"there is no {METHODS[name]['httpMethod']} /v1/" in said, name


@pytest.mark.usefixtures("any_ids")
@pytest.mark.parametrize("verb", ["frobnicate", "import", "getIamPolicies"])
def test_a_verb_that_nobody_knows_is_named(client, verb):
    for method in ("GET", "DELETE"):
        said = client.call(method, f"{TRIAL}:{verb}").refused(404, "NOT_FOUND")
        assert f"there is no {method} with the verb ':{verb}'" in said
        said = client.call(method, f"{TRIAL}%3A{verb}").refused(404, "NOT_FOUND")
        assert said == f"{TRIAL}:{verb} does not exist"
    if verb != "import":
        said = client.call("POST", f"{TRIAL}:{verb}", {}).refused(404, "NOT_FOUND")
        assert f":{verb}" in said
    client.ok("POST", f"{DATASET}/dicomStores", {}, dicomStoreId=f"x:{verb}")
    assert client.ok("GET", f"{DATASET}/dicomStores/x:{verb}")["name"].endswith(f"x:{verb}")
