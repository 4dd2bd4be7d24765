"""Clients of a service without login."""

import pytest

from tests.api.serving import DATASET, client_of


@pytest.fixture
def client(root):
    return client_of(root)


@pytest.fixture
def trial(client):
    client.ok("POST", f"{DATASET}/dicomStores", dicomStoreId="trial")
    return client
