"""What the lists beside an operation say of tables and topics, part by part of an import."""

import apache_beam as beam
import pytest
from google.rpc.code_pb2 import DATA_LOSS

from dicomferry.operations.folder import start_operation
from dicomferry.operations.lagging import lagging
from dicomferry.operations.record import Method
from dicomferry.store.index import Index
from dicomferry.store.index_files import index_folder, log_path
from dicomferry.store.notifications import Topic
from dicomferry.store.stream_log import StreamLog
from dicomferry.transforms.commit_instances import commit
from dicomferry.transforms.publish_notifications import (
    Published,
    PublishNotifications,
    _Publisher,
    begin_notifications,
)
from tests.pipelines.jobs import STORE, new_store
from tests.transforms.test_commit_instances import instance

TOPIC = Topic("projects/p/topics/t", True)


@pytest.fixture
def data(root):
    """The data folder of a store."""
    return new_store(root).data


@pytest.fixture
def folder(root, data):
    """The folder of an import into it."""
    return start_operation(root, STORE, Method.IMPORT)


def run_part(follower):
    """Let a follower get what was committed, as at the end of a part of an import."""
    with beam.Pipeline("DirectRunner") as pipeline:
        _ = pipeline | beam.Create([None]) | follower


def test_notifications_that_are_lost_are_called_so_in_every_later_part(data, folder, monkeypatch):
    sent = []
    request = lambda *args: sent.extend(args[2]) or Published(len(args[2]))  # noqa: E731
    monkeypatch.setattr(_Publisher, "_request", request)
    begin_notifications([TOPIC], data)
    for number in (1, 2):
        commit(data, [instance(number)], "op")
    Index(data)._table.create_checkpoint()
    index_folder(data).delete([log_path(Index(data).version - 1)])  # as weeks later
    for number in (3, 4):
        run_part(PublishNotifications([TOPIC], str(STORE), data, folder))
        [lost] = lagging(folder)
        assert (lost.resource, lost.code) == (TOPIC.name, DATA_LOSS)
        assert lost.message.startswith("GONE: ")
        commit(data, [instance(number)], "op")
    assert len(sent) == 2
    assert StreamLog(data, TOPIC.log_name).passed() == Index(data).version - 1
