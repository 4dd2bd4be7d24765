"""Pages and their tokens."""

import base64
import json

import pytest
from google.rpc.code_pb2 import INVALID_ARGUMENT
from hypothesis import given
from hypothesis import strategies as st

from dicomferry.api.errors import ApiError
from dicomferry.api.paging import last_of_page_before, next_page_token, page_size


@pytest.mark.parametrize(("asked", "given_"), [(0, 100), (1, 1), (1000, 1000), (2**31 - 1, 1000)])
def test_sizes_have_a_default_and_a_limit(asked, given_):
    assert page_size(asked) == given_


def test_a_negative_size_is_refused():
    with pytest.raises(ApiError, match="0 or more") as caught:
        page_size(-1)
    assert caught.value.code == INVALID_ARGUMENT


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=256), st.text("ab", max_size=3))
def test_a_token_gives_its_name_back_for_the_same_request_only(name, filter_):
    token = next_page_token(name, "List", "parent", filter_)
    assert token.isascii()
    assert last_of_page_before(token, "List", "parent", filter_) == name
    with pytest.raises(ApiError, match="page_token"):
        last_of_page_before(token, "List", "parent", f"{filter_}x")


def test_no_token_means_the_first_page():
    assert last_of_page_before("", "List") == ""


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'"x"', b"{}", b"[1,2]", b'["a","b"]', b"\xff", b"[" * 2000]
)
def test_what_is_no_token_is_refused(content):
    with pytest.raises(ApiError) as caught:
        last_of_page_before(base64.urlsafe_b64encode(content).decode() or "?", "List")
    assert caught.value.code == INVALID_ARGUMENT


@given(st.text(min_size=1, max_size=50))
def test_any_text_is_refused(text):
    with pytest.raises(ApiError, match="page_token"):
        last_of_page_before(text, "List")


def test_an_endless_token_is_not_read():
    with pytest.raises(ApiError):
        last_of_page_before(base64.b64encode(json.dumps(["x" * 9999, ""]).encode()).decode(), "L")
