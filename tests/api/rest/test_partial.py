"""Partial answers and the other parameters that all methods of Google's APIs have."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomferry.api.errors import ApiError
from dicomferry.api.proto.generated import dicom_service_pb2
from dicomferry.api.rest.partial import select, selection_of
from tests.api.serving import DATASET, TRIAL

PAGE = dicom_service_pb2.ListDicomStoresResponse.DESCRIPTOR
ANSWER = {
    "dicomStores": [
        {"name": "a", "labels": {"x": "1", "y": "2"}, "notificationConfig": {"pubsubTopic": "t"}},
        {"name": "b"},
    ],
    "nextPageToken": "next",
}


def selected(text):
    return select(ANSWER, selection_of([("fields", text)], "", PAGE))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ANSWER),
        ("*", ANSWER),
        ("nextPageToken", {"nextPageToken": "next"}),
        ("next_page_token", {"nextPageToken": "next"}),
        ("dicomStores/name", {"dicomStores": [{"name": "a"}, {"name": "b"}]}),
        ("dicomStores.name", {"dicomStores": [{"name": "a"}, {"name": "b"}]}),
        ("dicomStores(name), nextPageToken",
         {"dicomStores": [{"name": "a"}, {"name": "b"}], "nextPageToken": "next"}),
        ("dicomStores/labels/x", {"dicomStores": [{"labels": {"x": "1"}}, {}]}),
        ("dicomStores(labels/x,labels/y)", {"dicomStores": [{"labels": {"x": "1", "y": "2"}}, {}]}),
        ("dicomStores/labels,dicomStores/labels/x",
         {"dicomStores": [{"labels": {"x": "1", "y": "2"}}, {}]}),
        ("dicomStores/*/pubsubTopic",
         {"dicomStores": [{"name": "a", "labels": {}, "notificationConfig": {"pubsubTopic": "t"}},
                          {"name": "b"}]}),
    ],
)  # fmt: skip
def test_only_what_is_asked_for_is_answered(text, expected):
    assert selected(text) == expected


@pytest.mark.parametrize(
    "text", ["color", "dicomStores/colour", "nextPageToken/x", "a(", "dicomStores(name", ")", ",",
             "dicomStores//name", "dicomStores(name))", "/", "dicomStores(" * 50],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_refused(text):
    with pytest.raises(ApiError, match="fields: "):
        selected(text)


@given(st.text("ab*/.(), ", max_size=40))
def test_any_text_is_a_selection_or_refused(text):
    try:
        select(ANSWER, selection_of([("fields", text)], "", PAGE))
    except ApiError as refusal:
        assert "fields: " in refusal.message


def test_the_parameter_and_the_header_mean_the_same(trial):
    trial.ok("PATCH", TRIAL, {"labels": {"a": "b"}}, updateMask="labels")
    assert trial.ok("GET", TRIAL, fields="labels") == {"labels": {"a": "b"}}
    answer = trial.call("GET", TRIAL, headers={"X-Goog-FieldMask": "labels"})
    assert answer.content == {"labels": {"a": "b"}}


def test_a_wrong_selection_changes_nothing(trial):
    trial.call("DELETE", TRIAL, fields="color").refused(400, "INVALID_ARGUMENT")
    assert trial.ok("GET", TRIAL, fields="name") == {"name": TRIAL}


@pytest.mark.parametrize(
    ("verb", "body", "said"),
    [
        ("import", {"gcsSource": {"uri": 1}}, "uri must be a text"),
        ("import", {"gcsSource": {"color": "red"}}, "there is no field 'color' in GcsSource"),
        ("import", {"blobStorageSettings": {"blobStorageClass": 99}}, "not one of"),
        ("import", {"blobStorageSettings": {"blobStorageClass": "X"}}, "STANDARD"),
        ("export", {"bigqueryDestination": {"force": "yes"}}, "force must be true or false"),
        ("export", {"bigqueryDestination": {"writeDisposition": 77}}, "not one of"),
        ("export", {"bigqueryDestination": {"writeDisposition": 7777777777777}}, "one of"),
        ("export", {"gcsDestination": {}, "bigqueryDestination": {}}, "oneof destination"),
    ],
)
def test_what_does_not_fit_is_told_in_the_words_of_json(trial, verb, body, said):
    message = trial.call("POST", f"{TRIAL}:{verb}", body).refused(400, "INVALID_ARGUMENT")
    assert said in message
    for word in ("Failed to parse", "NoneType", "'int'", "dict", "object, got", "['"):
        assert word not in message


@pytest.mark.parametrize(
    "labels", [[1], {"a": None}, {"a": 1}, {"a": {}}, "x", None], ids=json.dumps
)
def test_labels_that_are_none_too(trial, labels):
    body = {"labels": labels}
    answer = trial.call("PATCH", TRIAL, body, updateMask="labels")
    assert answer.status == (200 if labels is None else 400)
    assert b"dict" not in answer.body
    assert b"None" not in answer.body


def test_a_number_of_a_query_must_be_one(trial):
    answer = trial.call("GET", f"{DATASET}/dicomStores", pageSize="x")
    assert "it must be an integer" in answer.refused(400, "INVALID_ARGUMENT")
