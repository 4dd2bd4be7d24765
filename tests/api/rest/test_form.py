"""The form of requests and answers."""

import json

import pytest

from dicomferry.api import dicom_service
from dicomferry.api.rest.request_body import MAX_BODY_BYTES
from tests.api.serving import DATASET, TRIAL

# What the text of an exception may hold, so what it must not be told by.
SECRET = "Doe^Jane"
ALLOWED = "healthcare.dicomStores.get"
STREAM = {"bigqueryDestination": {"tableUri": "bq://project1.d.t"}}
TOPIC = {"pubsubTopic": "projects/p/topics/t"}


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
            ("POST", f"{TRIAL}:frobnicate"),
        ],
    )
    def test_what_is_not_there_is_not_found(self, trial, method, path):
        trial.call(method, path).refused(404, "NOT_FOUND")

    def test_bodies_have_a_limit_and_belong_to_methods_that_take_one(self, trial):
        body = {"labels": {"k": "x" * MAX_BODY_BYTES}}
        answer = trial.call("PATCH", TRIAL, body, updateMask="labels")
        assert f"at most {MAX_BODY_BYTES} bytes" in answer.refused(400, "INVALID_ARGUMENT")
        trial.call("DELETE", TRIAL, {"a": 1}).refused(400, "INVALID_ARGUMENT")

    @pytest.mark.parametrize(
        ("path", "body", "answer"),
        [
            (f"{TRIAL}:testIamPermissions", {"permissions": ALLOWED}, {"permissions": [ALLOWED]}),
            (f"{TRIAL}?updateMask=streamConfigs", {"streamConfigs": STREAM},
             {"name": TRIAL, "streamConfigs": [STREAM]}),
            (f"{TRIAL}:setIamPolicy",
             {"policy": {"bindings": {"role": "roles/viewer", "members": "user:a@example.com"}}},
             "UNIMPLEMENTED"),
            (f"{TRIAL}:testIamPermissions", {"permissions": 5}, "INVALID_ARGUMENT"),
            (f"{TRIAL}:testIamPermissions", {"permissions": {"a": "b"}}, "INVALID_ARGUMENT"),
            (f"{TRIAL}?updateMask=labels", {"labels": ["a"]}, "INVALID_ARGUMENT"),
            (f"{TRIAL}?updateMask=notificationConfig", {"notificationConfig": [TOPIC]},
             "INVALID_ARGUMENT"),
        ],
    )  # fmt: skip
    def test_one_value_is_a_list_of_one(self, trial, path, body, answer):
        path, _, query = path.partition("?")
        method = "PATCH" if query else "POST"
        content = json.dumps(body).encode()
        got = trial.raw(method, f"/v1/{path}".encode(), query.encode(), content).content
        assert got.get("error", {}).get("status", got) == answer

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
