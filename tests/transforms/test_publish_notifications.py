"""Topics are told of every new instance, as their config says, whatever befalls an import."""

import json
import re
import signal
import subprocess
import sys
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from deltalake import DeltaTable
from google.api_core.exceptions import ServiceUnavailable
from google.auth.exceptions import DefaultCredentialsError, TransportError
from google.rpc.code_pb2 import DATA_LOSS
from requests.exceptions import ReadTimeout

from dicomferry.pipelines import import_dicom
from dicomferry.storage.base import Storage
from dicomferry.store.compaction import sort_index
from dicomferry.store.dicom_store import create_store, update_store
from dicomferry.store.index import Index
from dicomferry.store.notifications import Topic, import_topics
from dicomferry.transforms import publish_notifications
from dicomferry.transforms.publish_notifications import Published, PublishNotifications, _plan
from tests.factories import dicom_bytes
from tests.pipelines.disturbed_import import PART_FILES
from tests.pipelines.jobs import STORE, data_folder, images, rows, run_import, write_files

REPOSITORY = Path(__file__).parents[2]
ABSENT = "projects/emulated/topics/absent"


def new_store(root, *topics, legacy=None):
    resource = {"notificationConfigs": [{"pubsubTopic": topic} for topic in topics]}
    if legacy:
        resource["notificationConfig"] = legacy
    return create_store(root, STORE, resource)


def name_of(uid):
    return f"{STORE}/dicomWeb/studies/1.2.1/series/1.2.1.1/instances/{uid}"


def told(messages):
    """The names of the instances that messages are about."""
    return sorted(message.data.decode() for message in messages)


def names(count, first=1):
    return sorted(name_of(f"1.2.1.1.{n}") for n in range(first, first + count))


def errors_of(job):
    return [
        json.loads(job.folder.storage.read(entry.path))
        for entry in job.folder.storage.list()
        if entry.path.startswith("notification-errors-")
    ]


# Who is told.


@pytest.mark.parametrize(
    ("resource", "topics"),
    [
        ({}, []),
        ({"notificationConfig": {"pubsubTopic": "t"}}, []),
        ({"notificationConfig": {"pubsubTopic": "t", "sendForBulkImport": False}}, []),
        ({"notificationConfig": {"sendForBulkImport": True}}, []),
        ({"notificationConfig": {"pubsubTopic": "t", "sendForBulkImport": True}}, [("t", False)]),
        ({"notificationConfigs": [{"pubsubTopic": "a"}, {}, {"pubsubTopic": "b"}]}, ["ab"]),
    ],
)
def test_topics_of_a_store_that_hear_of_imports(resource, topics):
    if topics == ["ab"]:
        topics = [("a", True), ("b", True)]
    assert import_topics(resource) == [Topic(*topic) for topic in topics]


# What they are told.


def test_a_topic_is_told_of_every_new_instance_and_of_no_other(root, tmp_path, pubsub):
    topic = pubsub.topic("every-new")
    new_store(root, topic)
    source = write_files(tmp_path / "in", images(3))
    assert run_import(root, source).code == 0
    messages = pubsub.messages(topic, 3)
    assert told(messages) == names(3)
    stored = rows(root)
    for message in messages:
        attributes = dict(message.attributes)
        row = stored[attributes["sopInstanceUID"]]
        assert re.fullmatch(
            r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", attributes["lastUpdatedTime"]
        )
        updated = parsedate_to_datetime(attributes.pop("lastUpdatedTime"))
        assert updated == row["LastUpdated"].replace(microsecond=0)
        assert attributes.pop("versionId") == row["Sha256"]
        assert attributes == {
            "action": "ImportDicomData",
            "storeName": str(STORE),
            "studyInstanceUID": row["StudyInstanceUID"],
            "seriesInstanceUID": row["SeriesInstanceUID"],
            "sopInstanceUID": row["SOPInstanceUID"],
            "storageClass": "STANDARD",
            **({"modality": row["Modality"]} if row["Modality"] else {}),
        }
    copies = write_files(tmp_path / "copies", {**images(3), "new": dicom_bytes(sop="1.2.1.1.9")})
    run_import(root, copies)
    assert told(pubsub.messages(topic, 1)) == [name_of("1.2.1.1.9")]


def test_an_older_config_gets_data_alone_and_only_if_it_asks_for_imports(root, tmp_path, pubsub):
    topic = pubsub.topic("older")
    new_store(root, legacy={"pubsubTopic": topic})
    run_import(root, write_files(tmp_path / "in", images(1)))
    legacy = {"pubsubTopic": topic, "sendForBulkImport": True}
    update_store(root, STORE, lambda resource: {**resource, "notificationConfig": legacy})
    run_import(root, write_files(tmp_path / "in", images(3)))
    messages = pubsub.messages(topic, 2)
    # What was imported before it asked is not told.
    assert told(messages) == names(2, first=2)
    assert all(not message.attributes for message in messages)


def test_both_configs_of_one_topic_are_served(root, tmp_path, pubsub):
    topic = pubsub.topic("both")
    new_store(root, topic, legacy={"pubsubTopic": topic, "sendForBulkImport": True})
    run_import(root, write_files(tmp_path / "in", images(1)))
    messages = pubsub.messages(topic, 2)
    assert sorted(bool(message.attributes) for message in messages) == [False, True]


def test_a_dry_run_tells_nobody(root, tmp_path, pubsub):
    topic = pubsub.topic("dry-run")
    new_store(root, topic)
    run_import(root, write_files(tmp_path / "in", images(2)), "--dry-run")
    assert pubsub.messages(topic, 0) == []


def test_many_messages_go_in_few_requests(root, tmp_path, pubsub, monkeypatch):
    topic = pubsub.topic("many")
    new_store(root, topic)
    monkeypatch.setattr(publish_notifications, "_REQUEST_MESSAGES", 20)
    requests = []
    request = publish_notifications._Publisher._request

    def counting(publisher, topic, messages):
        requests.append(len(messages))
        return request(publisher, topic, messages)

    monkeypatch.setattr(publish_notifications._Publisher, "_request", counting)
    run_import(root, write_files(tmp_path / "in", images(50)))
    assert sorted(requests) == [10, 20, 20]
    assert told(pubsub.messages(topic, 50)) == names(50)


# What goes wrong.


def test_a_topic_that_fails_is_logged_once_and_does_not_keep_others_or_the_import(
    root, tmp_path, pubsub, caplog
):
    topic = pubsub.topic("beside-a-failing-one")
    new_store(root, ABSENT, topic)
    job = run_import(root, write_files(tmp_path / "in", images(3)))
    assert (job.code, job.kinds) == (0, {"imported": 3})
    assert told(pubsub.messages(topic, 3)) == names(3)
    [error] = errors_of(job)
    assert (error["topic"], error["sent"], error["lacking"]) == (ABSENT, 0, 3)
    assert "not found" in error["reason"].lower()
    assert caplog.text.count(ABSENT) == caplog.text.count("not notified") == 1


def test_what_a_topic_lacks_is_sent_by_the_next_import(root, tmp_path, pubsub):
    absent = "projects/emulated/topics/made-later"
    new_store(root, absent)
    assert errors_of(run_import(root, write_files(tmp_path / "in", images(3))))
    assert pubsub.topic("made-later") == absent
    job = run_import(root, write_files(tmp_path / "in", images(5)))
    assert errors_of(job) == []
    assert told(pubsub.messages(absent, 5)) == names(5)


def test_a_service_that_does_not_answer_holds_an_import_up_once(
    root, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    monkeypatch.setattr(publish_notifications, "_PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(import_dicom, "PART_FILES", 1)
    tried = []
    request = publish_notifications._Publisher._request

    def counting(*args):
        tried.append(args)
        return request(*args)

    monkeypatch.setattr(publish_notifications._Publisher, "_request", counting)
    new_store(root, "projects/emulated/topics/silent")
    job = run_import(root, write_files(tmp_path / "in", images(3)))
    assert (job.code, job.kinds) == (0, {"imported": 3})
    assert [error["lacking"] for error in errors_of(job)] == [3]
    assert len(tried) == 1
    assert caplog.text.count("not notified") == 1


@pytest.mark.parametrize(
    "error",
    [
        DefaultCredentialsError("none"),
        TransportError("no token"),
        ReadTimeout("silent"),
        ServiceUnavailable("gone"),
        ConnectionResetError(104, "reset"),
    ],
)
def test_whatever_the_clients_library_raises_a_topic_is_tried_once(error):
    """Looking for credentials alone takes ten seconds where there are none."""
    tried = []

    class Client:
        def publish(self, **_):
            tried.append(error)
            raise error

    publisher = publish_notifications._Publisher()
    vars(publisher)["_client"] = Client()
    for _ in range(3):
        assert publisher.publish(ABSENT, [{"data": b""}]) == (0, 1, str(error))
    assert len(tried) == 1


def test_what_is_no_longer_told_apart_is_named_and_the_topic_goes_on(root, tmp_path, pubsub):
    absent = "projects/emulated/topics/made-late"
    new_store(root, absent)
    for count in (2, 3):
        source = write_files(tmp_path / "in", images(count))
        run_import(root, source)
    index = Index(data_folder(root))
    log = Path(data_folder(root).uri("index"), "_delta_log", f"{index.version:020}.json")
    sort_index(data_folder(root))
    DeltaTable(data_folder(root).uri("index")).create_checkpoint()
    log.unlink()  # as weeks later
    pubsub.topic("made-late")
    job = run_import(root, source)
    [error] = errors_of(job)
    assert (error["code"], "no longer be determined" in error["reason"]) == ("GONE", True)
    assert (job.code, job.operation["error"]["code"]) == (1, DATA_LOSS)
    new = write_files(tmp_path / "new", {"new": dicom_bytes(sop="1.2.1.1.9")})
    assert errors_of(run_import(root, new)) == []
    kept = [name_of(f"1.2.1.1.{number}") for number in (1, 2, 9)]  # of the first import, and now
    assert sorted(told(pubsub.messages(absent, 3))) == kept


def test_missing_credentials_do_not_fail_an_import(root, tmp_path, monkeypatch):
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    new_store(root, "projects/emulated/topics/no-credentials")
    job = run_import(root, write_files(tmp_path / "in", images(1)))
    assert job.code == 0
    assert "absent.json" in errors_of(job)[0]["reason"]


@pytest.mark.parametrize("moment", ["append:2:after", "write_outcomes:2:before"])
def test_an_import_that_is_killed_leaves_no_instance_untold(root, tmp_path, pubsub, moment):
    topic = pubsub.topic(f"killed-{moment.replace(':', '-')}")
    new_store(root, topic)
    count = 3 * PART_FILES
    source = write_files(tmp_path / "in", images(count))
    command = [sys.executable, "-m", "tests.pipelines.disturbed_import", "kill", moment]
    killed = subprocess.run(
        [*command, root.root, source, "0"], check=False, cwd=REPOSITORY, start_new_session=True
    )
    assert killed.returncode == -signal.SIGKILL
    committed = len(rows(root))
    assert 0 < committed < count
    run_import(root, source)
    assert set(told(pubsub.messages(topic, count))) == set(names(count))


def test_a_bundle_that_is_tried_again_tells_nothing_twice(root, tmp_path, pubsub):
    topic = pubsub.topic("again")
    new_store(root, topic)
    job = run_import(root, write_files(tmp_path / "in", images(2)))
    assert len(pubsub.messages(topic, 2)) == 2
    data: Storage = data_folder(root)
    options = PublishNotifications([Topic(topic, True)], str(STORE), data, job.folder)
    planned = list(_plan(0, options))
    assert [each.value for each in planned] == [(0, (None, Published()))]
    assert pubsub.messages(topic, 0) == []
