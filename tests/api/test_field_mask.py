"""Updates by field mask."""

import pytest
from google.rpc.code_pb2 import INVALID_ARGUMENT
from hypothesis import given
from hypothesis import strategies as st

from dicomferry.api.errors import ApiError
from dicomferry.api.field_mask import apply_mask, split_mask
from dicomferry.api.proto.generated.dicom_service_pb2 import DicomStore


def store(**fields):
    return DicomStore(**fields)


OLD = {
    "name": "n",
    "labels": {"a": "1", "b": "2"},
    "notification_config": {"pubsub_topic": "old", "send_for_bulk_import": True},
    "notification_configs": [{"pubsub_topic": "x"}, {"pubsub_topic": "y"}],
    "stream_configs": [{"bigquery_destination": {"table_uri": "bq://p.d.t"}}],
}
NEW = {
    "name": "other",
    "labels": {"b": "3", "c": "4"},
    "notification_config": {"pubsub_topic": "new"},
    "notification_configs": [{"pubsub_topic": "z"}],
}


@pytest.mark.parametrize(
    ("paths", "changed"),
    [
        (["labels"], {"labels": {"b": "3", "c": "4"}}),
        (["labels.b"], {"labels": {"a": "1", "b": "3"}}),
        (["labels.c"], {"labels": {"a": "1", "b": "2", "c": "4"}}),
        (["labels.a"], {"labels": {"b": "2"}}),  # the new one has none
        (["labels.`b`", "labels.zz"], {"labels": {"a": "1", "b": "3"}}),
        (["notification_config"], {"notification_config": {"pubsub_topic": "new"}}),
        (
            ["notificationConfig.pubsubTopic"],
            {"notification_config": {"pubsub_topic": "new", "send_for_bulk_import": True}},
        ),
        (
            ["notification_config.send_for_bulk_import"],
            {"notification_config": {"pubsub_topic": "old"}},
        ),
        (["notification_configs"], {"notification_configs": [{"pubsub_topic": "z"}]}),
        (["streamConfigs"], {"stream_configs": []}),
        (["labels", "labels.a"], {"labels": {"b": "3", "c": "4"}}),
    ],
)
def test_only_what_the_mask_names_changes(paths, changed):
    target = store(**OLD)
    apply_mask(paths, store(**NEW), target)
    assert target == store(**{**OLD, **changed})


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ([], "required"),
        ([""], "no field ''"),
        (["color"], "no field 'color'"),
        (["*"], "no field"),
        (["name"], "set by the server"),
        (["labels", "name"], "set by the server"),
        (["notification_config.color"], "no field 'color'"),
        (["notification_config.pubsub_topic.x"], "has no fields"),
        (["notification_configs.pubsub_topic"], "replaced whole"),
        (["stream_configs.0"], "replaced whole"),
        (["labels."], "name the key"),
        (["labels.``"], "name the key"),
    ],
)
def test_a_wrong_mask_is_refused_and_changes_nothing(paths, said):
    target = store(**OLD)
    with pytest.raises(ApiError, match=said) as caught:
        apply_mask(paths, store(**NEW), target)
    assert caught.value.code == INVALID_ARGUMENT
    assert target == store(**OLD)


def test_a_message_that_neither_has_does_not_come_into_being():
    target = store()
    apply_mask(["notification_config.pubsub_topic", "notification_config"], store(), target)
    assert not target.HasField("notification_config")


def test_a_mask_in_a_url_is_separated_by_commas():
    assert split_mask("labels.a, notificationConfig ,") == ["labels.a", "notificationConfig"]


names = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123"))


@given(names, names, st.sets(st.sampled_from("abcdef"), min_size=1))
def test_entries_of_a_map_are_taken_or_taken_away_one_by_one(old, new, keys):
    target = store(labels=old)
    apply_mask([f"labels.{key}" for key in sorted(keys)], store(labels=new), target)
    others = {key: value for key, value in old.items() if key not in keys}
    assert dict(target.labels) == {**others, **{k: new[k] for k in keys if k in new}}
