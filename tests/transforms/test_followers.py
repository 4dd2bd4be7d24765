"""What the lists beside an operation say of tables and topics, part by part of an import."""

import apache_beam as beam
import pytest
from google.rpc.code_pb2 import DATA_LOSS, UNAVAILABLE

from dicomferry.errors import Reason
from dicomferry.operations.folder import start_operation
from dicomferry.operations.lagging import lagging
from dicomferry.operations.record import Method
from dicomferry.storage.local import LocalStorage
from dicomferry.store.index import Index
from dicomferry.store.index_files import index_folder, log_path
from dicomferry.store.notifications import Topic
from dicomferry.store.stream_log import StreamLog
from dicomferry.tables.duckdb_table import DuckDBTable
from dicomferry.tables.errors import TableBusyError, TableError
from dicomferry.tables.stream import Stream
from dicomferry.transforms.append_to_streams import AppendToStreams, _load_all, begin_streams
from dicomferry.transforms.commit_instances import commit
from dicomferry.transforms.publish_notifications import (
    Published,
    PublishNotifications,
    _Publisher,
    begin_notifications,
)
from dicomferry.transforms.write_rows import SkippedRow, WrittenRows
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


@pytest.fixture
def stream(data, tmp_path):
    """A stream of the store."""
    stream = Stream(f"duckdb:{tmp_path}/t.duckdb#t", True, "")
    begin_streams([stream], data)
    return stream


def plan(stream, data):
    """Commit an instance, and plan the append that brings it to a stream."""
    log = StreamLog(data, stream.log_name)
    commit(data, [instance(log.state().next)], "op")
    return log.plan(log.state(), Index(data).version)


def load(append, written, stream, options):
    """Make an append to a stream, as one attempt of the last step of a part does."""
    _load_all((options.streams.index(stream), [(tuple(append), written)]), options)


def raising(error):
    def raise_(*_):
        raise error

    return raise_


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


@pytest.mark.parametrize(("is_refused", "code"), [(False, DATA_LOSS), (True, UNAVAILABLE)])
def test_what_a_table_does_not_get_is_listed_whenever_the_step_breaks(
    data, folder, stream, monkeypatch, is_refused, code
):
    if is_refused:
        monkeypatch.setattr(DuckDBTable, "load", raising(TableError("no such column")))
    written = WrittenRows(
        rows=int(is_refused), skipped=(SkippedRow("1.2.1", Reason.INTERNAL_ERROR),)
    )
    append, options = plan(stream, data), AppendToStreams([stream], data, folder, 0)
    write = LocalStorage.write

    def refusing(storage, path, lines):
        if path.startswith("stream-errors-"):
            raise RuntimeError
        write(storage, path, lines)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "write", refusing)
        with pytest.raises(RuntimeError):
            load(append, written, stream, options)
    load(append, written, stream, options)  # by the runner, which tries again
    assert [(each.resource, each.code) for each in lagging(folder)] == [(stream.table_uri, code)]
    assert not StreamLog(data, stream.log_name).is_pending(append)


def test_a_table_that_was_busy_is_late_until_a_part_sends_all(data, folder, stream, monkeypatch):
    options = AppendToStreams([stream], data, folder, 0)
    written = WrittenRows(rows=1)
    append = plan(stream, data)
    with monkeypatch.context() as patch:
        patch.setattr(DuckDBTable, "load", raising(TableBusyError("locked")))
        load(append, written, stream, options)
        load(append, written, stream, options)  # again, and passes over what is marked as refused
        assert [each.code for each in lagging(folder)] == [UNAVAILABLE]
    monkeypatch.setattr(DuckDBTable, "load", lambda *_: None)
    load(plan(stream, data), written, stream, options)
    assert lagging(folder) == ()
