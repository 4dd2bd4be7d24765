"""Cloud Pub/Sub on this machine: Google's own emulator, which comes with the gcloud command."""

import contextlib
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from tests.emulators.storage import EmulatorMissingError, die_with_parent, free_port

if TYPE_CHECKING:
    from google.pubsub_v1 import PubsubMessage

_HOST = "127.0.0.1"
_PROJECT = "emulated"
_START_SECONDS = 60
_WAIT_SECONDS = 20


@dataclass(frozen=True)
class PubSubEmulator:
    """A running emulator; `address` is host:port."""

    address: str

    def topic(self, name: str) -> str:
        """Make a topic, with a subscription that keeps what it gets; returns its full name."""
        from google.cloud import pubsub_v1

        topic = f"projects/{_PROJECT}/topics/{name}"
        with contextlib.closing(pubsub_v1.PublisherClient().transport) as transport:
            transport.create_topic(pubsub_v1.types.Topic(name=topic))
        with pubsub_v1.SubscriberClient() as client:
            client.create_subscription(name=_subscription(topic), topic=topic)
        return topic

    def messages(self, topic: str, count: int) -> "list[PubsubMessage]":
        """Take what a topic got: waits for so many messages, then looks for more."""
        from google.api_core.exceptions import DeadlineExceeded
        from google.cloud import pubsub_v1

        found: list[PubsubMessage] = []
        subscription = _subscription(topic)
        deadline = monotonic() + _WAIT_SECONDS
        with pubsub_v1.SubscriberClient() as client:
            while True:
                try:
                    answer = client.pull(
                        subscription=subscription, max_messages=1000, timeout=2, retry=None
                    )
                except DeadlineExceeded:
                    received = []
                else:
                    received = list(answer.received_messages)
                found += [each.message for each in received]
                if received:
                    ids = [each.ack_id for each in received]
                    client.acknowledge(subscription=subscription, ack_ids=ids)
                elif len(found) >= count or monotonic() > deadline:
                    return found


@contextlib.contextmanager
def pubsub_emulator() -> Iterator[PubSubEmulator]:
    """Run an emulator, with PUBSUB_EMULATOR_HOST set, for the length of a block.

    Raises:
        EmulatorMissingError: it, or the Java that it needs, is not installed.
    """
    address = f"{_HOST}:{free_port()}"
    host, port = address.split(":")
    with subprocess.Popen(
        ["bash", _program(), f"--host={host}", f"--port={port}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - it only asks the kernel for a signal
    ) as process:
        before = os.environ.get("PUBSUB_EMULATOR_HOST")
        try:
            _wait_until_up(f"http://{address}", process)
            os.environ["PUBSUB_EMULATOR_HOST"] = address
            yield PubSubEmulator(address)
        finally:
            os.environ.pop("PUBSUB_EMULATOR_HOST", None)
            if before is not None:
                os.environ["PUBSUB_EMULATOR_HOST"] = before
            os.killpg(process.pid, signal.SIGKILL)


def _subscription(topic: str) -> str:
    return topic.replace("/topics/", "/subscriptions/")


def _program() -> str:
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        raise EmulatorMissingError("the Pub/Sub emulator comes with gcloud, which is not here")
    asked = [gcloud, "info", "--format=value(installation.sdk_root)"]
    done = subprocess.run(asked, check=True, capture_output=True, text=True)
    folder = Path(done.stdout.strip()) / "platform" / "pubsub-emulator"
    program = folder / "bin" / "cloud-pubsub-emulator"
    if not program.exists():
        raise EmulatorMissingError(
            "the Pub/Sub emulator is not here: gcloud components install pubsub-emulator"
        )
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        raise EmulatorMissingError("the Pub/Sub emulator needs Java, which is not here")
    return str(program)


def _wait_until_up(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url):
                return
        except (urllib.error.URLError, ConnectionError):
            if process.poll() is not None or monotonic() > deadline:
                raise RuntimeError("the Pub/Sub emulator did not start") from None
            sleep(0.1)
