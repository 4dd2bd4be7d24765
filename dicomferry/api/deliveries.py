"""Fields of a DicomStore that send what is imported elsewhere: who may set them, and to what."""

from collections.abc import Sequence
from typing import Any

from google.rpc.code_pb2 import INVALID_ARGUMENT

from dicomferry.api.access import Principal
from dicomferry.api.access.permissions import DELIVERIES, DELIVERY_PERMISSION
from dicomferry.api.error_translation import translate_place_errors
from dicomferry.api.errors import ApiError
from dicomferry.api.field_mask import is_named
from dicomferry.places import Access, PlaceRules
from dicomferry.tables.destination import parse_destination


def check_deliveries(
    given: Any, paths: Sequence[str] | None, principal: Principal, rules: PlaceRules, name: str
) -> None:
    """Refuse streams and topics that the caller may not set.

    They receive all future metadata of a store, so they need what an export needs: the permission,
    and a place that the caller may write to. To remove them needs neither.

    Args:
        given: a DicomStore with the new values.
        paths: of its update mask, which is correct; None: the store is new.
        principal: the caller.
        rules: of the server.
        name: of the store.

    Raises:
        ApiError: PERMISSION_DENIED, or INVALID_ARGUMENT where one is no table.
    """
    named = [
        field for field in DELIVERIES if paths is None or is_named(paths, field, given.DESCRIPTOR)
    ]
    given_fields = {field.name for field, _ in given.ListFields()}
    if not given_fields.intersection(named):
        return
    principal.require(DELIVERY_PERMISSION, name)
    rules = rules.also(principal.bounds)
    if "stream_configs" in named:
        _check_streams(given.stream_configs, rules)
    with translate_place_errors():
        for topic in _topics(given, named):
            rules.check_topic(topic)


def _topics(given: Any, named: Sequence[str]) -> list[str]:
    configs = list(given.notification_configs) if "notification_configs" in named else []
    if "notification_config" in named:
        configs.append(given.notification_config)
    return [config.pubsub_topic for config in configs if config.pubsub_topic]


def _check_streams(configs: Sequence[Any], rules: PlaceRules) -> None:
    uris = set()
    for config in configs:
        text = config.bigquery_destination.table_uri
        if not text:
            continue  # validation of the resource refuses it
        try:
            uris.add(parse_destination(text).uri)
        except ValueError as error:
            raise ApiError(INVALID_ARGUMENT, f"stream_configs: {error}") from None
        with translate_place_errors():
            rules.check(text, Access.WRITE)
    if len(uris) < len(configs) and all(c.bigquery_destination.table_uri for c in configs):
        raise ApiError(INVALID_ARGUMENT, "stream_configs: each must have a destination of its own")
