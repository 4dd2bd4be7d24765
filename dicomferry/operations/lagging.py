"""Tables and topics that follow a store and did not get all that an import brought.

    operations/{id}/stream-errors-*.jsonl        lines with the keys table, code, reason
    operations/{id}/notification-errors-*.jsonl  lines with the keys topic, reason

Lines with a sopInstanceUid are about one instance; the others are about the follower.
"""

import json

from google.rpc.code_pb2 import UNAVAILABLE

from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.record import SampleError

_LISTS = ("stream-errors-", "notification-errors-")


def lagging(folder: OperationFolder) -> tuple[SampleError, ...]:
    """Return the followers that lag behind when an operation ends, each with its first reason."""
    found: dict[str, SampleError] = {}
    paths = (entry.path for entry in folder.storage.list())
    for path in sorted(path for path in paths if path.startswith(_LISTS)):
        for line in folder.storage.read(path).splitlines():
            each = json.loads(line)
            if "sopInstanceUid" not in each:
                name = each.get("table") or each["topic"]
                text = f"{each['code']}: {each['reason']}" if "code" in each else each["reason"]
                found.setdefault(name, SampleError(name, text, UNAVAILABLE))
    return tuple(found.values())
