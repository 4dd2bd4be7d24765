"""Rules of the API reference for a DicomStore resource (DicomStore, StreamConfig)."""

import re
import unicodedata
from typing import Any

from dicomferry.tables.destination import MAX_URI_CHARACTERS, kind_of, uri_forms

_KNOWN_FIELDS = {"name", "notificationConfig", "notificationConfigs", "labels", "streamConfigs"}
_MAX_LABELS = 64
_MAX_LABEL_CHARACTERS = 63
_MAX_LABEL_BYTES = 128
_MAX_STREAM_CONFIGS = 5
# "Creating and managing DICOM stores" of the published documentation; letters are of any script.
_NEW_ID = re.compile(r"[\w.-]{1,256}")
_TOPIC = re.compile(r"projects/[^/]+/topics/[^/]+")


class ResourceError(ValueError):
    """A DicomStore resource that breaks a rule of the reference."""


def check_resource(resource: dict[str, Any]) -> None:
    """Check a DicomStore in proto JSON form.

    Raises:
        ResourceError: it breaks a rule; the message names field, rule and value.
    """
    if unknown := sorted(set(resource) - _KNOWN_FIELDS):
        raise ResourceError(f"a DicomStore has no field {unknown[0]!r}")
    check_labels(resource.get("labels", {}))
    _check_notifications(resource)
    _check_streams(resource.get("streamConfigs", []))


def check_new_id(store_id: str) -> None:
    """Refuse an id that the reference does not allow; stores that have one stay reachable.

    Raises:
        ResourceError: it has other characters, which URLs and marks of text direction can hide in.
    """
    if not _NEW_ID.fullmatch(store_id):
        raise ResourceError("the id of a store has 1 to 256 letters, digits, '_', '-' or '.'")


def check_labels(labels: dict[str, str]) -> None:
    r"""Check labels: at most 64; keys [\p{Ll}\p{Lo}][\p{Ll}\p{Lo}\p{N}_-]{0,62}, values likewise.

    Raises:
        ResourceError: a label breaks a rule.
    """
    if not isinstance(labels, dict):
        raise ResourceError("labels must map keys to values, both text")
    if len(labels) > _MAX_LABELS:
        raise ResourceError(f"a store has at most {_MAX_LABELS} labels, got {len(labels)}")
    for key, value in labels.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ResourceError("labels must map keys to values, both text")
        if not key or not _is_letter(key[0]) or not _is_label_text(key):
            raise ResourceError(
                f"label key {key!r} must have 1 to {_MAX_LABEL_CHARACTERS} characters, at most "
                f"{_MAX_LABEL_BYTES} bytes: a lower-case letter, then lower-case letters, digits, "
                "'_' or '-'"
            )
        if not _is_label_text(value):
            raise ResourceError(
                f"the value of label {key!r} must have at most {_MAX_LABEL_CHARACTERS} characters "
                f"and {_MAX_LABEL_BYTES} bytes: lower-case letters, digits, '_' or '-'"
            )


def _is_letter(character: str) -> bool:
    return unicodedata.category(character) in {"Ll", "Lo"}


def _is_label_text(text: str) -> bool:
    return (
        len(text) <= _MAX_LABEL_CHARACTERS
        and all(
            _is_letter(character) or unicodedata.category(character)[0] == "N" or character in "_-"
            for character in text
        )
        and len(text.encode()) <= _MAX_LABEL_BYTES
    )


def _check_notifications(resource: dict[str, Any]) -> None:
    configs = list(resource.get("notificationConfigs", []))
    if not all(config.get("pubsubTopic") for config in configs):
        raise ResourceError("each of notificationConfigs needs a pubsubTopic: projects/P/topics/T")
    if "notificationConfig" in resource:
        configs.append(resource["notificationConfig"])
    for config in configs:
        topic = config.get("pubsubTopic", "")
        if topic and not _TOPIC.fullmatch(topic):
            raise ResourceError(f"pubsubTopic {topic!r} must be projects/P/topics/T")


def _check_streams(configs: list[dict[str, Any]]) -> None:
    if len(configs) > _MAX_STREAM_CONFIGS:
        raise ResourceError(
            f"a store has at most {_MAX_STREAM_CONFIGS} streamConfigs, got {len(configs)}"
        )
    uris = [config.get("bigqueryDestination", {}).get("tableUri", "") for config in configs]
    for uri in uris:
        if len(uri) > MAX_URI_CHARACTERS or not kind_of(uri):
            raise ResourceError(
                "each stream config needs a bigqueryDestination.tableUri of at most "
                f"{MAX_URI_CHARACTERS} characters: {uri_forms()}"
            )
    if len(set(uris)) < len(uris):
        raise ResourceError("each stream config must have a destination of its own")
