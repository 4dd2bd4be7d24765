"""Lists of stores, page by page."""

import pytest

from dicomferry.resource_names import parse_store
from dicomferry.store.dicom_store import create_store
from tests.api.serving import DATASET, ids


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
                                            {"pageSize": 2**31}, {"color": 1}])  # fmt: skip
    def test_wrong_parameters_are_refused(self, client, parameters):
        answer = client.call("GET", f"{DATASET}/dicomStores", **parameters)
        answer.refused(400, "INVALID_ARGUMENT")

    def test_a_dataset_that_is_not_there_is_empty(self, client):
        assert client.ok("GET", f"{DATASET}/dicomStores") == {}
        assert client.ok("GET", f"{DATASET}/operations") == {}
