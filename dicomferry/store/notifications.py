"""The Pub/Sub topics that a store notifies (NotificationConfig, DicomNotificationConfig)."""

import hashlib
from typing import Any, NamedTuple


class Topic(NamedTuple):
    """One topic that is notified of new instances.

    Attributes:
        name: projects/P/topics/T.
        has_attributes: messages of `notification_configs` have attributes that name the action and
            the instance; those of the older `notification_config` have data only.
    """

    name: str
    has_attributes: bool

    @property
    def key(self) -> str:
        """What identifies the topic, and the form of its messages, in names of files."""
        return hashlib.sha256(f"{self.name} {self.has_attributes}".encode()).hexdigest()[:16]

    @property
    def log_name(self) -> str:
        """Name of its `StreamLog`."""
        return f"topic-{self.key}"


def import_topics(resource: dict[str, Any]) -> list[Topic]:
    """Return the topics that an import notifies.

    The older config is notified of imports only with `send_for_bulk_import`.

    Args:
        resource: a DicomStore in proto JSON form.
    """
    legacy = resource.get("notificationConfig", {})
    topics = [Topic(legacy.get("pubsubTopic", ""), False)] * bool(legacy.get("sendForBulkImport"))
    topics += [
        Topic(config.get("pubsubTopic", ""), True)
        for config in resource.get("notificationConfigs", [])
    ]
    return [topic for topic in topics if topic.name]
