"""Tables and topics that follow a store and did not get all that an import brought.

    operations/{id}/stream-errors-*.jsonl        lines with the keys table, code, reason
    operations/{id}/notification-errors-*.jsonl  lines with the keys topic, reason; a code where
                                                 no later import sends what is missing

Lines with a sopInstanceUid are about one instance, which is left out for good; the others are
about the follower.
"""

import json
from collections import Counter

from google.rpc.code_pb2 import DATA_LOSS, OUT_OF_RANGE, UNAVAILABLE

from dicomferry.errors import Reason
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.record import OperationRecord, SampleError

_LISTS = ("stream-errors-", "notification-errors-")
# Rows that a table or topic did not get in time, and which cannot be told apart any more.
GONE = "GONE"
_LOST = (GONE, Reason.INTERNAL_ERROR)
_BY_WEIGHT = (DATA_LOSS, UNAVAILABLE, OUT_OF_RANGE)


def lagging(folder: OperationFolder) -> tuple[SampleError, ...]:
    """Return the followers that lag behind when an operation ends, each with its worst reason.

    Its code is DATA_LOSS where no later import sends what is missing, UNAVAILABLE where the next
    one does, and OUT_OF_RANGE where only instances are missing that the follower does not take.
    """
    found: dict[str, SampleError] = {}
    left_out: Counter[tuple[str, int]] = Counter()

    def add(name: str, text: str, code: int) -> None:
        if name not in found or _BY_WEIGHT.index(code) < _BY_WEIGHT.index(found[name].code):
            found[name] = SampleError(name, text, code)

    paths = (entry.path for entry in folder.storage.list())
    for path in sorted(path for path in paths if path.startswith(_LISTS)):
        for line in folder.storage.read(path).splitlines():
            each = json.loads(line)
            name = each.get("table") or each["topic"]
            is_lost = each.get("code") in _LOST
            if "sopInstanceUid" in each:
                left_out[name, DATA_LOSS if is_lost else OUT_OF_RANGE] += 1
                continue
            text = f"{each['code']}: {each['reason']}" if "code" in each else each["reason"]
            add(name, text, DATA_LOSS if is_lost else UNAVAILABLE)
    lists = folder.storage.uri("*-errors-*.jsonl")
    for (name, code), number in left_out.items():
        add(name, f"{number} instances are left out permanently; they are listed in {lists}", code)
    return tuple(found.values())


def has_lost(record: OperationRecord) -> bool:
    """Whether a follower can never get something of what an ended operation has committed."""
    return any(each.code == DATA_LOSS for each in record.metadata.lagging)
