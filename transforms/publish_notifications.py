"""Publish a notification of every new instance to the topics of its store."""

import dataclasses
import functools
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.metrics import Metrics
from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import GoogleAuthError

from dicomferry.errors import InstanceError
from dicomferry.operations.faults import fails_alone
from dicomferry.operations.folder import OperationFolder
from dicomferry.places import PlaceDeniedError, PlaceRules
from dicomferry.storage.base import Storage
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


@dataclasses.dataclass
class PublishNotifications(beam.PTransform):
    """Publish a message per new row of the index to every topic.

    At least once. A topic follows the index as the table of a stream_config does: it also gets
    messages about rows that other imports have committed and not published, because they still
    run or were killed, and may then get a message twice. A topic that refuses, does not answer for
    a minute, or is out of bounds is logged once and listed in notification-errors-*.jsonl beside
    the operation, with the number of undelivered messages; the import continues, and the next one
    sends them. Instances of which no message can be made are listed there too.

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
        return (
            outcomes
            | "AwaitCommits" >> beam.combiners.Count.Globally()
            | "Publish" >> beam.FlatMap(_publish_all, self)
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
        except (exceptions.GoogleAPIError, GoogleAuthError) as error:
            if isinstance(error, (exceptions.RetryError, *_TRANSIENT)):
                self._silent[topic] = str(error)
            return Published(0, len(messages), str(error))
        return Published(len(messages))


@functools.lru_cache(maxsize=1)
def _publisher(_operation: str) -> _Publisher:
    """Return the publisher of this process and operation: the next job tries every topic again."""
    return _Publisher()


def _publish_all(_: int, options: PublishNotifications) -> Iterator[tuple[str, Published]]:
    newest = Index(options.data).version
    for topic in options.topics:
        published = _publish_to(topic, newest, options)
        Metrics.counter("notify", "sent").inc(published.sent)
        Metrics.counter("notify", "lacking").inc(published.lacking)
        _publisher(options.folder.id).report(topic, published, options.folder)
        yield topic.name, published


def _publish_to(topic: Topic, newest: int, options: PublishNotifications) -> Published:
    """Publish all rows up to a version of the index to a topic."""
    position = StreamLog(options.data, topic.log_name)
    publisher = _publisher(options.folder.id)
    results: list[Published] = []
    refusal = _refusal(topic, options.rules)
    appends = _unpublished(position, newest)
    for append in appends:
        files, gone = appended_files(options.data, append.after, append.until)
        if gone:  # the rows cannot be found again, and their number is unknown
            reason = f"versions {min(gone)} to {max(gone)} of the store are no longer told apart"
            results.append(Published(reason=reason))
        failed: list[dict[str, str]] = []
        for rows in _rows(options.data, files):
            if refusal or _total(results).lacking:
                results.append(Published(0, len(rows), refusal))
                continue
            messages = _messages(rows, topic, options.store, failed)
            results.append(publisher.publish(topic.name, messages))
        _list_failed(append, topic, failed, options.folder)
        if _total(results).lacking:
            position.mark_refused(later for later in appends if later.number >= append.number)
        else:
            position.mark_done(append)
    return _total(results)


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
    append: Append, topic: Topic, failed: Sequence[dict[str, str]], folder: OperationFolder
) -> None:
    """List the instances of an append about which there is no message."""
    Metrics.counter("notify", "failed").inc(len(failed))
    if failed:
        lines = "".join(f"{json.dumps(error)}\n" for error in failed)
        path = f"notification-errors-{topic.key}-{append.number}.jsonl"
        folder.storage.write(path, lines.encode())


def _unpublished(position: StreamLog, newest: int) -> list[Append]:
    """Return what other imports left unpublished, and what was committed since."""
    while True:
        state = position.state()
        if state.version >= newest:
            return state.pending
        if append := position.plan(state, newest):
            return [*state.pending, append]


def _rows(data: Storage, files: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of index files, one list per row group."""
    for file in files:
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
