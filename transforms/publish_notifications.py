"""Publish a notification of every new instance to the topics of its store."""

import dataclasses
import functools
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput
from google.api_core import exceptions
from google.api_core.exceptions import GoogleAPICallError
from google.api_core.retry import Retry, if_exception_type

from dicomferry.errors import InstanceError
from dicomferry.operations.faults import fails_alone
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.lagging import GONE
from dicomferry.places import PlaceDeniedError, PlaceRules
from dicomferry.storage.base import Storage
from dicomferry.storage.network_failures import network_errors
from dicomferry.store.index import Index
from dicomferry.store.index_files import appended_files, read_row_group, row_groups
from dicomferry.store.notifications import Topic
from dicomferry.store.stream_log import Append, StreamLog

_LOGGER = logging.getLogger(__name__)
_ACTION = "ImportDicomData"
# A request takes 1,000 messages and 10 MB; ours have about 1 KB.
_REQUEST_MESSAGES = 1000
_REQUESTS_AT_ONCE = 8
# After this long without an answer, a topic is not asked again by the same import.
_PATIENCE_SECONDS = 60.0
_TRANSIENT = (
    exceptions.Aborted,
    exceptions.Cancelled,
    exceptions.DeadlineExceeded,
    exceptions.InternalServerError,
    exceptions.ResourceExhausted,
    exceptions.ServiceUnavailable,
    exceptions.Unknown,
)
_COLUMNS = [
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "Modality",
    "BlobUri",
    "LastUpdated",
]


class Published(NamedTuple):
    """What became of the messages for a topic.

    Attributes:
        sent: number of messages that the topic accepted.
        lacking: number of messages that could not be delivered.
        reason: why not; '' if all were delivered.
    """

    sent: int = 0
    lacking: int = 0
    reason: str = ""


_Result = tuple[tuple[int, int, int] | None, Published]
"""An `Append` as a plain tuple, or None, and what became of the messages about its rows."""


@dataclasses.dataclass
class PublishNotifications(beam.PTransform):
    """Publish a message per new row of the index to every topic.

    At least once. A topic follows the index as the table of a stream_config does: it also gets
    messages about rows that other imports have committed and not published, because they still
    run or were killed, and may then get a message twice. A topic that refuses, does not answer for
    a minute, or is out of bounds is logged once and listed in notification-errors-*.jsonl beside
    the operation, with the number of undelivered messages; the import continues, and the next one
    sends them. Instances of which no message can be made are listed there too, and versions of the
    store whose instances can no longer be told apart (GONE), which no import sends any more.

    Counters, in namespace "notify": sent, lacking, failed.
    """

    topics: Sequence[Topic]
    store: str
    data: Storage
    folder: OperationFolder
    rules: PlaceRules | None = None

    def expand(self, outcomes: beam.PCollection[object]) -> beam.PCollection[tuple[str, Published]]:
        """Wait for all commits (their values are not used), then publish.

        Returns:
            (name of a topic, its result) per topic.
        """
        planned = (
            outcomes
            | "AwaitCommits" >> beam.combiners.Count.Globally()
            | "Plan" >> beam.FlatMap(_plan, self).with_outputs("begun", main="files")
        )
        published = (
            planned.files
            | "Reshuffle" >> beam.Reshuffle()  # one version fans out to many files
            | "Publish" >> beam.Map(_publish_file, self)
        )
        return (
            (planned.begun, published)
            | "All" >> beam.Flatten()
            | "ByTopic" >> beam.GroupByKey()
            | "End" >> beam.Map(_end, self)
        )


def begin_notifications(topics: Sequence[Topic], data: Storage) -> None:
    """Start the log of topics that are new to a store: they get messages from now on."""
    for topic in topics:
        StreamLog(data, topic.log_name).start(Index(data).version)


def to_message(row: Mapping[str, Any], topic: Topic, store: str) -> dict[str, Any]:
    """Return the message about a row of the index.

    Its data is the name of the instance as a DICOMweb resource.

    Args:
        row: of the index.
        topic: says whether messages have attributes.
        store: name of the store.
    """
    path = "studies/{StudyInstanceUID}/series/{SeriesInstanceUID}/instances/{SOPInstanceUID}"
    message: dict[str, Any] = {"data": f"{store}/dicomWeb/{path.format_map(row)}".encode()}
    if topic.has_attributes:
        attributes = {
            "action": _ACTION,
            "lastUpdatedTime": formatdate(row["LastUpdated"].timestamp(), usegmt=True),
            "storeName": store,
            "studyInstanceUID": row["StudyInstanceUID"],
            "seriesInstanceUID": row["SeriesInstanceUID"],
            "sopInstanceUID": row["SOPInstanceUID"],
            # A blob is named after its content.
            "versionId": row["BlobUri"].rpartition("/")[2].removesuffix(".dcm"),
            "modality": row["Modality"],
            "storageClass": "STANDARD",
        }
        message["attributes"] = {name: value for name, value in attributes.items() if value}
    return message


class _Publisher:
    """The client of this process, and the topics that it has given up on."""

    def __init__(self) -> None:
        self._silent: dict[str, str] = {}
        self._reported: set[Topic] = set()

    @functools.cached_property
    def _client(self) -> Any:
        # A heavy import, and few stores have topics.
        import grpc
        from google.pubsub_v1 import PublisherClient
        from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

        if emulator := os.environ.get("PUBSUB_EMULATOR_HOST"):
            channel = grpc.insecure_channel(emulator)
            return PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        return PublisherClient()

    def publish(self, topic: str, messages: Sequence[Mapping[str, Any]]) -> Published:
        """Send messages, many per request."""
        if topic in self._silent:
            return Published(0, len(messages), self._silent[topic])
        starts = range(0, len(messages), _REQUEST_MESSAGES)
        requests = [messages[start : start + _REQUEST_MESSAGES] for start in starts]
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as threads:
            return _total(threads.map(functools.partial(self._request, topic), requests))

    def report(self, topic: Topic, published: Published, folder: OperationFolder) -> None:
        """List the undelivered messages of a topic so far, and log them the first time."""
        path = f"notification-errors-{topic.key}.jsonl"
        if published.reason:
            line = json.dumps({"topic": topic.name, **published._asdict()})
            folder.storage.write(path, f"{line}\n".encode())
            if topic not in self._reported:
                _LOGGER.warning("not notified: %s", line)
            self._reported.add(topic)
        elif topic in self._reported:
            folder.storage.delete([path])

    def _request(self, topic: str, messages: Sequence[Mapping[str, Any]]) -> Published:
        retry = Retry(if_exception_type(*_TRANSIENT), timeout=_PATIENCE_SECONDS)
        try:
            self._client.publish(
                topic=topic, messages=messages, retry=retry, timeout=_PATIENCE_SECONDS
            )
        except network_errors() as error:
            # What the service says at once of a topic, it can be asked again.
            if isinstance(error, _TRANSIENT) or not isinstance(error, GoogleAPICallError):
                self._silent[topic] = str(error)
            return Published(0, len(messages), str(error))
        return Published(len(messages))


@functools.lru_cache(maxsize=1)
def _publisher(_operation: str) -> _Publisher:
    """Return the publisher of this process and operation: the next job tries every topic again."""
    return _Publisher()


def _plan(_: int, options: PublishNotifications) -> Iterator[Any]:
    """Yield the files to publish, and, as output "begun", each topic and each append to it."""
    newest = Index(options.data).version
    for number, topic in enumerate(options.topics):
        yield TaggedOutput("begun", (number, (None, Published())))
        for append in _unpublished(StreamLog(options.data, topic.log_name), newest):
            files, gone = appended_files(options.data, append.after, append.until)
            if gone:
                _list_gone(append, topic, gone, options.folder)
            yield TaggedOutput("begun", (number, (tuple(append), Published())))
            yield from ((number, tuple(append), file) for file in files)


def _publish_file(
    planned: tuple[int, tuple[int, int, int], str], options: PublishNotifications
) -> tuple[int, _Result]:
    """Publish the rows of a file of an append, until the topic does not take some."""
    number, append, file = planned
    topic = options.topics[number]
    refusal = _refusal(topic, options.rules)
    published = Published()
    failed: list[dict[str, str]] = []
    for rows in _rows(options.data, file):
        if refusal or published.lacking:
            result = Published(0, len(rows), refusal)
        else:
            messages = _messages(rows, topic, options.store, failed)
            result = _publisher(options.folder.id).publish(topic.name, messages)
        published = _total([published, result])
    _list_failed(
        f"{append[0]}-{hashlib.sha256(file.encode()).hexdigest()[:16]}",
        topic,
        failed,
        options.folder,
    )
    return number, (append, published)


def _end(
    keyed: tuple[int, Iterable[_Result]], options: PublishNotifications
) -> tuple[str, Published]:
    """Record which appends a topic has, up to the first that it lacks a message of."""
    number, results = keyed
    topic = options.topics[number]
    by_append: dict[Append, Published] = {}
    total = Published()
    for each, published in results:
        total = _total([total, published])
        if each is not None:
            append = Append(*each)
            by_append[append] = _total([by_append.get(append, Published()), published])
    position = StreamLog(options.data, topic.log_name)
    ordered = sorted(by_append)
    for at, append in enumerate(ordered):
        if by_append[append].lacking:
            position.mark_refused(ordered[at:])
            break
        position.mark_done(append)
    Metrics.counter("notify", "sent").inc(total.sent)
    Metrics.counter("notify", "lacking").inc(total.lacking)
    _publisher(options.folder.id).report(topic, total, options.folder)
    return topic.name, total


def _refusal(topic: Topic, rules: PlaceRules | None) -> str:
    """Return why the rules do not let a topic be notified; '' if they do."""
    try:
        if rules:
            rules.check_topic(topic.name)
    except PlaceDeniedError as error:
        return str(error)
    return ""


def _messages(
    rows: Sequence[Mapping[str, Any]], topic: Topic, store: str, failed: list[dict[str, str]]
) -> list[dict[str, Any]]:
    """Return the messages about rows; for each row that has none, add an error to `failed`."""
    messages = []
    for row in rows:
        try:
            with fails_alone():
                messages.append(to_message(row, topic, store))
        except InstanceError as error:
            about = {"topic": topic.name, "sopInstanceUid": row["SOPInstanceUID"]}
            why = {"code": error.code, "reason": error.reason, "fault": error.fault_text}
            failed.append({**about, **why})
    return messages


def _list_failed(
    name: str, topic: Topic, failed: Sequence[dict[str, str]], folder: OperationFolder
) -> None:
    """List the instances about which there is no message, in a file that `name` identifies."""
    Metrics.counter("notify", "failed").inc(len(failed))
    if failed:
        lines = "".join(f"{json.dumps(error)}\n" for error in failed)
        path = f"notification-errors-{topic.key}-{name}.jsonl"
        folder.storage.write(path, lines.encode())


def _list_gone(append: Append, topic: Topic, gone: Sequence[int], folder: OperationFolder) -> None:
    """List the versions whose rows cannot be found again; how many these are is unknown."""
    reason = (
        f"instances imported in versions {min(gone)} to {max(gone)} of the store can no longer be "
        "determined: no notifications are sent for them"
    )
    line = json.dumps({"topic": topic.name, "code": GONE, "reason": reason})
    _LOGGER.warning("not notified: %s", line)
    path = f"notification-errors-{topic.key}-{append.number}-gone.jsonl"
    folder.storage.write(path, f"{line}\n".encode())


def _unpublished(position: StreamLog, newest: int) -> list[Append]:
    """Return what other imports left unpublished, and what was committed since."""
    while True:
        state = position.state()
        if state.version >= newest:
            return state.pending
        if append := position.plan(state, newest):
            return [*state.pending, append]


def _rows(data: Storage, file: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a file of the index, one list per row group."""
    for row_group in range(row_groups(data, file)):
        yield read_row_group(data, file, row_group, _COLUMNS).to_pylist()


def _total(results: Iterator[Published] | Sequence[Published]) -> Published:
    sent = lacking = 0
    reason = ""
    for result in results:
        sent += result.sent
        lacking += result.lacking
        reason = reason or result.reason
    return Published(sent, lacking, reason)
