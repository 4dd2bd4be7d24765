"""What the programs of all runtimes need: their libraries, a server and a token."""

import json
from typing import NamedTuple

import pytest

from dicomferry.api.access import make_token
from tests.api.serving import serving
from tests.clients.runtimes import RUNTIMES


class Served(NamedTuple):
    """A running server: where it is, and a token that may do everything there."""

    url: str
    token: str


@pytest.fixture(params=RUNTIMES, ids=lambda runtime: runtime.name)
def runtime(request):
    """Each runtime whose libraries are installed."""
    if not request.param.is_ready:
        pytest.skip(f"the client of {request.param.name} is not installed here: make clients")
    return request.param


@pytest.fixture
def served(root, tmp_path):
    """A server that callers have to log in to."""
    token, entry = make_token("caller", ["healthcare.*"], ["*"])
    tokens = tmp_path / "auth.jsonl"
    tokens.write_text(json.dumps(entry) + "\n")
    tokens.chmod(0o600)
    with serving(root, auth=str(tokens)) as ports:
        yield Served(ports.rest, token)
