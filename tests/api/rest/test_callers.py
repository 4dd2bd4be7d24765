"""What callers are told, and what they are refused."""

import json

import pytest

from dicomferry.api.access import make_token
from dicomferry.operations.folder import start_operation
from dicomferry.operations.owner import Owner
from dicomferry.resource_names import parse_store
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store
from tests.api.serving import DATASET, TRIAL, client_of

# What the text of an exception may hold, so what it must not be told by.
SECRET = "Doe^Jane"


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
            reason = "ACCESS_TOKEN_INVALID" if headers else "CREDENTIALS_MISSING"
            assert answer.content["error"]["details"][0]["reason"] == reason
            assert answer.headers["www-authenticate"] == 'Bearer realm="dicomferry"'

    @pytest.mark.parametrize("parameter", ["access_token", "oauth_token", "$access_token"])
    def test_a_token_may_be_in_the_query(self, login, root, parameter):
        create_store(root, parse_store(TRIAL))
        client, headers = login(["healthcare.*"], "*")
        token = headers["authorization"].removeprefix("Bearer ")
        assert client.ok("GET", TRIAL, **{parameter: token}) == {"name": TRIAL}
        # Neither a wrong one there nor a good one beside a wrong header opens anything.
        client.call("GET", TRIAL, **{parameter: "wrong"}).refused(401, "UNAUTHENTICATED")
        wrong = {"authorization": "Bearer wrong"}
        answer = client.call("GET", TRIAL, headers=wrong, **{parameter: token})
        answer.refused(401, "UNAUTHENTICATED")
        answer = client.call("GET", TRIAL, access_token=token, oauth_token="other")
        answer.refused(400, "INVALID_ARGUMENT")

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
            [info] = answer.content["error"]["details"]
            assert info["reason"] == "IAM_PERMISSION_DENIED"
            assert set(info["metadata"]) == {"permission", "resource"}

    def test_the_operations_of_a_store_are_seen_by_those_who_may_see_them(self, login, root):
        owner = Owner.this_process()
        for store in ("trial", "other"):
            name = parse_store(f"{DATASET}/dicomStores/{store}")
            start_operation(root, name, "ImportDicomData", store, owner)
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
            {"origin": "http://localhost:3000", "host": "localhost:8080"},
            {"origin": "http://127.0.0.1:8080", "host": "localhost:8080"},
        ):
            trial.raw("GET", path, headers=headers).refused(403, "PERMISSION_DENIED")
        for headers in (
            {"host": "127.0.0.1:8080"},
            {"host": "[::1]:8080"},
            {"origin": "http://localhost:8080", "host": "localhost:8080"},
        ):
            assert trial.raw("GET", path, headers=headers).status == 200


def test_the_root_is_not_told_to_callers(root):
    answer = client_of(root).call("GET", TRIAL)
    assert root.root not in answer.refused(404, "NOT_FOUND")


def test_a_root_that_cannot_hold_stores_is_refused_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot hold a store"):
        client_of(open_storage(str(tmp_path / "file")))
