"""The emulators as pytest fixtures, each started at most once a session."""

from collections.abc import Iterator

import pytest

from tests.emulators.pubsub import PubSubEmulator, pubsub_emulator
from tests.emulators.storage import EmulatorMissingError, StorageEmulator, storage_emulator


@pytest.fixture(scope="session")
def gcs() -> Iterator[StorageEmulator]:
    """Cloud Storage on this machine; a test makes buckets of its own with `gcs.bucket(name)`."""
    try:
        with storage_emulator() as emulator:
            yield emulator
    except EmulatorMissingError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def pubsub() -> Iterator[PubSubEmulator]:
    """Cloud Pub/Sub on this machine; a test makes topics of its own with `pubsub.topic(name)`."""
    try:
        with pubsub_emulator() as emulator:
            yield emulator
    except EmulatorMissingError as missing:
        pytest.skip(str(missing))
