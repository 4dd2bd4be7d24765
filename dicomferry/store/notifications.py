"""Which topics of Pub/Sub a store notifies (NotificationConfig, DicomNotificationConfig)."""

from typing import Any, NamedTuple


class Topic(NamedTuple):
    """One place that is told of new instances.

    Attributes:
        name: projects/P/topics/T.
        has_attributes: a message of `notification_configs` says in attributes what happened to
            which instance; one of the older `notification_config` has data alone.
    """

    name: str
    has_attributes: bool


def import_topics(resource: dict[str, Any]) -> list[Topic]:
    """The topics that an import notifies, of a DicomStore in proto JSON form.

    The older config hears of imports only if it says so (`send_for_bulk_import`). No topic, no
    notification.
    """
    legacy = resource.get("notificationConfig", {})
    topics = [Topic(legacy.get("pubsubTopic", ""), False)] * bool(legacy.get("sendForBulkImport"))
    topics += [
        Topic(config.get("pubsubTopic", ""), True)
        for config in resource.get("notificationConfigs", [])
    ]
    return [topic for topic in topics if topic.name]
