"""Tables and topics that did not get all are found beside the operation."""

import json

from google.rpc.code_pb2 import OUT_OF_RANGE, UNAVAILABLE

from dicomferry.operations.folder import start_operation
from dicomferry.operations.lagging import lagging
from dicomferry.operations.record import Method, OperationRecord, SampleError
from tests.pipelines.jobs import STORE

TABLE = "bq://my-project.d.t"
TOPIC = "projects/p/topics/t"


def write(folder, name, *lines):
    folder.storage.write(name, "".join(f"{json.dumps(line)}\n" for line in lines).encode())


def test_each_follower_is_told_once_with_its_worst_reason(root):
    folder = start_operation(root, STORE, Method.IMPORT)
    assert lagging(folder) == ()
    about = {"table": TABLE, "sopInstanceUid": "1.2.3", "code": "ROW_TOO_LARGE", "reason": "large"}
    write(folder, "stream-errors-a-1.jsonl", about)
    [left_out] = lagging(folder)
    assert left_out.code == OUT_OF_RANGE
    assert left_out.message.startswith("1 instances are left out permanently")
    for name, code in (("given-up", "OUT_OF_REACH"), ("busy", "REFUSED")):
        line = {"table": TABLE, "code": code, "reason": f"why {name}"}
        write(folder, f"stream-errors-a-{name}.jsonl", line)
    write(
        folder,
        "notification-errors-b.jsonl",
        {"topic": TOPIC, "sent": 0, "lacking": 3, "reason": "silent"},
    )
    found = lagging(folder)
    assert found == (
        SampleError(TOPIC, "silent", UNAVAILABLE),
        SampleError(TABLE, "REFUSED: why busy", UNAVAILABLE),
    )


def test_the_record_keeps_them(root):
    record = start_operation(root, STORE, Method.IMPORT).read()
    record.metadata.lagging = (SampleError(TABLE, "why", UNAVAILABLE),)
    assert OperationRecord.from_json(record.to_json()).metadata == record.metadata
