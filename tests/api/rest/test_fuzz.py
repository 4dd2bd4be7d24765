"""Whatever is sent to REST, the answer is JSON and never that the server broke."""

import functools
import json
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dicomferry.api.proto.generated import dataset_service_pb2, dicom_service_pb2
from dicomferry.api.rest.http_rule import routes_of
from dicomferry.api.rpcs import Handlers, all_rpcs
from dicomferry.jobs import launch
from dicomferry.operations.folder import start_operation
from dicomferry.operations.record import Method
from dicomferry.places import Bounds, PlaceRules
from dicomferry.resource_names import parse_store
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store
from tests.api.serving import DATASET, TRIAL, client_of

FIELDS = sorted(
    {
        name
        for module in (dataset_service_pb2, dicom_service_pb2)
        for message in module.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
        for name in (field.name, field.json_name)
    }
)
PARAMETERS = [
    *FIELDS,
    "updateMask",
    "pageToken",
    "alt",
    "$.xgafv",
    "prettyPrint",
    "dicomStore.name",
]
TEXTS = [
    "", "trial", TRIAL, "gs://bucket/**", "gs://bucket", "bq://project1.d.t", "delta:/x",
    "projects/p/topics/t", "labels", "labels.a", "name", "image/png", "WRITE_TRUNCATE",
    "labels.a=b", "\0", "\ud800", "-1", "1e999", "true",
]  # fmt: skip

texts = st.one_of(st.sampled_from(TEXTS), st.text(max_size=20))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**31, -(2**63), 10**40]),
    st.floats(),
    texts,
)
bodies = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(FIELDS), texts), inner, max_size=4),
    ),
    max_leaves=10,
)
# A body that gets far: the fields of the contract with what may be in them.
likely = st.fixed_dictionaries(
    {},
    optional={
        "name": texts,
        "policy": bodies,
        "permissions": st.lists(texts, max_size=2),
        "labels": st.one_of(st.dictionaries(texts, texts, max_size=2), bodies),
        "gcsSource": st.fixed_dictionaries({"uri": texts}),
        "gcsDestination": st.fixed_dictionaries({"uriPrefix": texts}, optional={"mimeType": texts}),
        "bigqueryDestination": st.fixed_dictionaries(
            {"tableUri": texts}, optional={"writeDisposition": scalars, "schemaJson": bodies}
        ),
        "filterConfig": st.fixed_dictionaries({"resourcePathsGcsUri": texts}),
        "notificationConfig": bodies,
        "streamConfigs": st.lists(
            st.fixed_dictionaries(
                {"bigqueryDestination": st.fixed_dictionaries({"tableUri": texts})}
            ),
            max_size=2,
        ),
    },
)
contents = st.one_of(
    st.one_of(likely, bodies).map(lambda body: json.dumps(body).encode()),
    st.binary(max_size=40),
    st.just(b""),
)


def escaped(text):
    return quote(text.encode("utf-8", "surrogatepass"), safe=":")


segments = st.one_of(
    st.sampled_from(["trial", "p", "l", "d", "op-1", "..", "%", "%2F", "%FF", "%00", "a:b"]),
    st.text(max_size=8).map(escaped),
)
wild_queries = st.lists(
    st.one_of(
        st.tuples(st.one_of(st.sampled_from(PARAMETERS), texts), texts).map(
            lambda pair: f"{escaped(pair[0])}={escaped(pair[1])}"
        ),
        st.text(st.characters(codec="ascii"), max_size=10),
    ),
    max_size=4,
).map(lambda pairs: "&".join(pairs).encode())
usual_queries = {
    "CreateDataset": st.text("abc", max_size=3).map(lambda text: f"datasetId={text}".encode()),
    "GetIamPolicy": st.sampled_from([b"", b"options.requestedPolicyVersion=3"]),
    "ListDatasets": st.just(b"pageSize=1"),
    "UpdateDataset": st.just(b"updateMask=timeZone"),
    "UpdateDicomStore": st.sampled_from(
        [b"updateMask=labels", b"updateMask=streamConfigs,notificationConfig"]
    ),
    "CreateDicomStore": st.text("abc", max_size=3).map(
        lambda text: f"dicomStoreId={text}".encode()
    ),
    "ListDicomStores": st.sampled_from([b"pageSize=1", b"filter=labels.a%3Db&alt=json"]),
    "ListOperations": st.just(b"pageSize=1"),
}
oddly = st.sampled_from([False, False, False, True])


@functools.cache
def all_routes():
    root = open_storage("nowhere")
    return routes_of(all_rpcs(Handlers(root, PlaceRules(Bounds.of_server()))))


@st.composite
def paths(draw, route):
    """The path of a route with other ids in it, most of them those that are there."""
    known = {
        "projects": "p",
        "locations": "l",
        "datasets": "d",
        "dicomStores": "trial",
        "operations": "op-1",
    }
    template = route.path.pattern.replace("(?:v1|v1beta1|v1alpha2)", "v1")
    parts = template.translate({ord("("): "", ord(")"): ""}).replace("[^/]+", "\0")
    wild = draw(oddly)
    path = []
    for part in parts.split("/"):
        usual = known.get(path[-1], "") if path else ""
        path.append(part.replace("\0", draw(segments) if wild else usual))
    return "/".join(path).encode("ascii")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A service whose jobs are records only: thousands of processes prove nothing more."""
    root = open_storage(str(tmp_path_factory.mktemp("fuzz")))
    create_store(root, parse_store(TRIAL))

    def record(store):
        name = parse_store(f"{DATASET}/dicomStores/{store.id}")
        return start_operation(root, name, Method.IMPORT, "op-1")

    record(parse_store(TRIAL))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "start", lambda request, *_: record(request.store))
        patch.setattr(launch, "_start", lambda *_: None)
        yield client_of(root)


def check(answer):
    assert answer.status < 500 or answer.status == 501, answer.body
    assert ("error" in answer.content) == (answer.status != 200)


@pytest.mark.parametrize("route", all_routes(), ids=lambda route: route.rpc.name)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_request_to_a_method_breaks_the_server(client, route, data):
    if client.call("GET", TRIAL).status == 404:
        client.ok("POST", f"{DATASET}/dicomStores", dicomStoreId="trial")
    usual_query = usual_queries.get(route.rpc.name, st.just(b""))
    query = data.draw(wild_queries if data.draw(oddly) else usual_query)
    content = data.draw(contents) if route.body or data.draw(oddly) else b""
    check(client.raw(route.method, data.draw(paths(route)), query, content))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS", "X"]),
    st.lists(segments, max_size=12),
    wild_queries,
    contents,
)
@example("GET", ["projects", "p%0A", "locations"], b"%", b"")
def test_no_other_request_does(client, method, parts, query, body):
    answer = client.raw(method, "/".join(["/v1", *parts]).encode("ascii"), query, body)
    assert answer.status < 500 or answer.status == 501
    if parts != ["projects"]:
        assert answer.status >= 400
        assert answer.content["error"]["status"] in (
            "NOT_FOUND",
            "INVALID_ARGUMENT",
            "UNIMPLEMENTED",
        )
